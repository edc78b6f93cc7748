// What the tests of the catalogue's stores have in common: a database of their own, and a call of
// each store in one word.
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "common/postgres/migrations.h"
#include "common/testing/database.h"
#include "products/product_list.h"
#include "products/product_search.h"
#include "products/product_store.h"
#include "products_migrations.h"

namespace shop::products {

class CatalogueFixture : public ::testing::Test {
 protected:
  CatalogueFixture() { postgres::Migrate(db_, {kProductsMigrations}); }

  v1::Product Insert(const v1::CreateProductRequest& draft, std::optional<int64_t> seller = {}) {
    return postgres::InTransaction(
        db_, [&](postgres::Tx& tx) { return products::Insert(tx, draft, seller); });
  }
  Result<v1::Product> Update(const v1::UpdateProductRequest& change,
                             std::optional<int64_t> owner = {}) {
    return postgres::InTransaction(
        db_, [&](postgres::Tx& tx) { return products::Update(tx, change, owner); });
  }
  Result<void> Delete(const v1::DeleteProductRequest& request, std::optional<int64_t> owner = {}) {
    return postgres::InTransaction(
        db_, [&](postgres::Tx& tx) { return products::Delete(tx, request, owner); });
  }
  std::optional<v1::Product> Find(int64_t id) {
    return postgres::Read(db_, [&](postgres::Tx& tx) { return products::Find(tx, id); });
  }
  v1::QuoteProductsResponse Quote(const std::vector<int64_t>& ids) {
    return postgres::Read(db_, [&](postgres::Tx& tx) { return products::Quote(tx, ids); });
  }
  Result<v1::ListProductsResponse> List(const ProductFilter& filter,
                                        const std::vector<SortKey>& sort, const Page& page) {
    return postgres::Read(
        db_, [&](postgres::Tx& tx) { return products::List(tx, filter, sort, page, totals_); });
  }
  Result<v1::ListProductsResponse> Search(const std::string& text, const Page& page) {
    return postgres::Read(
        db_, [&](postgres::Tx& tx) { return products::Search(tx, text, page, common_words_); });
  }

  static v1::CreateProductRequest Draft(const std::string& name, int64_t price = 100,
                                        int64_t stock = 1) {
    v1::CreateProductRequest draft;
    draft.set_name(name);
    draft.set_price(price);
    draft.set_stock(stock);
    return draft;
  }
  int64_t Add(const std::string& name, int64_t price = 100, int64_t stock = 1) {
    return Insert(Draft(name, price, stock)).id();
  }
  int64_t AddWith(const std::string& name, const std::string& category,
                  const std::string& description) {
    v1::CreateProductRequest draft = Draft(name);
    draft.set_category(category);
    draft.set_description(description);
    return Insert(draft).id();
  }
  bool Drop(int64_t id, std::optional<int64_t> owner = {}) {
    v1::DeleteProductRequest request;
    request.set_id(id);
    return static_cast<bool>(Delete(request, owner));
  }

  static Page FirstPage(int32_t limit = 20) { return *MakePage({}, limit, "", "", 0); }
  static Page Numbered(int32_t number, int32_t limit) {
    return *MakePage(number, limit, "", "", 0);
  }
  // The page after this one; its cursor has `values` values.
  static Page Behind(const v1::ListProductsResponse& page, int32_t limit, size_t values) {
    return *MakePage({}, limit, page.next_cursor(), "", values);
  }
  static std::vector<std::string> NamesOf(const v1::ListProductsResponse& page) {
    std::vector<std::string> names;
    for (const v1::Product& product : page.items()) names.push_back(product.name());
    return names;
  }
  std::vector<std::string> Listed(const ProductFilter& filter, const std::string& sort = "") {
    return NamesOf(*List(filter, *ParseSort(sort), FirstPage()));
  }
  std::vector<std::string> Found(const std::string& text) {
    return NamesOf(*Search(text, FirstPage()));
  }
  std::string Value(const std::string& sql) {
    return postgres::Read(
        db_, [&](postgres::Tx& tx) { return tx.Run(sql)[0][0].as<std::string>("NULL"); });
  }

  testing::TestDatabase database_;
  postgres::Pool db_{database_.settings()};
  TotalCache totals_;
  CommonWords common_words_;
};

}  // namespace shop::products
