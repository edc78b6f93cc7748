#include "products/product_list.h"

#include <gmock/gmock.h>

#include <set>

#include "products/testing/catalogue_fixture.h"

namespace shop::products {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class ProductListTest : public CatalogueFixture {};

TEST_F(ProductListTest, EachFilterLeavesOutTheOthers) {
  v1::CreateProductRequest lamp = Draft("Lamp", 100, 0);
  lamp.set_category("home");
  Insert(lamp, 1);
  v1::CreateProductRequest desk = Draft("Desk", 200, 2);
  desk.set_category("office");
  Insert(desk, 2);
  Add("Pen", 300, 1);

  EXPECT_THAT(Listed({}), ElementsAre("Lamp", "Desk", "Pen"));
  EXPECT_THAT(Listed({.category = "office"}), ElementsAre("Desk"));
  EXPECT_THAT(Listed({.min_price = 200}), ElementsAre("Desk", "Pen"));
  EXPECT_THAT(Listed({.max_price = 200}), ElementsAre("Lamp", "Desk"));
  EXPECT_THAT(Listed({.min_price = 150, .max_price = 250}), ElementsAre("Desk"));
  EXPECT_THAT(Listed({.seller_id = 1}), ElementsAre("Lamp"));
  EXPECT_THAT(Listed({.in_stock = true}), ElementsAre("Desk", "Pen"));
  EXPECT_THAT(Listed({.category = "home", .in_stock = true}), IsEmpty());
}

// A page of a hundred products must not be megabytes long.
TEST_F(ProductListTest, AListAndASearchShowTheBeginningOfADescriptionAndTheFirstImage) {
  v1::CreateProductRequest draft = Draft("Lamp");
  std::string beginning;
  for (int i = 0; i < 200; ++i) beginning += "\U0001F4A1";
  draft.set_description(beginning + "and much more");
  for (const char* name : {"b", "a"}) {
    v1::Image* image = draft.add_images();
    image->set_url(std::string("https://example.org/") + name + ".png");
    image->set_index(name[0]);
  }
  const int64_t lamp = Insert(draft).id();
  Add("Lampshade");

  for (const v1::ListProductsResponse& page :
       {*List({}, *ParseSort("id"), FirstPage()), *Search("lamp", FirstPage())}) {
    ASSERT_GE(page.items_size(), 1);
    EXPECT_EQ(page.items(0).description(), beginning);
    ASSERT_THAT(page.items(0).images(), SizeIs(1));
    EXPECT_EQ(page.items(0).images(0).url(), "https://example.org/a.png");
  }
  EXPECT_THAT(List({}, *ParseSort("id"), FirstPage())->items(1).images(), IsEmpty());
  EXPECT_EQ(Find(lamp)->description(), draft.description());
  EXPECT_THAT(Find(lamp)->images(), SizeIs(2));
}

TEST_F(ProductListTest, SqlInAFilterIsPlainText) {
  Add("Lamp");
  EXPECT_THAT(Listed({.category = "' OR '1'='1"}), IsEmpty());
  EXPECT_THAT(Listed({.category = "%"}), IsEmpty());
  for (const char* text : {"'; DROP TABLE products; --", "\\", "& | ! ( ) : * <-> lamp'\"", "%_%a",
                           "\"unclosed", "a:*", "$1"}) {
    Found(text);
  }
  EXPECT_THAT(Listed({}), ElementsAre("Lamp"));
}

TEST_F(ProductListTest, ListsAreInTheOrderAsked) {
  Add("B", 200);
  Add("A", 200);
  Add("C", 100);
  EXPECT_THAT(Listed({}, "price,name"), ElementsAre("C", "A", "B"));
  EXPECT_THAT(Listed({}, "-price,name"), ElementsAre("A", "B", "C"));
  EXPECT_THAT(Listed({}, "-price"), ElementsAre("A", "B", "C"));
  EXPECT_THAT(Listed({}, "-name"), ElementsAre("C", "B", "A"));
  EXPECT_THAT(Listed({}, "-createdAt"), ElementsAre("C", "A", "B"));
  EXPECT_THAT(Listed({}, "-id"), ElementsAre("C", "A", "B"));
}

TEST_F(ProductListTest, PagesHoldEveryProductOnce) {
  for (int i = 0; i < 25; ++i) Add("Same", 100);
  std::set<int64_t> seen;
  for (const int32_t number : {1, 2, 3}) {
    const v1::ListProductsResponse page = *List({}, *ParseSort("price"), Numbered(number, 10));
    EXPECT_EQ(page.total(), 25);
    EXPECT_THAT(page.items(), SizeIs(number == 3 ? 5 : 10));
    for (const v1::Product& product : page.items()) seen.insert(product.id());
  }
  EXPECT_THAT(seen, SizeIs(25));
}

TEST_F(ProductListTest, APageBeyondTheEndIsEmptyAndKnowsTheTotal) {
  Add("Lamp");
  const v1::ListProductsResponse listed = *List({}, *ParseSort(""), Numbered(9, 20));
  EXPECT_THAT(listed.items(), IsEmpty());
  EXPECT_EQ(listed.total(), 1);
}

// Every way to sort, with ties, while products come and go between the pages.
TEST_F(ProductListTest, ByCursorNoneIsRepeatedOrLeftOutWhileOthersComeAndGo) {
  for (const char* sort : {"", "-id", "price", "-price", "name", "-name", "createdAt", "-createdAt",
                           "-price,name", "name,-price", "price,-createdAt,name", "price,-id"}) {
    Value(
        "WITH gone AS (DELETE FROM stock_movements), all_gone AS (DELETE FROM products) SELECT 1");
    postgres::Read(db_, [](postgres::Tx& tx) {
      return tx.Run(
          "INSERT INTO products (name, description, price, on_hand, category, created_at)"
          " SELECT 'Ä\"{' || n % 3, '', 1 + n % 4, 1, 'there', timestamptz '2026-01-01' + n % 5 * "
          "interval '1 microsecond' FROM generate_series(1, 30) AS n");
    });
    for (const bool filtered : {false, true}) {
      ProductFilter filter;
      if (filtered) filter = {.category = "there", .min_price = 1, .in_stock = true};
      const std::vector<SortKey> keys = *ParseSort(sort);
      std::vector<int64_t> wanted;
      const v1::ListProductsResponse whole = *List(filter, keys, FirstPage(100));
      for (const v1::Product& product : whole.items()) {
        if (product.category() == "there") wanted.push_back(product.id());
      }
      ASSERT_THAT(wanted, SizeIs(30));
      std::vector<int64_t> seen;
      v1::ListProductsResponse page = *List(filter, keys, FirstPage(4));
      for (int pages = 1; pages < 50; ++pages) {
        for (const v1::Product& product : page.items()) {
          if (product.category() == "there") seen.push_back(product.id());
        }
        if (!page.has_next_cursor()) break;
        // In front of, among and behind what is still to come; and the row that the cursor is of.
        const int64_t newcomer =
            Insert(Draft("Ä\"{" + std::to_string(pages % 3), 1 + pages % 4)).id();
        if (pages % 2 == 0) {
          EXPECT_TRUE(Drop(newcomer));
        }
        const Result<v1::ListProductsResponse> next =
            List(filter, keys, Behind(page, 4, keys.size()));
        ASSERT_TRUE(next);
        page = *next;
      }
      EXPECT_EQ(seen, wanted) << sort << (filtered ? " filtered" : "");
    }
  }
}

TEST_F(ProductListTest, ACursorGoesOnBehindAProductThatIsGone) {
  for (const char* name : {"A", "B", "C"}) Add(name);
  const std::vector<SortKey> keys = *ParseSort("-name");
  const v1::ListProductsResponse page = *List({}, keys, FirstPage(2));
  ASSERT_TRUE(Drop(page.items(1).id()));
  EXPECT_THAT(NamesOf(*List({}, keys, Behind(page, 2, keys.size()))), ElementsAre("A"));
}

TEST_F(ProductListTest, WhatCannotBeTheValuesOfACursorIsRefused) {
  Add("Lamp");
  const auto listed = [&](const char* sort, std::vector<std::string> values) {
    Page page = FirstPage();
    page.after = std::move(values);
    return List({}, *ParseSort(sort), page);
  };
  EXPECT_FALSE(listed("price", {"x", "1"}));
  EXPECT_FALSE(listed("price", {"1", ""}));
  EXPECT_FALSE(listed("createdAt", {"2026-01-01", "1"}));
  EXPECT_FALSE(listed("name", {"\xff", "1"}));
  EXPECT_TRUE(listed("name", {"'; DROP TABLE products; --", "1"}));
  EXPECT_TRUE(listed("name", {"\"},{\\", "1"}));
}

// A cursor that somebody made up may name any moment.
TEST_F(ProductListTest, AMomentOutsideOfTimeIsNoFailure) {
  Add("Lamp");
  Page page = FirstPage();
  for (const char* moment : {"9223372036854775807", "-9223372036854775808", "9000000000000000000",
                             "-210000000000000000", "0"}) {
    page.after = {moment, "1"};
    EXPECT_NO_THROW((void)List({}, *ParseSort("createdAt"), page)) << moment;
  }
}

TEST_F(ProductListTest, ATotalIsCountedUpToALimit) {
  const auto fill = [&](int count) {
    postgres::Read(db_, [&](postgres::Tx& tx) {
      return tx.Run(
          "INSERT INTO products (name, description, price, on_hand)"
          " SELECT 'x', '', 1, 1 FROM generate_series(1, " +
          std::to_string(count) + ")");
    });
  };
  const auto total = [&](const std::string& fingerprint) {
    Page page = FirstPage();
    page.fingerprint = fingerprint;
    return List({}, *ParseSort(""), page)->total();
  };
  fill(999);
  EXPECT_EQ(total("a"), 999);
  fill(1);
  EXPECT_EQ(total("a"), 1000);
  fill(9500);
  EXPECT_EQ(total("a"), 1000);  // remembered for a while
  EXPECT_EQ(total("b"), 10'000);
}

}  // namespace
}  // namespace shop::products
