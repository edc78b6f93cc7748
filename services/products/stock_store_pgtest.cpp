// What stock promises: nothing is sold twice, an order gets all of its lines or none, decisions
// stand, and the ledger explains every piece. Each case checks the ledger at its end.
#include "products/stock_store.h"

#include <gmock/gmock.h>

#include <atomic>
#include <thread>

#include "common/postgres/migrations.h"
#include "common/testing/database.h"
#include "common/testing/servers.h"
#include "products/product_store.h"
#include "products_migrations.h"

namespace shop::products {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int kThreads = 8;

std::string Uuid(int64_t number) {
  std::string digits = std::to_string(number);
  return "00000000-0000-4000-8000-" + std::string(12 - digits.size(), '0') + digits;
}

class StockStoreTest : public ::testing::Test {
 protected:
  StockStoreTest() { postgres::Migrate(db_, {kProductsMigrations}); }

  void TearDown() override {
    EXPECT_EQ(Value("SELECT count(*) FROM products p WHERE on_hand <> (SELECT coalesce(sum(on_hand)"
                    ", 0) FROM stock_movements WHERE product_id = p.id)"),
              0)
        << "the ledger explains what is on hand";
    EXPECT_EQ(Value("SELECT count(*) FROM products p WHERE reserved <> (SELECT coalesce("
                    "sum(reserved), 0) FROM stock_movements WHERE product_id = p.id)"),
              0)
        << "the ledger explains what is reserved";
    EXPECT_EQ(Value("SELECT count(*) FROM products p WHERE reserved <> (SELECT coalesce("
                    "sum(quantity), 0) FROM reservation_lines JOIN reservations USING (order_uuid) "
                    "WHERE product_id = p.id AND state = 'HELD')"),
              0);
  }

  postgres::Settings Settings() const {
    postgres::Settings settings = database_.settings();
    settings.connections = kThreads;
    return settings;
  }
  int64_t Stocked(int64_t stock) {
    v1::CreateProductRequest draft;
    draft.set_name("Lamp");
    draft.set_price(100);
    draft.set_stock(stock);
    return store_.Insert(draft, std::nullopt).id();
  }
  void SetStock(int64_t id, int64_t stock) {
    v1::UpdateProductRequest change;
    change.set_id(id);
    change.set_stock(stock);
    ASSERT_TRUE(store_.Update(change, std::nullopt));
  }
  void Drop(int64_t id) {
    v1::DeleteProductRequest request;
    request.set_id(id);
    ASSERT_TRUE(store_.Delete(request, std::nullopt));
  }
  StockDecision Ask(int64_t order, const std::map<int64_t, int64_t>& quantities) {
    return AskAtOnce({{Uuid(order), order, quantities}})[0];
  }
  std::vector<StockDecision> AskAtOnce(const std::vector<StockOrder>& orders) {
    ++calls_;
    return postgres::InTransaction(db_, [&](postgres::Tx& tx) {
      ++runs_;
      return Reserve(tx, orders);
    });
  }
  // A transaction that was chosen to end a deadlock is run again. PostgreSQL's own count of
  // deadlocks comes later than a test ends.
  int64_t Deadlocks() const { return runs_ - calls_; }
  bool SomebodyWaitsForALock() {
    return Value(
               "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND "
               "wait_event_type = 'Lock'") > 0;
  }
  bool GiveBack(int64_t order) {
    return postgres::InTransaction(
               db_, [&](postgres::Tx& tx) { return Release(tx, Uuid(order), order); })
        .released;
  }
  int64_t Available(int64_t id) { return store_.Find(id)->stock(); }
  int64_t Value(const std::string& sql) {
    return postgres::Read(db_, [&](postgres::Tx& tx) { return tx.Run(sql)[0][0].as<int64_t>(); });
  }
  static void AtOnce(const std::function<void(int)>& work) {
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&work, i] { EXPECT_NO_THROW(work(i)); });
    }
    for (std::thread& thread : threads) thread.join();
  }

  testing::TestDatabase database_;
  postgres::Pool db_{Settings()};
  ProductStore store_{db_, "EUR"};
  std::atomic<int64_t> calls_ = 0;
  std::atomic<int64_t> runs_ = 0;
};

