#include "products/product_store.h"

#include <gmock/gmock.h>

#include <atomic>
#include <barrier>
#include <thread>

#include "products/testing/catalogue_fixture.h"

namespace shop::products {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

class ProductStoreTest : public CatalogueFixture {};

TEST_F(ProductStoreTest, AProductIsReadAsItWasWritten) {
  v1::CreateProductRequest draft = Draft("Lamp \"Ä\" \\ 'x'", 4999, 7);
  draft.set_description("line one\nline two");
  draft.set_category("home; DROP TABLE products");
  v1::Image* second = draft.add_images();
  second->set_url("https://example.org/\"b\".png");
  second->set_index(2);
  draft.add_images()->set_url("https://example.org/a.png");

  const v1::Product made = Insert(draft, 12);
  const std::optional<v1::Product> read = Find(made.id());
  ASSERT_TRUE(read);
  EXPECT_EQ(read->SerializeAsString(), made.SerializeAsString());
  EXPECT_EQ(read->name(), draft.name());
  EXPECT_EQ(read->description(), draft.description());
  EXPECT_EQ(read->category(), draft.category());
  EXPECT_EQ(read->price(), 4999);
  EXPECT_EQ(read->stock(), 7);
  EXPECT_EQ(read->seller_id(), 12);
  ASSERT_THAT(read->images(), SizeIs(2));
  EXPECT_EQ(read->images(0).url(), "https://example.org/a.png");
  EXPECT_EQ(read->images(1).url(), "https://example.org/\"b\".png");
  EXPECT_EQ(read->images(1).index(), 2);
  EXPECT_GT(read->created_at().seconds(), 1'700'000'000);
}

TEST_F(ProductStoreTest, WhatWasNotSentIsAbsent) {
  const v1::Product made = Insert(Draft("Lamp"));
  EXPECT_FALSE(made.has_seller_id());
  EXPECT_FALSE(made.has_category());
  EXPECT_THAT(made.images(), IsEmpty());
}

TEST_F(ProductStoreTest, AnUpdateChangesOnlyWhatIsSent) {
  v1::CreateProductRequest draft = Draft("Lamp", 100, 5);
  draft.set_category("home");
  draft.add_images()->set_url("https://example.org/a.png");
  v1::Product expected = Insert(draft, 3);

  v1::UpdateProductRequest change;
  change.set_id(expected.id());
  change.set_price(250);
  const Result<v1::Product> changed = Update(change);
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
  const Result<v1::Product> again = Update(change);
  EXPECT_EQ(again->category(), "office");
  EXPECT_EQ(again->price(), 250);
  ASSERT_THAT(again->images(), SizeIs(1));
  EXPECT_EQ(again->images(0).url(), "https://example.org/b.png");
}

TEST_F(ProductStoreTest, CategoryAndGalleryCanBeEmptied) {
  v1::CreateProductRequest draft = Draft("Lamp");
  draft.set_category("home");
  draft.add_images()->set_url("https://example.org/a.png");
  const int64_t id = Insert(draft).id();
  v1::UpdateProductRequest change;
  change.set_id(id);
  change.add_clear("images");
  EXPECT_THAT(Update(change)->images(), IsEmpty());
  EXPECT_EQ(Find(id)->category(), "home");
  change.set_clear(0, "category");
  EXPECT_FALSE(Update(change)->has_category());
  EXPECT_EQ(Value("SELECT category FROM products"), "NULL");

  change.clear_clear();
  change.set_category("office");
  ASSERT_EQ(Update(change)->category(), "office");
  change.set_category("");
  EXPECT_FALSE(Update(change)->has_category());
}

TEST_F(ProductStoreTest, ASellerTouchesOnlyTheirOwn) {
  const int64_t id = Insert(Draft("Lamp"), 12).id();
  const int64_t of_the_platform = Add("Desk");
  v1::UpdateProductRequest change;
  change.set_price(1);
  for (const int64_t others : {id, of_the_platform}) {
    change.set_id(others);
    EXPECT_FALSE(Update(change, 13));
    EXPECT_FALSE(Drop(others, 13));
    EXPECT_EQ(Find(others)->price(), 100);
  }
  change.set_id(id);
  EXPECT_TRUE(Update(change, 12));
  EXPECT_TRUE(Drop(id, 12));
}

TEST_F(ProductStoreTest, ADeletedProductIsNowhereButKept) {
  const int64_t id = Add("Lamp");
  EXPECT_TRUE(Drop(id));
  EXPECT_FALSE(Drop(id));
  EXPECT_FALSE(Find(id));
  EXPECT_THAT(Quote({id}).items(), IsEmpty());
  EXPECT_THAT(Listed({}), IsEmpty());
  EXPECT_THAT(Found("lamp"), IsEmpty());
  v1::UpdateProductRequest change;
  change.set_id(id);
  EXPECT_FALSE(Update(change));
  EXPECT_EQ(Value("SELECT count(*) FROM products"), "1");
}

TEST_F(ProductStoreTest, AChangeForAnotherVersionChangesNothing) {
  const int64_t id = Add("Lamp");
  v1::UpdateProductRequest change;
  change.set_id(id);
  change.set_price(1);
  change.add_if_versions(2);
  change.add_if_versions(0);
  EXPECT_EQ(Update(change).refusal().reason, "VERSION_CHANGED");
  v1::DeleteProductRequest deletion;
  deletion.set_id(id);
  deletion.add_if_versions(2);
  EXPECT_EQ(Delete(deletion).refusal().reason, "VERSION_CHANGED");
  EXPECT_EQ(Find(id)->price(), 100);
  EXPECT_EQ(Value("SELECT count(*) FROM cache_invalidations"), "0");

  change.add_if_versions(1);
  EXPECT_EQ(Update(change)->version(), 2);
  EXPECT_TRUE(Delete(deletion));
  EXPECT_EQ(Delete(deletion).refusal().code, Code::kNotFound);
}

TEST_F(ProductStoreTest, AStockThatHasMovedIsSetOnlyByWhoKnowsIt) {
  const int64_t id = Add("Lamp", 100, 5);
  Value("UPDATE products SET reserved = 1, stock_version = 2 RETURNING 1");
  v1::UpdateProductRequest change;
  change.set_id(id);
  change.set_price(1);
  change.add_if_versions(1);
  change.add_if_stock_versions(1);
  EXPECT_TRUE(Update(change)) << "a sale is no change of the price";

  change.set_stock(5);
  const auto refused = [&] {
    const Result<v1::Product> product = Update(change);
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
  EXPECT_TRUE(Update(change));
  EXPECT_EQ(Value("SELECT on_hand FROM products"), "6");

  change.clear_if_versions();
  EXPECT_TRUE(Update(change)) << "without If-Match it is set";
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
        const Result<v1::Product> product = Update(change);
        ++(product ? made : refused);
      });
    }
    for (std::thread& rival : rivals) rival.join();
    ASSERT_EQ(made, 1);
    ASSERT_EQ(refused, kRivals - 1);
  }
  EXPECT_EQ(Find(id)->version(), kRounds + 1);
}

