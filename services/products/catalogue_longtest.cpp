// Lists and searches of a million products touch a bounded number of database pages, whatever is
// asked.
//
// Pages and not milliseconds, which depend on the machine: they are counted by PostgreSQL itself
// over what the store really runs. The milliseconds are printed beside them.
#include <gmock/gmock.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <sstream>

#include "common/postgres/migrations.h"
#include "common/testing/database.h"
#include "products/product_list.h"
#include "products/product_search.h"
#include "products/product_store.h"
#include "products_migrations.h"

namespace shop::products {
namespace {

constexpr int64_t kProducts = 1'000'000;
constexpr int64_t kAtOnce = 50'000;
// The first calls of a connection are planned for their values, the later ones once for all.
constexpr int kCalls = 8;

class MillionTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    database_ = new testing::TestDatabase;
    postgres::Settings settings = database_->settings();
    settings.connections = 1;  // what it has done is counted when it says so
    settings.statement_timeout = std::chrono::milliseconds(0);
    db_ = new postgres::Pool(settings);
    postgres::Migrate(*db_, {kProductsMigrations});
    std::ifstream file(CATALOGUE_SQL);
    std::stringstream generator;
    generator << file.rdbuf();
    ASSERT_FALSE(generator.str().empty()) << CATALOGUE_SQL;
    for (int64_t first = 1; first <= kProducts; first += kAtOnce) {
      Run("SET synchronous_commit = off; SET catalogue.first = " + std::to_string(first) +
          "; SET catalogue.count = " + std::to_string(kAtOnce) + ";" + generator.str());
    }
    for (const char* table : {"products", "product_words", "stock_movements"}) {
      Run(std::string("ALTER TABLE ") + table + " SET (autovacuum_enabled = false)");
    }
    Run("VACUUM ANALYZE");
    ASSERT_EQ(Number("SELECT count(*) FROM products"), kProducts);
    std::printf("%-52s %9s %9s %9s\n", "", "pages", "at first", "ms");
  }
  static void TearDownTestSuite() {
    delete db_;
    delete database_;
  }

  static pqxx::result Run(const std::string& sql) {
    return postgres::Read(*db_, [&](postgres::Tx& tx) { return tx.Run(sql); });
  }
  static int64_t Number(const std::string& sql) { return Run(sql)[0][0].as<int64_t>(); }

  // Pages of tables and indexes read so far, in memory or not.
  static int64_t Pages() {
    Run("SELECT pg_stat_force_next_flush()");
    return Number(
        "SELECT sum(heap_blks_hit + heap_blks_read + coalesce(idx_blks_hit + idx_blks_read, 0)"
        "           + coalesce(toast_blks_hit + toast_blks_read, 0))::bigint"
        " FROM pg_statio_user_tables");
  }

  // Runs `ask` several times: no call but the first, which counts the total, may look at more pages
  // than `most`.
  template <typename Ask>
  static void Bounded(const std::string& what, int64_t most, const Ask& ask) {
    int64_t first = 0;
    int64_t greatest = 0;
    double least_ms = 1e9;
    for (int call = 0; call < kCalls; ++call) {
      const int64_t before = Pages();
      const auto begun = std::chrono::steady_clock::now();
      ask();
      const std::chrono::duration<double, std::milli> took =
          std::chrono::steady_clock::now() - begun;
      const int64_t pages = Pages() - before;
      if (call == 0) {
        first = pages;
      } else {
        greatest = std::max(greatest, pages);
      }
      least_ms = std::min(least_ms, took.count());
    }
    std::printf("%-52s %9ld %9ld %9.2f\n", what.c_str(), greatest, first, least_ms);
    EXPECT_GT(first, 0) << what;
    EXPECT_LE(greatest, most) << what;
    EXPECT_LE(first, kMostByNumber + most) << what;
  }

  int64_t List(const ProductFilter& filter, const std::vector<SortKey>& sort, const Page& page) {
    return postgres::Read(*db_, [&](postgres::Tx& tx) {
      return products::List(tx, filter, sort, page, totals_)->items_size();
    });
  }

  static Page FirstPage(const std::string& query) { return *MakePage({}, 20, "", query, 0); }

