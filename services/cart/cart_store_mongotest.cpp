#include "cart/cart_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <set>
#include <thread>

#include "common/core/result.h"
#include "common/testing/servers.h"
#include "common/testing/wire.h"

namespace shop::cart {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::UnorderedElementsAre;

constexpr int64_t kAda = 7;
constexpr int64_t kMug = 31;
constexpr int64_t kLamp = 12;
constexpr int64_t kPen = 5;
constexpr int64_t kNoLimit = 1000000;

Line Some(int64_t product_id, int64_t quantity) {
  Line line;
  line.product_id = product_id;
  line.quantity = quantity;
  line.name = "Thing “" + std::to_string(product_id) + "”";
  line.unit_price = 4999;
  return line;
}

class CartStoreTest : public ::testing::Test {
 protected:
  // What AddItem does, without its rules.
  std::optional<StoredCart> Add(const Line& line, int64_t limit = kNoLimit,
                                int64_t max_lines = kNoLimit) {
    if (auto grown = store.Increase(kAda, line, limit)) return grown;
    if (auto made = store.Insert(kAda, line, max_lines)) return made;
    return store.Increase(kAda, line, limit);
  }

  // Calls `work(thread, round)` on several threads at once.
  static void AtOnce(int threads, int rounds, const std::function<void(int, int)>& work) {
    std::vector<std::thread> running;
    for (int thread = 0; thread < threads; ++thread) {
      running.emplace_back([&, thread] {
        for (int round = 0; round < rounds; ++round) work(thread, round);
      });
    }
    for (std::thread& thread : running) thread.join();
  }

  // An order of all that the cart holds.
  static Ordered Ordering(const std::string& uuid, const StoredCart& cart) {
    Ordered order{uuid, cart.version};
    for (const Line& line : cart.lines) order.quantities[line.product_id] = line.quantity;
    return order;
  }

  int64_t Quantity(int64_t product_id) {
    const StoredCart cart = store.Find(kAda);
    const Line* line = cart.Find(product_id);
    return line == nullptr ? 0 : line->quantity;
  }