TEST_F(ProductStoreTest, QuotesAreOfTheProductsThatThereAre) {
  const int64_t lamp = Add("Lamp", 100, 3);
  const int64_t desk = Add("Desk", 200, 0);
  std::vector<int64_t> ids{desk, 999'999, lamp, lamp};
  for (int64_t id = 1'000'000; ids.size() < 1000; ++id) ids.push_back(id);
  const v1::QuoteProductsResponse quotes = Quote(ids);
  ASSERT_THAT(quotes.items(), SizeIs(2));
  EXPECT_EQ(quotes.items(0).product_id(), lamp);
  EXPECT_EQ(quotes.items(0).name(), "Lamp");
  EXPECT_EQ(quotes.items(0).price(), 100);
  EXPECT_EQ(quotes.items(0).stock(), 3);
  EXPECT_EQ(quotes.items(1).stock(), 0);
}

TEST_F(ProductStoreTest, WhatChangesAProductMarksItsCopyStale) {
  const int64_t lamp = Add("Lamp");
  const int64_t desk = Add("Desk");
  const auto drained = [&] {
    std::vector<int64_t> all;
    DrainInvalidations(db_, [&](const auto& changed, const auto& sold) {
      EXPECT_THAT(sold, IsEmpty());
      all.insert(all.end(), changed.begin(), changed.end());
    });
    return all;
  };
  EXPECT_THAT(drained(), IsEmpty());
  v1::UpdateProductRequest change;
  change.set_id(lamp);
  change.set_price(5);
  EXPECT_TRUE(Update(change));
  Drop(desk);
  EXPECT_THAT(drained(), UnorderedElementsAre(lamp, desk));
  EXPECT_THAT(drained(), IsEmpty());
}

TEST_F(ProductStoreTest, AnInvalidationThatFailedStaysPending) {
  const int64_t lamp = Add("Lamp");
  v1::UpdateProductRequest change;
  change.set_id(lamp);
  EXPECT_TRUE(Update(change));
  EXPECT_THROW(
      DrainInvalidations(db_, [](const auto&, const auto&) { throw Unavailable("Redis is away"); }),
      Unavailable);
  std::vector<int64_t> pending;
  DrainInvalidations(db_, [&](const auto& changed, const auto&) { pending = changed; });
  EXPECT_THAT(pending, ElementsAre(lamp));
}

TEST_F(ProductStoreTest, MoreInvalidationsThanABatchAreAllDrained) {
  Value(
      "WITH i AS (INSERT INTO cache_invalidations (product_id) SELECT generate_series(1, 2500)"
      " RETURNING 1) SELECT count(*) FROM i");
  size_t drained = 0;
  DrainInvalidations(db_, [&](const auto& changed, const auto&) { drained += changed.size(); });
  EXPECT_EQ(drained, 2500u);
  EXPECT_EQ(Value("SELECT count(*) FROM cache_invalidations"), "0");
}

}  // namespace
}  // namespace shop::products
