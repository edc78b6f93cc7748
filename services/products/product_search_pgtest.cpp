#include "products/product_search.h"

#include <gmock/gmock.h>

#include "products/testing/catalogue_fixture.h"

namespace shop::products {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

class ProductSearchTest : public CatalogueFixture {};

TEST_F(ProductSearchTest, SearchRanksTheNameOverTheCategoryOverTheDescription) {
  AddWith("Desk", "furniture", "Fits a keyboard and a screen");
  AddWith("Wrist rest", "keyboard", "Soft");
  AddWith("Mechanical keyboard", "computers", "Loud");
  AddWith("Chair", "furniture", "Black");
  EXPECT_THAT(Found("keyboard"), ElementsAre("Mechanical keyboard", "Wrist rest", "Desk"));
}

TEST_F(ProductSearchTest, SearchKnowsOtherFormsOfAWord) {
  AddWith("Running shoes", "sport", "");
  EXPECT_THAT(Found("shoe"), ElementsAre("Running shoes"));
  EXPECT_THAT(Found("runs shoes"), ElementsAre("Running shoes"));
}

TEST_F(ProductSearchTest, SearchForgivesATypo) {
  Add("Mechanical keyboard");
  Add("Laptop 15 inch");
  Add("Smartphone");
  Add("Wireless Mouse");
  Add("Coffee grinder");
  EXPECT_THAT(Found("keybord"), ElementsAre("Mechanical keyboard"));
  EXPECT_THAT(Found("keybaord"), ElementsAre("Mechanical keyboard"));
  EXPECT_THAT(Found("lapotp"), ElementsAre("Laptop 15 inch"));
  EXPECT_THAT(Found("labtop"), ElementsAre("Laptop 15 inch"));
  EXPECT_THAT(Found("smartfone"), ElementsAre("Smartphone"));
  EXPECT_THAT(Found("wireles mose"), ElementsAre("Wireless Mouse"));
  EXPECT_THAT(Found("cofee"), ElementsAre("Coffee grinder"));
}

TEST_F(ProductSearchTest, SearchFindsTheBeginningOfAWord) {
  Add("Mechanical keyboard");
  EXPECT_THAT(Found("keyb"), ElementsAre("Mechanical keyboard"));
}

TEST_F(ProductSearchTest, SearchDoesNotFindWhatIsNotAlike) {
  Add("Mechanical keyboard");
  EXPECT_THAT(Found("zzqxw"), IsEmpty());
  EXPECT_THAT(Found("the"), IsEmpty());
}

TEST_F(ProductSearchTest, SearchPagesThroughWhatMatches) {
  for (int i = 0; i < 5; ++i) Add("Lamp");
  Add("Desk");
  const v1::ListProductsResponse second = *Search("lamp", Numbered(2, 3));
  EXPECT_EQ(second.total(), 5);
  EXPECT_THAT(second.items(), SizeIs(2));
}

TEST_F(ProductSearchTest, SearchKnowsTheWordsOfANewNameToo) {
  v1::UpdateProductRequest change;
  change.set_id(Add("Lamp"));
  change.set_name("Lantern");
  ASSERT_TRUE(Update(change));
  EXPECT_THAT(Found("lantren"), ElementsAre("Lantern"));
}

TEST_F(ProductSearchTest, WhereNotAllWordsAreFoundSomeAre) {
  Add("Red lamp");
  Add("Blue keyboard");
  EXPECT_THAT(Found("red keyboard"), UnorderedElementsAre("Red lamp", "Blue keyboard"));
}

TEST_F(ProductSearchTest, AWordThatVeryManyHaveIsAnsweredFromSomeOfThem) {
  postgres::Read(db_, [](postgres::Tx& tx) {
    return tx.Run(
        "INSERT INTO products (name, description, price, on_hand)"
        " SELECT CASE WHEN n > 4900 THEN 'Lamp' ELSE 'Desk' END, 'for a lamp', 1, 1"
        " FROM generate_series(1, 5000) AS n");
  });
  const v1::ListProductsResponse found = *Search("lamp", FirstPage(100));
  EXPECT_EQ(found.total(), 1100);  // 100 by their names, of the rest a thousand
  EXPECT_THAT(found.items(), SizeIs(100));
  for (const v1::Product& product : found.items()) EXPECT_EQ(product.name(), "Lamp");
}

// Products 1 to 6,000, four of five of them lamps.
class CommonWordTest : public ProductSearchTest {
 protected:
  CommonWordTest() {
    Run("INSERT INTO products (name, description, price, on_hand)"
        " SELECT CASE WHEN n % 5 = 0 THEN 'Desk' ELSE 'Lamp' END, repeat('bright ', n % 7), 1, 1"
        " FROM generate_series(1, 6000) AS n; DELETE FROM products WHERE id < 100; ANALYZE "
        "products");
  }
  void Run(const std::string& sql) {
    postgres::InTransaction(db_, [&](postgres::Tx& tx) { tx.Run(sql); });
  }
  // With what is known of common words from here on.
  std::vector<int64_t> Ids(const std::string& text) {
    CommonWords known;
    std::vector<int64_t> ids;
    for (int32_t number = 1; number <= 3; ++number) {
      const v1::ListProductsResponse found = *postgres::Read(db_, [&](postgres::Tx& tx) {
        return products::Search(tx, text, Numbered(number, 100), known);
      });
      for (const v1::Product& product : found.items()) ids.push_back(product.id());
      ids.push_back(found.total());
    }
    return ids;
  }
  // How often the index of the words of names was asked.
  int64_t IndexScans() {
    Value("SELECT pg_stat_force_next_flush()");
    return std::stoll(
        Value("SELECT idx_scan FROM pg_stat_user_indexes"
              " WHERE indexrelname = 'products_by_name_words'"));
  }
};

TEST_F(CommonWordTest, FindsWhatItsIndexWouldFindWithoutReadingIt) {
  const int64_t before = IndexScans();
  const std::vector<int64_t> walked = Ids("lamp");
  EXPECT_EQ(IndexScans(), before);
  Run("DELETE FROM pg_statistic WHERE starelid IN ('products'::regclass, "
      "'products_by_name_words'::regclass)");
  EXPECT_EQ(Ids("lamp"), walked);
  EXPECT_GT(IndexScans(), before);
  EXPECT_EQ(walked.back(), 1000);
  EXPECT_EQ(walked.size(), 303u);
}

TEST_F(CommonWordTest, IsLookedUpInItsIndexOnceTheFirstRowsHaveItNoMore) {
  Run("UPDATE products SET name = 'Chair' WHERE id % 5 > 0 AND id > 600");
  const std::vector<int64_t> found = Ids("lamp");
  EXPECT_EQ(found.back(), 400);
}

TEST_F(ProductSearchTest, ASearchByCursorRepeatsNoneAndLeavesNoneOut) {
  for (int i = 0; i < 9; ++i) {
    AddWith(i % 3 == 0 ? "Lamp" : "Lamp stand", i % 2 == 0 ? "lamp" : "home", "");
  }
  Add("Zebra");
  for (const char* text : {"lamp", "lammp", "lamp zebra"}) {
    std::vector<int64_t> wanted;
    const v1::ListProductsResponse whole = *Search(text, FirstPage());
    for (const v1::Product& product : whole.items()) {
      wanted.push_back(product.id());
    }
    ASSERT_THAT(wanted, SizeIs(std::string(text) == "lamp zebra" ? 10 : 9)) << text;
    std::vector<int64_t> seen;
    v1::ListProductsResponse page = *Search(text, FirstPage(2));
    for (int pages = 0; pages < 20; ++pages) {
      for (const v1::Product& product : page.items()) seen.push_back(product.id());
      if (!page.has_next_cursor()) break;
      ASSERT_TRUE(Drop(Add("Lamp lamp lamp")));
      page = *Search(text, Behind(page, 2, kSearchCursorValues));
    }
    EXPECT_EQ(seen, wanted) << text;
  }
}

TEST_F(ProductSearchTest, APageBeyondTheEndIsEmptyAndKnowsTheTotal) {
  Add("Lamp");
  const v1::ListProductsResponse found = *Search("lamp", Numbered(9, 20));
  EXPECT_THAT(found.items(), IsEmpty());
  EXPECT_EQ(found.total(), 1);
  Add("Keyboard");
  EXPECT_EQ(Search("keybaord", Numbered(9, 20))->total(), 1);
}

TEST_F(ProductSearchTest, WhatCannotBeTheValuesOfACursorIsRefused) {
  Add("Lamp");
  Page page = FirstPage();
  for (const std::vector<std::string>& values :
       std::vector<std::vector<std::string>>{{"3", "0.1", "1"},
                                             {"-1", "0.1", "1"},
                                             {"0", "nan", "1"},
                                             {"0", "1e99", "1"},
                                             {"0", "", "1"},
                                             {"0", "0.1", "x"}}) {
    page.after = values;
    EXPECT_FALSE(Search("lamp", page));
  }
  page.after = {"0", "0.1", "1"};
  EXPECT_TRUE(Search("lamp", page));
}

}  // namespace
}  // namespace shop::products