  CartStore store{{shop::testing::Server("MONGODB_URI"), shop::testing::UniqueName()}};
};

TEST_F(CartStoreTest, ACartThatNobodyFilledIsEmptyAtVersionZero) {
  const StoredCart cart = store.Find(kAda);
  EXPECT_EQ(cart.user_id, kAda);
  EXPECT_EQ(cart.version, 0);
  EXPECT_TRUE(cart.lines.empty());
}

TEST_F(CartStoreTest, ALineIsReadAsItWasAdded) {
  ASSERT_TRUE(Add(Some(kMug, 2)));
  const StoredCart cart = store.Find(kAda);
  ASSERT_EQ(cart.lines.size(), 1u);
  EXPECT_EQ(cart.lines[0].product_id, kMug);
  EXPECT_EQ(cart.lines[0].quantity, 2);
  EXPECT_EQ(cart.lines[0].name, "Thing “31”");
  EXPECT_EQ(cart.lines[0].unit_price, 4999);
  EXPECT_GT(cart.lines[0].added_at_ms, 1600000000000);
  EXPECT_GE(cart.updated_at_ms, cart.lines[0].added_at_ms);
}

TEST_F(CartStoreTest, AddingAgainTakesTheNameAndPriceOfNow) {
  ASSERT_TRUE(Add(Some(kMug, 1)));
  const int64_t added_at = store.Find(kAda).lines[0].added_at_ms;
  Line dearer = Some(kMug, 1);
  dearer.unit_price = 5999;
  const std::optional<StoredCart> cart = Add(dearer);
  ASSERT_TRUE(cart);
  EXPECT_EQ(cart->lines[0].unit_price, 5999);
  EXPECT_EQ(cart->lines[0].added_at_ms, added_at);
}

TEST_F(CartStoreTest, AddsAtOnceAreAllCounted) {
  std::atomic<int> added = 0;
  AtOnce(8, 40, [&](int, int) { added += Add(Some(kMug, 3)) ? 1 : 0; });
  EXPECT_EQ(added, 320);
  EXPECT_EQ(Quantity(kMug), 960);
  EXPECT_EQ(store.Find(kAda).version, 320);
}

TEST_F(CartStoreTest, AddsOfDifferentProductsAtOnceAllStay) {
  AtOnce(8, 10, [&](int thread, int round) {
    while (!Add(Some(1 + thread * 10 + round, 1))) {
    }
  });
  EXPECT_EQ(store.Find(kAda).lines.size(), 80u);
}

TEST_F(CartStoreTest, AddsAtOnceDoNotPassTheLimit) {
  std::atomic<int> added = 0;
  AtOnce(8, 10, [&](int, int) { added += Add(Some(kMug, 1), /*limit=*/20) ? 1 : 0; });
  EXPECT_EQ(added, 20);
  EXPECT_EQ(Quantity(kMug), 20);
}

TEST_F(CartStoreTest, InsertsAtOnceDoNotPassTheLimitOfLines) {
  AtOnce(8, 5, [&](int thread, int round) {
    store.Insert(kAda, Some(1 + thread * 5 + round, 1), /*max_lines=*/10);
  });
  // An insert that met another may have given up; it never adds a line too many.
  EXPECT_LE(store.Find(kAda).lines.size(), 10u);
  for (int64_t product = 100; product < 120; ++product) store.Insert(kAda, Some(product, 1), 10);
  EXPECT_EQ(store.Find(kAda).lines.size(), 10u);
}

TEST_F(CartStoreTest, TheLimitOfLinesHoldsAfterLinesCameAndWent) {
  AtOnce(6, 30, [&](int thread, int round) {
    const int64_t product = 1 + (thread + round) % 4;
    if (thread == 0 && round % 10 == 9) {
      store.Clear(kAda);
    } else if (thread % 2 == 0) {
      Add(Some(product, 1));
    } else {
      store.Remove(kAda, product);
    }
  });
  for (int64_t product = 1; product <= 4; ++product) Add(Some(product, 1));
  for (int64_t product = 1; product <= 4; ++product) store.Remove(kAda, product);
  int taken = 0;
  for (int64_t product = 100; product < 110; ++product) {
    taken += store.Insert(kAda, Some(product, 1), /*max_lines=*/5) ? 1 : 0;
  }
  EXPECT_EQ(taken, 5);
}

TEST_F(CartStoreTest, AnOrderedVersionIsClearedOnceAndALaterOneNever) {
  const StoredCart ordered = *Add(Some(kLamp, 2));
  EXPECT_TRUE(store.ClearVersion(kAda, ordered.version));
  EXPECT_FALSE(store.ClearVersion(kAda, ordered.version));
  const StoredCart later = *Add(Some(kLamp, 1));
  EXPECT_FALSE(store.ClearVersion(kAda, ordered.version));
  EXPECT_EQ(store.Find(kAda).version, later.version);
}

TEST_F(CartStoreTest, WhatWasOrderedLeavesTheCartAndWhatWasAddedMeanwhileStays) {
  Add(Some(kLamp, 2));
  const Ordered order = Ordering("a", *Add(Some(kMug, 3)));
  Add(Some(kMug, 4));
  Add(Some(kPen, 1));
  EXPECT_TRUE(store.TakeOut(kAda, order));
  EXPECT_THAT(
      store.Find(kAda).lines,
      UnorderedElementsAre(AllOf(Field(&Line::product_id, kMug), Field(&Line::quantity, 4)),
                           AllOf(Field(&Line::product_id, kPen), Field(&Line::quantity, 1))));
}

TEST_F(CartStoreTest, TakingOutTwiceChangesTheCartOnce) {
  const Ordered order = Ordering("a", *Add(Some(kMug, 3)));
  EXPECT_TRUE(store.TakeOut(kAda, order));
  const StoredCart later = *Add(Some(kMug, 5));
  EXPECT_FALSE(store.TakeOut(kAda, order));
  EXPECT_EQ(store.Find(kAda).version, later.version);
  EXPECT_EQ(Quantity(kMug), 5);
}

TEST_F(CartStoreTest, WhatWasRemovedOrLoweredMeanwhileStaysSo) {
  Add(Some(kLamp, 2));
  const Ordered order = Ordering("a", *Add(Some(kMug, 3)));
  store.Remove(kAda, kLamp);
  store.SetQuantity(kAda, kMug, 1);
  EXPECT_TRUE(store.TakeOut(kAda, order));
  EXPECT_TRUE(store.Find(kAda).lines.empty());
  EXPECT_TRUE(store.PutBack(kAda, "a", kNoLimit, kNoLimit));
  EXPECT_EQ(Quantity(kLamp), 0);
  EXPECT_EQ(Quantity(kMug), 1);
}

TEST_F(CartStoreTest, WhatWasTakenOutMakesRoomForAsManyLines) {
  const Ordered order = Ordering("a", *Add(Some(kMug, 3)));
  ASSERT_TRUE(store.TakeOut(kAda, order));
  EXPECT_TRUE(store.Insert(kAda, Some(kLamp, 1), /*max_lines=*/1));
  EXPECT_FALSE(store.Insert(kAda, Some(kPen, 1), /*max_lines=*/1));
}

TEST_F(CartStoreTest, TakingOutWhileOthersAddLosesNothing) {
  Add(Some(kLamp, 20));
  // When others are quicker again and again it gives up and is asked again, as by a consumer.
  const auto take_out = [&](const Ordered& order) {
    try {
      return store.TakeOut(kAda, order);
    } catch (const Unavailable&) {
      return false;
    }
  };
  AtOnce(4, 20, [&](int thread, int round) {
    if (thread == 0) {
      while (!take_out({"order " + std::to_string(round), 1, {{kLamp, 1}}})) {
      }
    } else {
      while (!Add(Some(kMug, 1))) {
      }
    }
  });
  EXPECT_EQ(Quantity(kMug), 60);
  EXPECT_EQ(Quantity(kLamp), 0);
}

TEST_F(CartStoreTest, OrdersAreTakenOutEachForItself) {
  const Ordered first = Ordering("a", *Add(Some(kMug, 3)));
  const Ordered second = Ordering("b", *Add(Some(kMug, 2)));
  EXPECT_TRUE(store.TakeOut(kAda, first));
  EXPECT_EQ(Quantity(kMug), 2);
  EXPECT_TRUE(store.TakeOut(kAda, second));
  EXPECT_EQ(Quantity(kMug), 0);
}

TEST_F(CartStoreTest, WhatWasTakenOutIsPutBackOnceAsItWas) {
  Add(Some(kLamp, 2));
  const Ordered order = Ordering("a", *Add(Some(kMug, 3)));
  const StoredCart before = store.Find(kAda);
  ASSERT_TRUE(store.TakeOut(kAda, order));
  EXPECT_TRUE(store.PutBack(kAda, "a", kNoLimit, kNoLimit));
  const StoredCart after = store.Find(kAda);
  ASSERT_EQ(after.lines.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(after.lines[i].product_id, before.lines[i].product_id);
    EXPECT_EQ(after.lines[i].quantity, before.lines[i].quantity);
    EXPECT_EQ(after.lines[i].name, before.lines[i].name);
    EXPECT_EQ(after.lines[i].unit_price, before.lines[i].unit_price);
    EXPECT_EQ(after.lines[i].added_at_ms, before.lines[i].added_at_ms);
  }
  EXPECT_FALSE(store.PutBack(kAda, "a", kNoLimit, kNoLimit));
  EXPECT_EQ(Quantity(kMug), 3);
  EXPECT_FALSE(store.TakeOut(kAda, order));
  EXPECT_EQ(Quantity(kMug), 3);
}

TEST_F(CartStoreTest, WhatIsPutBackIsAddedToWhatIsThereUpToTheLimits) {
  Add(Some(kLamp, 6));
  Add(Some(kPen, 1));
  const Ordered order = Ordering("a", *Add(Some(kMug, 3)));
  ASSERT_TRUE(store.TakeOut(kAda, order));
  Add(Some(kLamp, 6));
  EXPECT_TRUE(store.PutBack(kAda, "a", /*max_quantity=*/10, /*max_lines=*/2));
  EXPECT_EQ(Quantity(kLamp), 10);
  EXPECT_EQ(store.Find(kAda).lines.size(), 2u);
}

TEST_F(CartStoreTest, AnOrderThatWasGivenUpBeforeItsLinesWereOutTakesNothing) {
  const Ordered order = Ordering("a", *Add(Some(kMug, 3)));
  EXPECT_FALSE(store.PutBack(kAda, "a", kNoLimit, kNoLimit));
  EXPECT_FALSE(store.TakeOut(kAda, order));
  EXPECT_EQ(Quantity(kMug), 3);
}

TEST_F(CartStoreTest, AnOrderOfACartThatIsGoneIsRememberedAllTheSame) {
  const Ordered order{"a", 3, {{kMug, 2}}};
  EXPECT_TRUE(store.TakeOut(kAda, order));
  Add(Some(kMug, 2));
  EXPECT_FALSE(store.TakeOut(kAda, order));
  EXPECT_EQ(Quantity(kMug), 2);
}

TEST_F(CartStoreTest, WhatACallerOfTheFirstReleaseEmptiedIsNotTakenOutAgain) {
  const Ordered order = Ordering("a", *Add(Some(kMug, 3)));
  ASSERT_TRUE(store.ClearVersion(kAda, order.version));
  Add(Some(kMug, 1));
  EXPECT_FALSE(store.TakeOut(kAda, order));
  EXPECT_EQ(Quantity(kMug), 1);
}

TEST_F(CartStoreTest, TheLastFiftyOrdersAreRemembered) {
  for (int i = 0; i < 51; ++i) {
    EXPECT_TRUE(store.TakeOut(kAda, {"order " + std::to_string(i), 1, {{kMug, 1}}}));
  }
  EXPECT_EQ(store.Find(kAda).taken.size(), 50u);
  EXPECT_FALSE(store.TakeOut(kAda, {"order 1", 1, {{kMug, 1}}}));
}

TEST_F(CartStoreTest, EveryChangeHasAnIdOfItsOwn) {
  std::set<std::string> ids;
  ids.insert(store.Insert(kAda, Some(kMug, 1), kNoLimit)->change_id);
  ids.insert(store.Increase(kAda, Some(kMug, 1), kNoLimit)->change_id);
  ids.insert(store.SetQuantity(kAda, kMug, 9)->change_id);
  ids.insert(store.Remove(kAda, kMug).change_id);
  ids.insert(store.Insert(kAda, Some(kMug, 1), kNoLimit)->change_id);
  ids.insert(store.Clear(kAda).change_id);
  ASSERT_TRUE(store.TakeOut(kAda, {"a", 1, {{kMug, 1}}}));
  ids.insert(store.Find(kAda).change_id);
  EXPECT_EQ(ids.size(), 7u);
  EXPECT_FALSE(ids.contains(""));
}

TEST_F(CartStoreTest, SettingTheQuantityOfWhatWasClearedBringsNothingBack) {
  ASSERT_TRUE(Add(Some(kMug, 1)));
  AtOnce(4, 20, [&](int thread, int) {
    if (thread == 0) {
      store.Clear(kAda);
    } else {
      store.SetQuantity(kAda, kMug, 5);
    }
  });
  EXPECT_FALSE(store.SetQuantity(kAda, kMug, 5));
  EXPECT_TRUE(store.Find(kAda).lines.empty());
}

TEST_F(CartStoreTest, EveryChangeRaisesTheVersionByOne) {
  EXPECT_EQ(store.Insert(kAda, Some(kMug, 1), kNoLimit)->version, 1);
  EXPECT_EQ(store.Increase(kAda, Some(kMug, 1), kNoLimit)->version, 2);
  EXPECT_EQ(store.SetQuantity(kAda, kMug, 9)->version, 3);
  EXPECT_EQ(store.Remove(kAda, kMug).version, 4);
  EXPECT_EQ(store.Insert(kAda, Some(kMug, 1), kNoLimit)->version, 5);
  EXPECT_EQ(store.Clear(kAda).version, 6);
  EXPECT_EQ(store.Insert(kAda, Some(kMug, 1), kNoLimit)->version, 7);
}

TEST_F(CartStoreTest, WhatChangesNothingLeavesTheVersion) {
  ASSERT_TRUE(Add(Some(kMug, 1)));
  EXPECT_EQ(store.Remove(kAda, kLamp).version, 1);
  EXPECT_FALSE(store.SetQuantity(kAda, kLamp, 2));
  EXPECT_FALSE(store.Increase(kAda, Some(kMug, 2), /*limit=*/2));
  EXPECT_FALSE(store.Insert(kAda, Some(kMug, 2), kNoLimit));
  EXPECT_EQ(store.Clear(kAda).version, 2);
  EXPECT_EQ(store.Clear(kAda).version, 2);
}

TEST_F(CartStoreTest, LinesStandInTheOrderTheyWereAdded) {
  ASSERT_TRUE(Add(Some(kMug, 1)));
  const int64_t first = store.Find(kAda).updated_at_ms;
  ASSERT_TRUE(shop::testing::Eventually([&] {
    store.Remove(kAda, kLamp);
    return Add(Some(kLamp, 1))->updated_at_ms > first;
  }));
  Add(Some(kMug, 1));
  EXPECT_THAT(store.Find(kAda).lines,
              ElementsAre(Field(&Line::product_id, kMug), Field(&Line::product_id, kLamp)));
}

TEST_F(CartStoreTest, CartsOfOthersAreUntouched) {
  ASSERT_TRUE(Add(Some(kMug, 1)));
  store.Clear(kAda + 1);
  store.Remove(kAda + 1, kMug);
  EXPECT_EQ(Quantity(kMug), 1);
  EXPECT_TRUE(store.Find(kAda + 1).lines.empty());
}

// A stop waits for the ping under way.
TEST(CartStoreAway, APingOfAServerThatFallsSilentEndsSoon) {
  const std::string uri = shop::testing::Server("MONGODB_URI");
  const size_t port = uri.rfind(':') + 1;
  shop::testing::Wire wire(static_cast<uint16_t>(std::stoi(uri.substr(port))));
  CartStore store({uri.substr(0, port) + std::to_string(wire.port()), "cart"});
  store.Ping();
  wire.Mute();
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THROW(store.Ping(), Unavailable);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(4));
}

TEST(CartStoreAway, SaysSoSoon) {
  CartStore store({"mongodb://127.0.0.1:1", "cart"});
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THROW(store.Find(kAda), Unavailable);
  EXPECT_THROW(store.Clear(kAda), Unavailable);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(8));
}

}  // namespace
}  // namespace shop::cart
