#include "products/product_store.h"

#include <gmock/gmock.h>

#include <atomic>
#include <barrier>
#include <thread>

#include "common/postgres/migrations.h"
#include "common/testing/database.h"
#include "products_migrations.h"

namespace shop::products {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

class ProductStoreTest : public ::testing::Test {
 protected:
  ProductStoreTest() { postgres::Migrate(db_, {kProductsMigrations}); }

  static v1::CreateProductRequest Draft(const std::string& name, int64_t price = 100,
                                        int64_t stock = 1) {
    v1::CreateProductRequest draft;
    draft.set_name(name);
    draft.set_price(price);
    draft.set_stock(stock);
    return draft;
  }
  int64_t Add(const std::string& name, int64_t price = 100, int64_t stock = 1) {
    return store_.Insert(Draft(name, price, stock), std::nullopt).id();
  }
  int64_t AddWith(const std::string& name, const std::string& category,
                  const std::string& description) {
    v1::CreateProductRequest draft = Draft(name);
    draft.set_category(category);
    draft.set_description(description);
    return store_.Insert(draft, std::nullopt).id();
  }
  static Page FirstPage(int32_t limit = 20) { return *MakePage({}, limit, "", "", 0); }
  static Page Numbered(int32_t number, int32_t limit) {
    return *MakePage(number, limit, "", "", 0);
  }
  // The page behind one that ended so.
  static Page Behind(const ProductPage& page, int32_t limit) {
    Page next = FirstPage(limit);
    next.after = page.next;
    return next;
  }
  bool Delete(int64_t id, std::optional<int64_t> owner = {}) {
    v1::DeleteProductRequest request;
    request.set_id(id);
    return static_cast<bool>(store_.Delete(request, owner));
  }
  static std::vector<std::string> NamesOf(const ProductPage& page) {
    std::vector<std::string> names;
    for (const v1::Product& product : page.items) names.push_back(product.name());
    return names;
  }
  std::vector<std::string> Listed(const ProductFilter& filter, const std::string& sort = "") {
    return NamesOf(*store_.List(filter, *ParseSort(sort), FirstPage()));
  }
  std::vector<std::string> Found(const std::string& text) {
    return NamesOf(*store_.Search(text, FirstPage()));
  }
  std::string Value(const std::string& sql) {
    return postgres::Read(
        db_, [&](postgres::Tx& tx) { return tx.Run(sql)[0][0].as<std::string>("NULL"); });
  }

