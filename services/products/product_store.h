// All SQL of the catalogue: products as PostgreSQL keeps them.
//
// Each function is one transaction of its own. A change notes, in its transaction, that the cached
// copy of the product is stale (cache_invalidations), and every change of stock is a row of the
// ledger. A product that was deleted is kept for the orders that name it and is not found by
// anything here. Thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/core/paging.h"
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
  std::vector<v1::Product> items = {};
  int64_t total = 0;                   // of no meaning by cursor
  std::vector<std::string> next = {};  // the last item's values for a cursor; none at the end
};

// How many values the cursor of a search has.
inline constexpr size_t kSearchCursorValues = 3;

Refusal NoSuchProduct(int64_t id);

class ProductStore {
 public:
  // Every product it answers carries `currency`.
  ProductStore(postgres::Pool& db, std::string currency);

  // Totals from a thousand on may be ten seconds old. Refuses a cursor that is none of this list's.
  Result<ProductPage> List(const ProductFilter& filter, const std::vector<SortKey>& sort,
                           const Page& page);
  // Best match first: words in the name count more than in the category and the description. Where
  // no product has all of them, words of names that are most like them count, all of them or any.
  // Looks at a thousand matches by their names and a thousand by all their words, and counts those.
  Result<ProductPage> Search(const std::string& text, const Page& page);
  std::optional<v1::Product> Find(int64_t id);
  // Those of the ids that are in the catalogue.
  std::vector<v1::Quote> Quote(const std::vector<int64_t>& ids);

  // `by` is who does it, for the ledger of its stock.
  v1::Product Insert(const v1::CreateProductRequest& product, std::optional<int64_t> seller_id,
                     std::optional<int64_t> by = {});
  // With an owner only a product that is theirs is found. Where the request names versions, another
  // one is refused as VersionChanged(), and another stock version where it sets the stock; of two
  // at once for one version one wins.
  Result<v1::Product> Update(const v1::UpdateProductRequest& change, std::optional<int64_t> owner,
                             std::optional<int64_t> by = {});
  Result<void> Delete(const v1::DeleteProductRequest& request, std::optional<int64_t> owner);

  // Calls `invalidate` with products whose cached copies are stale and, when it returns, forgets
  // that they were; again until none is left: those that have changed, and those of which only
  // stock moved. May name a product more than once, and in both.
  using Invalidate =
      std::function<void(const std::vector<int64_t>& changed, const std::vector<int64_t>& sold)>;
  void DrainInvalidations(const Invalidate& invalidate);

 private:
  v1::Product ToProduct(const pqxx::row& row) const;
  ProductPage ToPage(const pqxx::result& rows, const Page& page) const;
  // By a request's fingerprint.
  std::optional<int64_t> RememberedTotal(const std::string& query);
  void RememberTotal(const std::string& query, int64_t total);

  struct Remembered {
    int64_t total;
    std::chrono::steady_clock::time_point until;
  };

  postgres::Pool& db_;
  const std::string currency_;
  std::mutex totals_mutex_;
  std::unordered_map<std::string, Remembered> totals_;
};

}  // namespace shop::products