  static testing::TestDatabase* database_;
  static postgres::Pool* db_;
  TotalCache totals_;
  CommonWords common_words_;
};
testing::TestDatabase* MillionTest::database_ = nullptr;
postgres::Pool* MillionTest::db_ = nullptr;

TEST_F(MillionTest, EveryPageOfAListLooksAtAboutAsManyRowsAsItHas) {
  const std::vector<std::pair<std::string, ProductFilter>> filters{
      {"all", {}},
      {"category", {.category = "Kitchen"}},
      {"small category", {.category = "Bath & Body"}},
      {"no such category", {.category = "None"}},
      {"seller", {.seller_id = 17}},
      {"seller of few", {.seller_id = 4990}},
      {"in stock", {.in_stock = true}},
      {"category in stock", {.category = "Toys", .in_stock = true}}};
  for (const auto& [name, filter] : filters) {
    for (const char* sort : {"", "-id", "price", "-price", "name", "-createdAt"}) {
      const std::vector<SortKey> keys = *ParseSort(sort);
      const std::string what = name + ", sort=" + sort;
      Bounded(what + ", first page", 150, [&] { return List(filter, keys, FirstPage(what)); });
      // Far behind: the place of a product in the middle of the list.
      Page deep = FirstPage(what);
      for (const SortKey& key : keys) {
        deep.after.push_back(key.field == SortField::kName        ? "Mosarzel Steel"
                             : key.field == SortField::kPrice     ? "40000"
                             : key.field == SortField::kCreatedAt ? "1735000000000000"
                                                                  : "500000");
      }
      Bounded(what + ", deep cursor", 150, [&] { return List(filter, keys, deep); });
    }
  }
}

TEST_F(MillionTest, OtherListsLookAtABoundedNumberOfRows) {
  const auto list = [&](const std::string& what, const ProductFilter& filter, const char* sort,
                        int64_t most) {
    Bounded(what + ", sort=" + sort, most,
            [&] { return List(filter, *ParseSort(sort), FirstPage(what)); });
  };
  list("prices 50 to 60", {.min_price = 5000, .max_price = 6000}, "price", 150);
  list("prices 50 to 600", {.min_price = 5000, .max_price = 60'000}, "name", 1000);
  list("prices 50 to 53", {.min_price = 5000, .max_price = 5300}, "name", 20'000);
  list("prices 1999.98 and more", {.min_price = 199'998}, "name", 5000);
  list("category and seller", {.category = "Travel", .seller_id = 40}, "name", 5000);
  list("category in prices", {.category = "Travel", .min_price = 500, .max_price = 700},
       "createdAt", 20'000);
  list("all", {}, "-price,name", 1000);
  Bounded("page 499 of 20, sort=name", 20'000,
          [&] { return List({}, *ParseSort("name"), *MakePage(499, 20, "", "far", 0)); });
}

TEST_F(MillionTest, EverySearchLooksAtABoundedNumberOfRows) {
  for (const char* text :
       {"wireless", "mouse", "wireless mouse", "classic cotton skillet", "daily", "karikari",
        "karikari copper kettle", "desk suitcase", "keybaord", "wireles mose", "keyb", "zzqxw",
        "the", "ten-9381", "wireless or cotton or steel or oak or classic or compact"}) {
    Bounded(std::string("search: ") + text, 7000, [&] {
      return postgres::Read(*db_, [&](postgres::Tx& tx) {
        return Search(tx, text, FirstPage(text), common_words_)->items_size();
      });
    });
  }
}

TEST_F(MillionTest, AProductIsAddedAndChangedWithBoundedWork) {
  v1::CreateProductRequest draft;
  draft.set_name("Entirely New Copper Kettle");
  draft.set_description("A kettle of copper.");
  draft.set_price(4900);
  draft.set_stock(5);
  int64_t id = 0;
  Bounded("add a product", 1000, [&] {
    id =
        postgres::InTransaction(*db_, [&](postgres::Tx& tx) { return Insert(tx, draft, 17).id(); });
  });
  v1::UpdateProductRequest change;
  change.set_id(id);
  change.set_price(4800);
  Bounded("change a price", 1000, [&] {
    return postgres::InTransaction(
        *db_, [&](postgres::Tx& tx) { return static_cast<bool>(Update(tx, change, 17)); });
  });
}

}  // namespace
}  // namespace shop::products