  testing::TestDatabase database_;
  postgres::Pool db_{database_.settings()};
  ProductStore store_{db_, "EUR"};
};

TEST_F(ProductStoreTest, AProductIsReadAsItWasWritten) {
  v1::CreateProductRequest draft = Draft("Lamp \"Ä\" \\ 'x'", 4999, 7);
  draft.set_description("line one\nline two");
  draft.set_category("home; DROP TABLE products");
  v1::Image* second = draft.add_images();
  second->set_url("https://example.org/\"b\".png");
  second->set_index(2);
  draft.add_images()->set_url("https://example.org/a.png");

  const v1::Product made = store_.Insert(draft, 12);
  const std::optional<v1::Product> read = store_.Find(made.id());
  ASSERT_TRUE(read);
  EXPECT_EQ(read->SerializeAsString(), made.SerializeAsString());
  EXPECT_EQ(read->name(), draft.name());
  EXPECT_EQ(read->description(), draft.description());
  EXPECT_EQ(read->category(), draft.category());
  EXPECT_EQ(read->price(), 4999);
  EXPECT_EQ(read->currency(), "EUR");
  EXPECT_EQ(read->stock(), 7);
  EXPECT_EQ(read->seller_id(), 12);
  ASSERT_THAT(read->images(), SizeIs(2));
  EXPECT_EQ(read->images(0).url(), "https://example.org/a.png");
  EXPECT_EQ(read->images(1).url(), "https://example.org/\"b\".png");
  EXPECT_EQ(read->images(1).index(), 2);
  EXPECT_GT(read->created_at().seconds(), 1'700'000'000);
}

TEST_F(ProductStoreTest, WhatWasNotSentIsAbsent) {
  const v1::Product made = store_.Insert(Draft("Lamp"), std::nullopt);
  EXPECT_FALSE(made.has_seller_id());
  EXPECT_FALSE(made.has_category());
  EXPECT_THAT(made.images(), IsEmpty());
}

TEST_F(ProductStoreTest, AnUpdateChangesOnlyWhatIsSent) {
  v1::CreateProductRequest draft = Draft("Lamp", 100, 5);
  draft.set_category("home");
  draft.add_images()->set_url("https://example.org/a.png");
  v1::Product expected = store_.Insert(draft, 3);

  v1::UpdateProductRequest change;
  change.set_id(expected.id());
  change.set_price(250);
  const Result<v1::Product> changed = store_.Update(change, std::nullopt);
  ASSERT_TRUE(changed);
  EXPECT_GT(changed->updated_at().seconds() * 1'000'000'000 + changed->updated_at().nanos(),
            expected.updated_at().seconds() * 1'000'000'000 + expected.updated_at().nanos());
  expected.set_price(250);
  expected.set_version(2);
  *expected.mutable_updated_at() = changed->updated_at();
  EXPECT_EQ(changed->SerializeAsString(), expected.SerializeAsString());

  change.Clear();
  change.set_id(expected.id());
  change.set_description("");
  change.set_category("office");
  change.add_images()->set_url("https://example.org/b.png");
  const Result<v1::Product> again = store_.Update(change, std::nullopt);
  EXPECT_EQ(again->category(), "office");
  EXPECT_EQ(again->price(), 250);
  ASSERT_THAT(again->images(), SizeIs(1));
  EXPECT_EQ(again->images(0).url(), "https://example.org/b.png");
}

TEST_F(ProductStoreTest, CategoryAndGalleryCanBeEmptied) {
  v1::CreateProductRequest draft = Draft("Lamp");
  draft.set_category("home");
  draft.add_images()->set_url("https://example.org/a.png");
  const int64_t id = store_.Insert(draft, std::nullopt).id();
  v1::UpdateProductRequest change;
  change.set_id(id);
  change.add_clear("images");
  EXPECT_THAT(store_.Update(change, std::nullopt)->images(), IsEmpty());
  EXPECT_EQ(store_.Find(id)->category(), "home");
  change.set_clear(0, "category");
  EXPECT_FALSE(store_.Update(change, std::nullopt)->has_category());
  EXPECT_EQ(Value("SELECT category FROM products"), "NULL");

  change.clear_clear();
  change.set_category("office");
  ASSERT_EQ(store_.Update(change, std::nullopt)->category(), "office");
  change.set_category("");
  EXPECT_FALSE(store_.Update(change, std::nullopt)->has_category());
}

TEST_F(ProductStoreTest, ASellerTouchesOnlyTheirOwn) {
  const int64_t id = store_.Insert(Draft("Lamp"), 12).id();
  const int64_t of_the_platform = Add("Desk");
  v1::UpdateProductRequest change;
  change.set_price(1);
  for (const int64_t others : {id, of_the_platform}) {
    change.set_id(others);
    EXPECT_FALSE(store_.Update(change, 13));
    EXPECT_FALSE(Delete(others, 13));
    EXPECT_EQ(store_.Find(others)->price(), 100);
  }
  change.set_id(id);
  EXPECT_TRUE(store_.Update(change, 12));
  EXPECT_TRUE(Delete(id, 12));
}

TEST_F(ProductStoreTest, ADeletedProductIsNowhereButKept) {
  const int64_t id = Add("Lamp");
  EXPECT_TRUE(Delete(id));
  EXPECT_FALSE(Delete(id));
  EXPECT_FALSE(store_.Find(id));
  EXPECT_THAT(store_.Quote({id}), IsEmpty());
  EXPECT_THAT(Listed({}), IsEmpty());
  EXPECT_THAT(Found("lamp"), IsEmpty());
  v1::UpdateProductRequest change;
  change.set_id(id);
  EXPECT_FALSE(store_.Update(change, std::nullopt));
  EXPECT_EQ(Value("SELECT count(*) FROM products"), "1");
}

TEST_F(ProductStoreTest, AChangeForAnotherVersionChangesNothing) {
  const int64_t id = Add("Lamp");
  v1::UpdateProductRequest change;
  change.set_id(id);
  change.set_price(1);
  change.add_if_versions(2);
  change.add_if_versions(0);
  EXPECT_EQ(store_.Update(change, std::nullopt).refusal().reason, "VERSION_CHANGED");
  v1::DeleteProductRequest deletion;
  deletion.set_id(id);
  deletion.add_if_versions(2);
  EXPECT_EQ(store_.Delete(deletion, std::nullopt).refusal().reason, "VERSION_CHANGED");
  EXPECT_EQ(store_.Find(id)->price(), 100);
  EXPECT_EQ(Value("SELECT count(*) FROM cache_invalidations"), "0");

  change.add_if_versions(1);
  EXPECT_EQ(store_.Update(change, std::nullopt)->version(), 2);
  EXPECT_TRUE(store_.Delete(deletion, std::nullopt));
  EXPECT_EQ(store_.Delete(deletion, std::nullopt).refusal().code, Code::kNotFound);
}

TEST_F(ProductStoreTest, AStockThatHasMovedIsSetOnlyByWhoKnowsIt) {
  const int64_t id = Add("Lamp", 100, 5);
  Value("UPDATE products SET reserved = 1, stock_version = 2 RETURNING 1");
  v1::UpdateProductRequest change;
  change.set_id(id);
  change.set_price(1);
  change.add_if_versions(1);
  change.add_if_stock_versions(1);
  EXPECT_TRUE(store_.Update(change, std::nullopt)) << "a sale is no change of the price";

  change.set_stock(5);
  const auto refused = [&] {
    const Result<v1::Product> product = store_.Update(change, std::nullopt);
    return !product && product.refusal().reason == "VERSION_CHANGED";
  };
  change.set_if_versions(0, 2);
  EXPECT_TRUE(refused());
  change.clear_if_stock_versions();
  EXPECT_TRUE(refused()) << "a tag from before stock had versions";
  // The pairs count, not what is in both lists.
  change.add_if_stock_versions(1);
  change.add_if_versions(1);
  change.add_if_stock_versions(2);
  EXPECT_TRUE(refused());
  EXPECT_EQ(Value("SELECT on_hand FROM products"), "5");
  change.add_if_versions(2);
  change.add_if_stock_versions(2);
  EXPECT_TRUE(store_.Update(change, std::nullopt));
  EXPECT_EQ(Value("SELECT on_hand FROM products"), "6");

  change.clear_if_versions();
  EXPECT_TRUE(store_.Update(change, std::nullopt)) << "without If-Match it is set";
}

TEST_F(ProductStoreTest, OfManyChangesForOneVersionOneIsMade) {
  const int64_t id = Add("Lamp");
  constexpr int kRounds = 20;
  constexpr int kRivals = 4;
  for (int64_t version = 1; version <= kRounds; ++version) {
    std::atomic<int> made = 0;
    std::atomic<int> refused = 0;
    std::barrier start(kRivals);
    std::vector<std::thread> rivals;
    for (int64_t rival = 0; rival < kRivals; ++rival) {
      rivals.emplace_back([&, rival] {
        v1::UpdateProductRequest change;
        change.set_id(id);
        change.set_price(1 + rival);
        change.add_if_versions(version);
        start.arrive_and_wait();
        const Result<v1::Product> product = store_.Update(change, std::nullopt);
        ++(product ? made : refused);
      });
    }
    for (std::thread& rival : rivals) rival.join();
    ASSERT_EQ(made, 1);
    ASSERT_EQ(refused, kRivals - 1);
  }
  EXPECT_EQ(store_.Find(id)->version(), kRounds + 1);
}

TEST_F(ProductStoreTest, QuotesAreOfTheProductsThatThereAre) {
  const int64_t lamp = Add("Lamp", 100, 3);
  const int64_t desk = Add("Desk", 200, 0);
  std::vector<int64_t> ids{desk, 999'999, lamp, lamp};
  for (int64_t id = 1'000'000; ids.size() < 1000; ++id) ids.push_back(id);
  const std::vector<v1::Quote> quotes = store_.Quote(ids);
  ASSERT_THAT(quotes, SizeIs(2));
  EXPECT_EQ(quotes[0].product_id(), lamp);
  EXPECT_EQ(quotes[0].name(), "Lamp");
  EXPECT_EQ(quotes[0].price(), 100);
  EXPECT_EQ(quotes[0].stock(), 3);
  EXPECT_EQ(quotes[1].stock(), 0);
}

TEST_F(ProductStoreTest, EachFilterLeavesOutTheOthers) {
  v1::CreateProductRequest lamp = Draft("Lamp", 100, 0);
  lamp.set_category("home");
  store_.Insert(lamp, 1);
  v1::CreateProductRequest desk = Draft("Desk", 200, 2);
  desk.set_category("office");
  store_.Insert(desk, 2);
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

TEST_F(ProductStoreTest, SqlInAFilterIsPlainText) {
  Add("Lamp");
  EXPECT_THAT(Listed({.category = "' OR '1'='1"}), IsEmpty());
  EXPECT_THAT(Listed({.category = "%"}), IsEmpty());
  for (const char* text : {"'; DROP TABLE products; --", "\\", "& | ! ( ) : * <-> lamp'\"", "%_%a",
                           "\"unclosed", "a:*", "$1"}) {
    Found(text);
  }
  EXPECT_THAT(Listed({}), ElementsAre("Lamp"));
}

TEST_F(ProductStoreTest, ListsAreInTheOrderAsked) {
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

TEST_F(ProductStoreTest, PagesHoldEveryProductOnce) {
  for (int i = 0; i < 25; ++i) Add("Same", 100);
  std::set<int64_t> seen;
  for (const int32_t number : {1, 2, 3}) {
    const ProductPage page = *store_.List({}, *ParseSort("price"), Numbered(number, 10));
    EXPECT_EQ(page.total, 25);
    EXPECT_THAT(page.items, SizeIs(number == 3 ? 5 : 10));
    for (const v1::Product& product : page.items) seen.insert(product.id());
  }
  EXPECT_THAT(seen, SizeIs(25));
}

TEST_F(ProductStoreTest, APageBeyondTheEndIsEmptyAndKnowsTheTotal) {
  Add("Lamp");
  const ProductPage listed = *store_.List({}, *ParseSort(""), Numbered(9, 20));
  EXPECT_THAT(listed.items, IsEmpty());
  EXPECT_EQ(listed.total, 1);
  const ProductPage found = *store_.Search("lamp", Numbered(9, 20));
  EXPECT_THAT(found.items, IsEmpty());
  EXPECT_EQ(found.total, 1);
  Add("Keyboard");
  EXPECT_EQ(store_.Search("keybaord", Numbered(9, 20))->total, 1);
}

TEST_F(ProductStoreTest, SearchRanksTheNameOverTheCategoryOverTheDescription) {
  AddWith("Desk", "furniture", "Fits a keyboard and a screen");
  AddWith("Wrist rest", "keyboard", "Soft");
  AddWith("Mechanical keyboard", "computers", "Loud");
  AddWith("Chair", "furniture", "Black");
  EXPECT_THAT(Found("keyboard"), ElementsAre("Mechanical keyboard", "Wrist rest", "Desk"));
}

TEST_F(ProductStoreTest, SearchKnowsOtherFormsOfAWord) {
  AddWith("Running shoes", "sport", "");
  EXPECT_THAT(Found("shoe"), ElementsAre("Running shoes"));
  EXPECT_THAT(Found("runs shoes"), ElementsAre("Running shoes"));
}

TEST_F(ProductStoreTest, SearchForgivesATypo) {
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

TEST_F(ProductStoreTest, SearchFindsTheBeginningOfAWord) {
  Add("Mechanical keyboard");
  EXPECT_THAT(Found("keyb"), ElementsAre("Mechanical keyboard"));
}

TEST_F(ProductStoreTest, SearchDoesNotFindWhatIsNotAlike) {
  Add("Mechanical keyboard");
  EXPECT_THAT(Found("zzqxw"), IsEmpty());
  EXPECT_THAT(Found("the"), IsEmpty());
}

TEST_F(ProductStoreTest, SearchPagesThroughWhatMatches) {
  for (int i = 0; i < 5; ++i) Add("Lamp");
  Add("Desk");
  const ProductPage second = *store_.Search("lamp", Numbered(2, 3));
  EXPECT_EQ(second.total, 5);
  EXPECT_THAT(second.items, SizeIs(2));
}

TEST_F(ProductStoreTest, SearchKnowsTheWordsOfANewNameToo) {
  v1::UpdateProductRequest change;
  change.set_id(Add("Lamp"));
  change.set_name("Lantern");
  ASSERT_TRUE(store_.Update(change, std::nullopt));
  EXPECT_THAT(Found("lantren"), ElementsAre("Lantern"));
}

TEST_F(ProductStoreTest, WhereNotAllWordsAreFoundSomeAre) {
  Add("Red lamp");
  Add("Blue keyboard");
  EXPECT_THAT(Found("red keyboard"), UnorderedElementsAre("Red lamp", "Blue keyboard"));
}

TEST_F(ProductStoreTest, AWordThatVeryManyHaveIsAnsweredFromSomeOfThem) {
  postgres::Read(db_, [](postgres::Tx& tx) {
    return tx.Run(
        "INSERT INTO products (name, description, price, on_hand)"
        " SELECT CASE WHEN n > 4900 THEN 'Lamp' ELSE 'Desk' END, 'for a lamp', 1, 1"
        " FROM generate_series(1, 5000) AS n");
  });
  const ProductPage found = *store_.Search("lamp", FirstPage(100));
  EXPECT_EQ(found.total, 1100);  // 100 by their names, of the rest a thousand
  EXPECT_THAT(found.items, SizeIs(100));
  for (const v1::Product& product : found.items) EXPECT_EQ(product.name(), "Lamp");
}

// Every way to sort, with ties, while products come and go between the pages.
TEST_F(ProductStoreTest, ByCursorNoneIsRepeatedOrLeftOutWhileOthersComeAndGo) {
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
      const ProductPage whole = *store_.List(filter, keys, FirstPage(100));
      for (const v1::Product& product : whole.items) {
        if (product.category() == "there") wanted.push_back(product.id());
      }
      ASSERT_THAT(wanted, SizeIs(30));
      std::vector<int64_t> seen;
      ProductPage page = *store_.List(filter, keys, FirstPage(4));
      for (int pages = 1; pages < 50; ++pages) {
        for (const v1::Product& product : page.items) {
          if (product.category() == "there") seen.push_back(product.id());
        }
        if (page.next.empty()) break;
        // In front of, among and behind what is still to come; and the row that the cursor is of.
        const int64_t newcomer =
            store_.Insert(Draft("Ä\"{" + std::to_string(pages % 3), 1 + pages % 4), std::nullopt)
                .id();
        if (pages % 2 == 0) {
          EXPECT_TRUE(Delete(newcomer));
        }
        const Result<ProductPage> next = store_.List(filter, keys, Behind(page, 4));
        ASSERT_TRUE(next);
        page = *next;
      }
      EXPECT_EQ(seen, wanted) << sort << (filtered ? " filtered" : "");
    }
  }
}

TEST_F(ProductStoreTest, ACursorGoesOnBehindAProductThatIsGone) {
  for (const char* name : {"A", "B", "C"}) Add(name);
  const std::vector<SortKey> keys = *ParseSort("-name");
  const ProductPage page = *store_.List({}, keys, FirstPage(2));
  ASSERT_TRUE(Delete(page.items[1].id()));
  EXPECT_THAT(NamesOf(*store_.List({}, keys, Behind(page, 2))), ElementsAre("A"));
}

TEST_F(ProductStoreTest, ASearchByCursorRepeatsNoneAndLeavesNoneOut) {
  for (int i = 0; i < 9; ++i) {
    AddWith(i % 3 == 0 ? "Lamp" : "Lamp stand", i % 2 == 0 ? "lamp" : "home", "");
  }
  Add("Zebra");
  for (const char* text : {"lamp", "lammp", "lamp zebra"}) {
    std::vector<int64_t> wanted;
    const ProductPage whole = *store_.Search(text, FirstPage());
    for (const v1::Product& product : whole.items) {
      wanted.push_back(product.id());
    }
    ASSERT_THAT(wanted, SizeIs(std::string(text) == "lamp zebra" ? 10 : 9)) << text;
    std::vector<int64_t> seen;
    ProductPage page = *store_.Search(text, FirstPage(2));
    for (int pages = 0; pages < 20; ++pages) {
      for (const v1::Product& product : page.items) seen.push_back(product.id());
      if (page.next.empty()) break;
      ASSERT_TRUE(Delete(Add("Lamp lamp lamp")));
      page = *store_.Search(text, Behind(page, 2));
    }
    EXPECT_EQ(seen, wanted) << text;
  }
}

TEST_F(ProductStoreTest, WhatCannotBeTheValuesOfACursorIsRefused) {
  Add("Lamp");
  const auto listed = [&](const char* sort, std::vector<std::string> values) {
    Page page = FirstPage();
    page.after = std::move(values);
    return store_.List({}, *ParseSort(sort), page);
  };
  EXPECT_FALSE(listed("price", {"x", "1"}));
  EXPECT_FALSE(listed("price", {"1", ""}));
  EXPECT_FALSE(listed("createdAt", {"2026-01-01", "1"}));
  EXPECT_FALSE(listed("name", {"\xff", "1"}));
  EXPECT_TRUE(listed("name", {"'; DROP TABLE products; --", "1"}));
  EXPECT_TRUE(listed("name", {"\"},{\\", "1"}));
  Page page = FirstPage();
  for (const std::vector<std::string>& values :
       std::vector<std::vector<std::string>>{{"3", "0.1", "1"},
                                             {"-1", "0.1", "1"},
                                             {"0", "nan", "1"},
                                             {"0", "1e99", "1"},
                                             {"0", "", "1"},
                                             {"0", "0.1", "x"}}) {
    page.after = values;
    EXPECT_FALSE(store_.Search("lamp", page));
  }
  page.after = {"0", "0.1", "1"};
  EXPECT_TRUE(store_.Search("lamp", page));
}

// A cursor that somebody made up may name any moment.
TEST_F(ProductStoreTest, AMomentOutsideOfTimeIsNoFailure) {
  Add("Lamp");
  Page page = FirstPage();
  for (const char* moment : {"9223372036854775807", "-9223372036854775808", "9000000000000000000",
                             "-210000000000000000", "0"}) {
    page.after = {moment, "1"};
    EXPECT_NO_THROW((void)store_.List({}, *ParseSort("createdAt"), page)) << moment;
  }
}

TEST_F(ProductStoreTest, ATotalIsCountedUpToALimit) {
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
    return store_.List({}, *ParseSort(""), page)->total;
  };
  fill(999);
  EXPECT_EQ(total("a"), 999);
  fill(1);
  EXPECT_EQ(total("a"), 1000);
  fill(9500);
  EXPECT_EQ(total("a"), 1000);  // remembered for a while
  EXPECT_EQ(total("b"), 10'000);
}

TEST_F(ProductStoreTest, WhatChangesAProductMarksItsCopyStale) {
  const int64_t lamp = Add("Lamp");
  const int64_t desk = Add("Desk");
  const auto drained = [&] {
    std::vector<int64_t> all;
    store_.DrainInvalidations([&](const auto& changed, const auto& sold) {
      EXPECT_THAT(sold, IsEmpty());
      all.insert(all.end(), changed.begin(), changed.end());
    });
    return all;
  };
  EXPECT_THAT(drained(), IsEmpty());
  v1::UpdateProductRequest change;
  change.set_id(lamp);
  change.set_price(5);
  EXPECT_TRUE(store_.Update(change, std::nullopt));
  Delete(desk);
  EXPECT_THAT(drained(), UnorderedElementsAre(lamp, desk));
  EXPECT_THAT(drained(), IsEmpty());
}

TEST_F(ProductStoreTest, AnInvalidationThatFailedStaysPending) {
  const int64_t lamp = Add("Lamp");
  v1::UpdateProductRequest change;
  change.set_id(lamp);
  EXPECT_TRUE(store_.Update(change, std::nullopt));
  EXPECT_THROW(store_.DrainInvalidations(
                   [](const auto&, const auto&) { throw Unavailable("Redis is away"); }),
               Unavailable);
  std::vector<int64_t> pending;
  store_.DrainInvalidations([&](const auto& changed, const auto&) { pending = changed; });
  EXPECT_THAT(pending, ElementsAre(lamp));
}

TEST_F(ProductStoreTest, MoreInvalidationsThanABatchAreAllDrained) {
  Value(
      "WITH i AS (INSERT INTO cache_invalidations (product_id) SELECT generate_series(1, 2500)"
      " RETURNING 1) SELECT count(*) FROM i");
  size_t drained = 0;
  store_.DrainInvalidations([&](const auto& changed, const auto&) { drained += changed.size(); });
  EXPECT_EQ(drained, 2500u);
  EXPECT_EQ(Value("SELECT count(*) FROM cache_invalidations"), "0");
}

}  // namespace
}  // namespace shop::products