TEST_F(StockStoreTest, WhatIsReservedIsNoLongerAvailable) {
  const int64_t lamp = Stocked(5);
  const StockDecision decision = Ask(1, {{lamp, 2}});
  EXPECT_TRUE(decision.reserved);
  EXPECT_THAT(decision.shortages, IsEmpty());
  EXPECT_EQ(Available(lamp), 3);
  EXPECT_EQ(Value("SELECT on_hand FROM products"), 5);
}

TEST_F(StockStoreTest, AnOrderGetsAllOfItsLinesOrNone) {
  const int64_t lamp = Stocked(5);
  const int64_t desk = Stocked(1);
  const int64_t gone = Stocked(5);
  Drop(gone);
  const StockDecision decision = Ask(1, {{lamp, 2}, {desk, 3}, {gone, 1}, {999'999, 4}});
  EXPECT_FALSE(decision.reserved);
  ASSERT_THAT(decision.shortages, SizeIs(3));
  EXPECT_EQ(decision.shortages[0].product_id(), desk);
  EXPECT_EQ(decision.shortages[0].requested(), 3);
  EXPECT_EQ(decision.shortages[0].available(), 1);
  EXPECT_EQ(decision.shortages[1].product_id(), gone);
  EXPECT_EQ(decision.shortages[1].available(), 0);
  EXPECT_EQ(decision.shortages[2].product_id(), 999'999);
  EXPECT_EQ(Available(lamp), 5);
  EXPECT_EQ(Available(desk), 1);
}

TEST_F(StockStoreTest, EachOrderOfABatchIsDecidedAloneInItsTurn) {
  const int64_t lamp = Stocked(3);
  const int64_t desk = Stocked(1);
  const auto decisions = AskAtOnce({{Uuid(5), 5, {{lamp, 2}}},
                                    {Uuid(4), 4, {{lamp, 2}, {desk, 1}}},
                                    {Uuid(3), 3, {{desk, 1}}},
                                    {Uuid(2), 2, {{lamp, 1}}}});
  ASSERT_THAT(decisions, SizeIs(4));
  EXPECT_TRUE(decisions[0].reserved);
  ASSERT_FALSE(decisions[1].reserved);
  ASSERT_THAT(decisions[1].shortages, SizeIs(1));
  EXPECT_EQ(decisions[1].shortages[0].product_id(), lamp);
  EXPECT_EQ(decisions[1].shortages[0].available(), 1);
  EXPECT_TRUE(decisions[2].reserved) << "the refused one has taken no desk";
  EXPECT_TRUE(decisions[3].reserved);
  EXPECT_EQ(Available(lamp), 0);
  EXPECT_EQ(Available(desk), 0);
}

TEST_F(StockStoreTest, ABatchAnswersForOrdersThatWereDecidedBefore) {
  const int64_t lamp = Stocked(3);
  ASSERT_TRUE(Ask(1, {{lamp, 2}}).reserved);
  ASSERT_FALSE(Ask(2, {{lamp, 2}}).reserved);
  const auto decisions =
      AskAtOnce({{Uuid(2), 2, {{lamp, 2}}}, {Uuid(3), 3, {{lamp, 1}}}, {Uuid(1), 1, {{lamp, 2}}}});
  EXPECT_FALSE(decisions[0].reserved);
  EXPECT_THAT(decisions[0].shortages, SizeIs(1));
  EXPECT_TRUE(decisions[1].reserved);
  EXPECT_TRUE(decisions[2].reserved);
  EXPECT_EQ(Available(lamp), 0);
}

TEST_F(StockStoreTest, ManyBatchesOfTheSameOrdersDecideEachOnce) {
  const int64_t lamp = Stocked(1000);
  const int64_t desk = Stocked(1000);
  AtOnce([&](int i) {
    for (int n = 0; n < 10; ++n) {
      std::vector<StockOrder> orders;
      for (int64_t order = 1; order <= 20; ++order) {
        const int64_t id = n * 100 + (i % 2 == 0 ? order : 21 - order);
        orders.push_back({Uuid(id), id, {{i % 3 == 0 ? lamp : desk, 1}, {lamp, 1}}});
      }
      for (const StockDecision& decision : AskAtOnce(orders)) EXPECT_TRUE(decision.reserved);
    }
  });
  EXPECT_EQ(Value("SELECT count(*) FROM reservations"), 200);
  EXPECT_EQ(Deadlocks(), 0);
}

// A batch that waits for its first order holds none of the later ones.
TEST_F(StockStoreTest, BatchesOfTheSameOrdersDoNotBlockEachOtherForever) {
  const int64_t lamp = Stocked(10);
  const auto order = [&](int64_t id) { return StockOrder{Uuid(id), id, {{lamp, 1}}}; };
  std::vector<StockDecision> decisions;
  std::thread batch;
  ++calls_;
  postgres::InTransaction(db_, [&](postgres::Tx& tx) {
    ++runs_;
    Reserve(tx, {order(1)});
    if (!batch.joinable()) {
      batch = std::thread([&] { decisions = AskAtOnce({order(2), order(1)}); });
      EXPECT_TRUE(testing::Eventually([&] { return SomebodyWaitsForALock(); }));
    }
    Reserve(tx, {order(2)});
  });
  batch.join();
  EXPECT_EQ(Deadlocks(), 0);
  ASSERT_THAT(decisions, SizeIs(2));
  EXPECT_TRUE(decisions[0].reserved && decisions[1].reserved);
  EXPECT_EQ(Available(lamp), 8);
}

TEST_F(StockStoreTest, ARepeatReservesNothingMore) {
  const int64_t lamp = Stocked(5);
  Ask(1, {{lamp, 2}});
  EXPECT_TRUE(Ask(1, {{lamp, 2}}).reserved);
  EXPECT_EQ(Available(lamp), 3);
}

TEST_F(StockStoreTest, ARefusalStandsAfterARestock) {
  const int64_t lamp = Stocked(1);
  EXPECT_FALSE(Ask(1, {{lamp, 2}}).reserved);
  SetStock(lamp, 10);
  const StockDecision again = Ask(1, {{lamp, 2}});
  EXPECT_FALSE(again.reserved);
  ASSERT_THAT(again.shortages, SizeIs(1));
  EXPECT_EQ(again.shortages[0].product_id(), lamp);
  EXPECT_EQ(again.shortages[0].requested(), 2);
  EXPECT_EQ(again.shortages[0].available(), 1);
  EXPECT_EQ(Available(lamp), 10);
}

TEST_F(StockStoreTest, AReservationStandsAfterTheProductIsGone) {
  const int64_t lamp = Stocked(1);
  Ask(1, {{lamp, 1}});
  Drop(lamp);
  EXPECT_TRUE(Ask(1, {{lamp, 1}}).reserved);
}

TEST_F(StockStoreTest, TheLastUnitWantedByManyIsSoldOnce) {
  const int64_t lamp = Stocked(1);
  std::atomic<int> sold = 0;
  AtOnce([&](int i) {
    if (Ask(i, {{lamp, 1}}).reserved) ++sold;
  });
  EXPECT_EQ(sold, 1);
  EXPECT_EQ(Available(lamp), 0);
}

TEST_F(StockStoreTest, ManyOrdersTakeExactlyWhatThereIs) {
  const int64_t lamp = Stocked(50);
  const int64_t desk = Stocked(30);
  std::atomic<int> both = 0;
  std::atomic<int> lamps = 0;
  AtOnce([&](int i) {
    for (int n = 0; n < 12; ++n) {
      const int order = i * 100 + n;
      if (n % 2 == 0) {
        if (Ask(order, {{lamp, 1}, {desk, 1}}).reserved) ++both;
      } else {
        if (Ask(order, {{lamp, 1}}).reserved) ++lamps;
      }
    }
  });
  EXPECT_EQ(both + lamps, 50);
  EXPECT_LE(both, 30);
  EXPECT_EQ(Available(lamp), 0);
  EXPECT_EQ(Available(desk), 30 - both);
}

TEST_F(StockStoreTest, ManyCallsAboutOneOrderMakeOneDecision) {
  const int64_t lamp = Stocked(5);
  std::atomic<int> reserved = 0;
  AtOnce([&](int) {
    if (Ask(1, {{lamp, 5}}).reserved) ++reserved;
  });
  EXPECT_EQ(reserved, kThreads);
  EXPECT_EQ(Available(lamp), 0);
  EXPECT_EQ(Value("SELECT count(*) FROM stock_movements WHERE kind = 'RESERVED'"), 1);
}

TEST_F(StockStoreTest, OrdersOfTheSameProductsDoNotBlockEachOtherForever) {
  std::map<int64_t, int64_t> all;
  for (int i = 0; i < 10; ++i) all[Stocked(1000)] = 1;
  AtOnce([&](int i) {
    for (int n = 0; n < 10; ++n) EXPECT_TRUE(Ask(i * 100 + n, all).reserved);
  });
  for (const auto& [id, quantity] : all) EXPECT_EQ(Available(id), 1000 - 10 * kThreads);
  EXPECT_EQ(Deadlocks(), 0);
}

TEST_F(StockStoreTest, WhatIsReleasedCanBeBoughtAgain) {
  const int64_t lamp = Stocked(3);
  ASSERT_TRUE(Ask(1, {{lamp, 2}}).reserved);
  EXPECT_TRUE(GiveBack(1));
  EXPECT_EQ(Available(lamp), 3);
}

TEST_F(StockStoreTest, AReleaseGivesBackOnce) {
  const int64_t lamp = Stocked(3);
  ASSERT_TRUE(Ask(1, {{lamp, 2}}).reserved);
  std::atomic<int> released = 0;
  AtOnce([&](int) { released += GiveBack(1); });
  EXPECT_EQ(released, kThreads);
  EXPECT_EQ(Available(lamp), 3);
}

TEST_F(StockStoreTest, AReleaseThatComesFirstRefusesTheReservation) {
  const int64_t lamp = Stocked(3);
  EXPECT_FALSE(GiveBack(1));
  EXPECT_FALSE(Ask(1, {{lamp, 2}}).reserved);
  EXPECT_EQ(Available(lamp), 3);
}

TEST_F(StockStoreTest, ARefusedOrderReleasesNothing) {
  const int64_t lamp = Stocked(3);
  ASSERT_FALSE(Ask(1, {{lamp, 5}}).reserved);
  EXPECT_FALSE(GiveBack(1));
  EXPECT_EQ(Available(lamp), 3);
}

TEST_F(StockStoreTest, SettingStockLeavesWhatIsReserved) {
  const int64_t lamp = Stocked(5);
  Ask(1, {{lamp, 2}});
  SetStock(lamp, 1);
  EXPECT_EQ(Available(lamp), 1);
  EXPECT_EQ(Value("SELECT on_hand FROM products"), 3);
  EXPECT_EQ(Value("SELECT on_hand FROM stock_movements WHERE kind = 'SET'"), -2);
}

TEST_F(StockStoreTest, SettingStockWhileItIsReservedKeepsTheLedger) {
  const int64_t lamp = Stocked(20);
  std::atomic<int64_t> reserved = 0;
  AtOnce([&](int i) {
    for (int n = 0; n < 20; ++n) {
      if (i < 2) {
        SetStock(lamp, 5 + n);
      } else if (Ask(i * 100 + n, {{lamp, 1}}).reserved) {
        ++reserved;
      }
    }
  });
  EXPECT_EQ(Value("SELECT reserved FROM products"), reserved);
  EXPECT_GE(Available(lamp), 0);
}

TEST_F(StockStoreTest, WhatIsReservedMarksItsCopyStale) {
  const int64_t lamp = Stocked(1);
  Ask(1, {{lamp, 2}});
  std::vector<int64_t> stale;
  const auto drain = [&] {
    store_.DrainInvalidations([&](const std::vector<int64_t>& ids) { stale = ids; });
  };
  drain();
  EXPECT_THAT(stale, IsEmpty());
  Ask(2, {{lamp, 1}});
  drain();
  EXPECT_THAT(stale, ElementsAre(lamp));
}

}  // namespace
}  // namespace shop::products
