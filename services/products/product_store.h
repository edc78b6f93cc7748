// All SQL of the catalogue: products as PostgreSQL keeps them.
//
// Each function is one transaction of its own. A change notes, in its transaction, that the cached
// copy of the product is stale (cache_invalidations), and every change of stock is a row of the
// ledger. A product that was deleted is kept for the orders that name it and is not found by
// anything here. Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "common/postgres/pool.h"
#include "products/listing.h"
#include "shop/products/v1/products.pb.h"

namespace shop::products {

struct ProductFilter {
  std::optional<std::string> category = {};
  std::optional<int64_t> min_price = {};
  std::optional<int64_t> max_price = {};
  std::optional<int64_t> seller_id = {};
  bool in_stock = false;
};

struct ProductPage {
  std::vector<v1::Product> items;
  int64_t total = 0;
};

Refusal NoSuchProduct(int64_t id);

class ProductStore {
 public:
  // Every product it answers carries `currency`.
  ProductStore(postgres::Pool& db, std::string currency);

  ProductPage List(const ProductFilter& filter, const std::vector<SortKey>& sort, const Page& page);
  // Best match first: words in the name count more than in the category and the description, and
  // names that are spelt nearly so match too. Where nothing does, less likeness is enough.
  ProductPage Search(const std::string& text, const Page& page);
  std::optional<v1::Product> Find(int64_t id);
  // Those of the ids that are in the catalogue.
  std::vector<v1::Quote> Quote(const std::vector<int64_t>& ids);

  v1::Product Insert(const v1::CreateProductRequest& product, std::optional<int64_t> seller_id);
  // With an owner only a product that is theirs is found. Where the request names versions, another
  // one is refused as VersionChanged(); of two at once for one version one wins.
  Result<v1::Product> Update(const v1::UpdateProductRequest& change, std::optional<int64_t> owner);
  Result<void> Delete(const v1::DeleteProductRequest& request, std::optional<int64_t> owner);

  // Calls `invalidate` with products whose cached copies are stale and, when it returns, forgets
  // that they were; again until none is left. May name a product more than once.
  void DrainInvalidations(const std::function<void(const std::vector<int64_t>&)>& invalidate);

 private:
  v1::Product ToProduct(const pqxx::row& row) const;
  ProductPage ToPage(const pqxx::result& rows) const;

  postgres::Pool& db_;
  const std::string currency_;
};

}  // namespace shop::products
