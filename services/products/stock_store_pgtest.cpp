// What stock promises: nothing is sold twice, an order gets all of its lines or none, decisions
// stand, an adjustment is made once, and the ledger explains every piece. Each case checks the
// ledger at its end.
#include "products/stock_store.h"

#include <gmock/gmock.h>

#include <atomic>
#include <random>
#include <thread>

#include "common/postgres/migrations.h"
#include "common/telemetry/metrics.h"
#include "common/testing/database.h"
#include "common/testing/servers.h"
#include "products/product_store.h"
#include "products/reservation_metrics.h"
#include "products_migrations.h"

namespace shop::products {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;

constexpr int kThreads = 8;
constexpr int64_t kAdmin = 1;

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
    EXPECT_EQ(Value("SELECT count(*) FROM products p WHERE on_hand + (SELECT coalesce("
                    "sum(quantity - returned), 0) FROM reservation_lines "
                    "JOIN reservations USING (order_uuid) "
                    "WHERE product_id = p.id AND state IN ('COMMITTED', 'RETURNED')) <> "
                    "(SELECT coalesce(sum(on_hand), 0) FROM stock_movements "
                    "WHERE product_id = p.id AND kind IN ('RECEIVED', 'SET', 'ADJUSTED'))"),
              0)
        << "what is on hand and what was sold is what was received";
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
    return postgres::InTransaction(
        db_, [&](postgres::Tx& tx) { return Insert(tx, draft, std::nullopt).id(); });
  }
  void SetStock(int64_t id, int64_t stock) {
    v1::UpdateProductRequest change;
    change.set_id(id);
    change.set_stock(stock);
    ASSERT_TRUE(postgres::InTransaction(
        db_, [&](postgres::Tx& tx) { return Update(tx, change, std::nullopt); }));
  }
  void Drop(int64_t id) {
    v1::DeleteProductRequest request;
    request.set_id(id);
    ASSERT_TRUE(postgres::InTransaction(
        db_, [&](postgres::Tx& tx) { return Delete(tx, request, std::nullopt); }));
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
  bool GiveBack(int64_t order) {
    return postgres::InTransaction(
               db_, [&](postgres::Tx& tx) { return Release(tx, Uuid(order), order); })
        .released;
  }
  bool Sell(int64_t order) { return SellAtOnce({order})[0]; }
  std::vector<bool> SellAtOnce(const std::vector<int64_t>& orders) {
    std::vector<std::string> uuids;
    for (const int64_t order : orders) uuids.push_back(Uuid(order));
    ++calls_;
    return postgres::InTransaction(db_, [&](postgres::Tx& tx) {
      ++runs_;
      return Commit(tx, uuids);
    });
  }
  // How many pieces came back.
  int64_t TakeBack(int64_t order, int64_t number, const Quantities& quantities) {
    ++calls_;
    return postgres::InTransaction(db_,
                                   [&](postgres::Tx& tx) {
                                     ++runs_;
                                     return Return(tx, Uuid(order), Uuid(number), quantities);
                                   })
        .pieces;
  }
  int64_t OnHand(int64_t id) {
    return Value("SELECT on_hand FROM products WHERE id = " + std::to_string(id));
  }
  static v1::AdjustStockRequest Delivery(int64_t product, int64_t delta,
                                         const std::string& key = "") {
    v1::AdjustStockRequest request;
    request.set_id(product);
    request.set_delta(delta);
    request.set_reason(v1::STOCK_REASON_CORRECTION);
    request.set_idempotency_key(key);
    return request;
  }
  Result<v1::AdjustStockResponse> Move(const v1::AdjustStockRequest& request,
                                       std::optional<int64_t> owner = {}, int64_t by = kAdmin) {
    return postgres::InTransaction(
        db_, [&](postgres::Tx& tx) { return Adjust(tx, request, owner, by); });
  }
  Result<v1::ListStockMovementsResponse> Ledger(int64_t product, const Page& page,
                                                std::optional<int64_t> owner = {}) {
    return postgres::Read(db_,
                          [&](postgres::Tx& tx) { return Movements(tx, product, owner, page); });
  }
  static Page PageOfTwo(int32_t number = 1) { return *MakePage(number, 2, "", "", 0); }
  // Drained: what has changed, and what was sold alone.
  std::pair<std::vector<int64_t>, std::vector<int64_t>> Stale() {
    std::pair<std::vector<int64_t>, std::vector<int64_t>> stale;
    DrainInvalidations(db_, [&](const auto& changed, const auto& sold) {
      stale = {changed, sold};
    });
    return stale;
  }
  // Version and stock version.
  std::pair<int64_t, int64_t> Versions(int64_t id) {
    const v1::Product product = Product(id);
    return {product.version(), product.stock_version()};
  }
  v1::Product Product(int64_t id) {
    return postgres::Read(db_, [&](postgres::Tx& tx) { return *Find(tx, id); });
  }
  int64_t Available(int64_t id) { return Product(id).stock(); }
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
      EXPECT_TRUE(testing::Eventually([&] { return testing::CountLockWaits(db_) > 0; }));
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

// By name, and by the value of the only label where there is one.
double Metric(const std::string& name, const std::string& state = {}) {
  for (const auto& family : Metrics().Collect()) {
    if (family.name != name) continue;
    for (const auto& metric : family.metric) {
      if (!state.empty() && metric.label.at(0).value != state) continue;
      return family.type == prometheus::MetricType::Counter ? metric.counter.value
                                                            : metric.gauge.value;
    }
  }
  return -1;
}

TEST_F(StockStoreTest, ReservationsAreCountedByTheStateTheyComeToOnce) {
  const int64_t lamp = Stocked(5);
  CountReservation(Reservation::kReturned);
  const HeldReservations counting(db_);
  std::map<std::string, double> before;
  for (const char* state : {"held", "rejected", "committed", "returned", "released"}) {
    before[state] = Metric("stock_reservations_total", state);
    EXPECT_GE(before[state], 0) << state;
  }
  for (int i = 0; i < 2; ++i) {
    Ask(1, {{lamp, 2}});
    Ask(2, {{lamp, 9}});
    Ask(3, {{lamp, 1}});
    GiveBack(3);
    GiveBack(4);  // before it is asked for
    Ask(4, {{lamp, 1}});
    Sell(1);
  }
  GiveBack(1);
  const auto more = [&](const char* state) {
    return Metric("stock_reservations_total", state) - before[state];
  };
  EXPECT_EQ(more("held"), 2);
  EXPECT_EQ(more("rejected"), 2);
  EXPECT_EQ(more("committed"), 1);
  EXPECT_EQ(more("released"), 1);
  EXPECT_EQ(more("returned"), 1);
}

TEST_F(StockStoreTest, WhatIsHeldIsCounted) {
  const int64_t lamp = Stocked(9);
  const int64_t desk = Stocked(9);
  Ask(1, {{lamp, 2}, {desk, 1}});
  Ask(2, {{lamp, 3}});
  Ask(3, {{desk, 4}});
  Ask(4, {{desk, 100}});
  Sell(3);
  const HeldReservations counting(db_);
  EXPECT_TRUE(testing::Eventually([] {
    return Metric("stock_held_orders") == 2 && Metric("stock_held_pieces") == 6;
  })) << Metric("stock_held_orders")
      << " orders, " << Metric("stock_held_pieces") << " pieces";
}

// It is asked every few seconds, of a table that only grows.
TEST_F(StockStoreTest, OnlyWhatIsHeldIsReadToCountIt) {
  postgres::InTransaction(db_, [](postgres::Tx& tx) {
    tx.Run(
        "INSERT INTO reservations (order_uuid, order_id, state) "
        "SELECT gen_random_uuid(), n, CASE WHEN n % 100 = 0 THEN 'HELD' ELSE 'COMMITTED' END "
        "FROM generate_series(1, 20000) AS n");
  });
  // Again while somebody's transaction is open from before, such as one of autovacuum's.
  ASSERT_TRUE(shop::testing::Eventually([&] {
    db_.RunOutside([](postgres::Tx& tx) { tx.Run("VACUUM ANALYZE reservations"); });
    return postgres::Read(db_, [](postgres::Tx& tx) {
             return tx
                 .Run("SELECT relallvisible FROM pg_class WHERE relname = 'reservations'")[0][0]
                 .as<int>();
           }) > 0;
  }));
  // A new connection: one that was used shows what its last transactions read as well.
  postgres::Pool fresh(database_.settings());
  postgres::InTransaction(fresh, [](postgres::Tx& tx) {
    EXPECT_EQ(CountHeld(tx).orders, 200);
    EXPECT_EQ(tx.Run("SELECT seq_scan FROM pg_stat_xact_user_tables "
                     "WHERE relname = 'reservations'")[0][0]
                  .as<int64_t>(),
              0);
  });
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

TEST_F(StockStoreTest, AReservationThatMeetsAReleaseUnderWayIsRefused) {
  const int64_t lamp = Stocked(3);
  std::thread reserving;
  postgres::InTransaction(db_, [&](postgres::Tx& tx) {
    EXPECT_FALSE(Release(tx, Uuid(1), 1).released);
    reserving = std::thread([&] { EXPECT_FALSE(Ask(1, {{lamp, 2}}).reserved); });
    EXPECT_TRUE(testing::Eventually([&] { return testing::CountLockWaits(db_) > 0; }));
  });
  reserving.join();
  EXPECT_EQ(Available(lamp), 3);
}

TEST_F(StockStoreTest, AReleaseThatMeetsAReservationUnderWayGivesItBack) {
  const int64_t lamp = Stocked(3);
  std::thread releasing;
  postgres::InTransaction(db_, [&](postgres::Tx& tx) {
    EXPECT_TRUE(Reserve(tx, {{Uuid(1), 1, {{lamp, 2}}}})[0].reserved);
    releasing = std::thread([&] { EXPECT_TRUE(GiveBack(1)); });
    EXPECT_TRUE(testing::Eventually([&] { return testing::CountLockWaits(db_) > 0; }));
  });
  releasing.join();
  EXPECT_EQ(Available(lamp), 3);
}

TEST_F(StockStoreTest, ARefusedOrderReleasesNothing) {
  const int64_t lamp = Stocked(3);
  ASSERT_FALSE(Ask(1, {{lamp, 5}}).reserved);
  EXPECT_FALSE(GiveBack(1));
  EXPECT_EQ(Available(lamp), 3);
}

TEST_F(StockStoreTest, WhatIsSoldIsNoLongerOnHandAndAsAvailableAsBefore) {
  const int64_t lamp = Stocked(5);
  ASSERT_TRUE(Ask(1, {{lamp, 2}}).reserved);
  EXPECT_TRUE(Sell(1));
  EXPECT_EQ(OnHand(lamp), 3);
  EXPECT_EQ(Available(lamp), 3);
  EXPECT_EQ(Value("SELECT reserved FROM products"), 0);
}

TEST_F(StockStoreTest, AnOrderIsSoldOnceHoweverManyAskForIt) {
  const int64_t lamp = Stocked(5);
  ASSERT_TRUE(Ask(1, {{lamp, 2}}).reserved);
  AtOnce([&](int) { EXPECT_TRUE(Sell(1)); });
  EXPECT_EQ(OnHand(lamp), 3);
  EXPECT_EQ(Value("SELECT count(*) FROM stock_movements WHERE kind = 'COMMITTED'"), 1);
}

TEST_F(StockStoreTest, OfABatchThoseAreSoldThatHoldTheirStock) {
  const int64_t lamp = Stocked(5);
  ASSERT_TRUE(Ask(1, {{lamp, 2}}).reserved);
  ASSERT_TRUE(Ask(2, {{lamp, 1}}).reserved);
  ASSERT_FALSE(Ask(3, {{lamp, 9}}).reserved);
  ASSERT_TRUE(GiveBack(2));
  EXPECT_THAT(SellAtOnce({4, 3, 2, 1, 1}), ElementsAre(false, false, false, true, true));
  EXPECT_EQ(OnHand(lamp), 3);
  EXPECT_EQ(Value("SELECT count(*) FROM reservations"), 3) << "an unknown order leaves nothing";
}

TEST_F(StockStoreTest, WhatWasSoldComesBackWhenItsOrderIsCancelled) {
  const int64_t lamp = Stocked(5);
  ASSERT_TRUE(Ask(1, {{lamp, 2}}).reserved);
  ASSERT_TRUE(Sell(1));
  EXPECT_EQ(TakeBack(1, 100, {{lamp, 1}}), 1);
  std::atomic<int> released = 0;
  AtOnce([&](int) { released += GiveBack(1); });
  EXPECT_EQ(released, kThreads);
  EXPECT_EQ(OnHand(lamp), 5) << "less what the return had brought back";
  EXPECT_TRUE(Sell(1)) << "it was sold once";
  EXPECT_TRUE(Ask(1, {{lamp, 2}}).reserved) << "as was decided first";
  EXPECT_EQ(Available(lamp), 5);
}

TEST_F(StockStoreTest, AReturnBringsBackOnce) {
  const int64_t lamp = Stocked(5);
  ASSERT_TRUE(Ask(1, {{lamp, 3}}).reserved);
  ASSERT_TRUE(Sell(1));
  AtOnce([&](int) { EXPECT_EQ(TakeBack(1, 100, {{lamp, 2}}), 2); });
  EXPECT_EQ(Available(lamp), 4);
  EXPECT_EQ(TakeBack(1, 101, {{lamp, 2}}), 1) << "no more than was sold";
  EXPECT_EQ(TakeBack(1, 102, {{lamp, 2}}), 0);
  EXPECT_EQ(TakeBack(1, 100, {{lamp, 2}}), 2) << "as the first time";
  EXPECT_EQ(Available(lamp), 5);
  EXPECT_EQ(Value("SELECT count(*) FROM reservations WHERE state = 'RETURNED'"), 1);
}

TEST_F(StockStoreTest, AReturnOfWhatWasNeverSoldBringsNothingBack) {
  const int64_t lamp = Stocked(5);
  EXPECT_EQ(TakeBack(1, 100, {{lamp, 2}}), 0);
  ASSERT_TRUE(Ask(2, {{lamp, 2}}).reserved);
  ASSERT_TRUE(GiveBack(2));
  EXPECT_EQ(TakeBack(2, 100, {{lamp, 2}}), 0);
  EXPECT_EQ(Available(lamp), 5);
}

// Delivered before sales were committed.
TEST_F(StockStoreTest, AReturnOfAnOrderThatIsStillHeldSellsItFirst) {
  const int64_t lamp = Stocked(5);
  ASSERT_TRUE(Ask(1, {{lamp, 2}}).reserved);
  EXPECT_EQ(TakeBack(1, 100, {{lamp, 1}}), 1);
  EXPECT_EQ(OnHand(lamp), 4);
  EXPECT_EQ(Available(lamp), 4);
}

TEST_F(StockStoreTest, AProductThatWasDeletedIsSoldAndTakesItsGoodsBack) {
  const int64_t lamp = Stocked(5);
  ASSERT_TRUE(Ask(1, {{lamp, 3}}).reserved);
  Drop(lamp);
  EXPECT_TRUE(Sell(1));
  EXPECT_EQ(TakeBack(1, 100, {{lamp, 1}}), 1);
  EXPECT_TRUE(GiveBack(1));
  EXPECT_EQ(OnHand(lamp), 5);
}

// A sale waits for a return that is under way, and both see the same order.
TEST_F(StockStoreTest, ACancellationWaitsForAReturnOfTheSameOrder) {
  const int64_t lamp = Stocked(5);
  ASSERT_TRUE(Ask(1, {{lamp, 3}}).reserved);
  ASSERT_TRUE(Sell(1));
  std::thread cancelling;
  postgres::InTransaction(db_, [&](postgres::Tx& tx) {
    EXPECT_EQ(Return(tx, Uuid(1), Uuid(100), {{lamp, 2}}).pieces, 2);
    cancelling = std::thread([&] { EXPECT_TRUE(GiveBack(1)); });
    EXPECT_TRUE(testing::Eventually([&] { return testing::CountLockWaits(db_) > 0; }));
  });
  cancelling.join();
  EXPECT_EQ(OnHand(lamp), 5);
}

// The SQL does what reservation.h says, whatever comes in whatever order.
TEST_F(StockStoreTest, AnySequenceOfMovesIsThatOfThePureFunctions) {
  for (const unsigned seed : {1u, 2u, 3u, 4u}) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const auto any = [&](int64_t from, int64_t to) {
      return std::uniform_int_distribution<int64_t>(from, to)(random);
    };
    const int64_t first_order = seed * 1000;
    std::vector<int64_t> products;
    std::map<int64_t, std::pair<int64_t, int64_t>> expected;  // on hand, reserved
    for (int i = 0; i < 3; ++i) {
      const int64_t stock = any(0, 12);
      products.push_back(Stocked(stock));
      expected[products.back()] = {stock, 0};
    }
    std::map<int64_t, OrderStock> orders;
    const auto lines = [&] {
      Quantities quantities;
      for (const int64_t product : products) {
        if (any(0, 1) == 1) quantities[product] = any(1, 3);
      }
      if (quantities.empty()) quantities[products[0]] = 1;
      return quantities;
    };
    for (int step = 0; step < 80; ++step) {
      const int64_t id = first_order + any(1, 6);
      OrderStock& order = orders[id];
      StockMoves moves;
      switch (any(0, 3)) {
        case 0: {
          const Quantities wanted = lines();
          Quantities available;
          for (const auto& [product, stock] : expected) {
            available[product] = stock.first - stock.second;
          }
          moves = Reserve(wanted, &order, &available);
          const StockDecision decision = Ask(id, wanted);
          EXPECT_EQ(decision.reserved, DecisionOf(order).reserved);
          EXPECT_EQ(decision.shortages.size(), DecisionOf(order).shortages.size());
          break;
        }
        case 1:
          moves = Commit(&order);
          EXPECT_EQ(Sell(id), WasCommitted(order));
          break;
        case 2:
          moves = Release(&order);
          EXPECT_EQ(GiveBack(id), WasReleased(order));
          break;
        default: {
          const int64_t number = any(1, 4);
          const Quantities back = lines();
          moves = Return(Uuid(number), back, &order);
          const auto known = order.returns.find(Uuid(number));
          EXPECT_EQ(TakeBack(id, number, back), known == order.returns.end() ? 0 : known->second);
        }
      }
      for (const StockMove& move : moves) {
        expected[move.product].first += move.on_hand;
        expected[move.product].second += move.reserved;
      }
    }
    for (const auto& [product, stock] : expected) {
      const std::string where = " FROM products WHERE id = " + std::to_string(product);
      EXPECT_EQ(Value("SELECT on_hand" + where), stock.first);
      EXPECT_EQ(Value("SELECT reserved" + where), stock.second);
    }
    for (const auto& [id, order] : orders) {
      const std::string where = " WHERE order_uuid = '" + Uuid(id) + "'";
      EXPECT_EQ(Value("SELECT count(*) FROM reservations" + where + " AND state = '" +
                      ReservationText(order.state) + "'"),
                order.state == Reservation::kNone ? 0 : 1);
      for (const auto& [product, line] : order.lines) {
        EXPECT_EQ(Value("SELECT count(*) FROM reservation_lines" + where +
                        " AND product_id = " + std::to_string(product) +
                        " AND quantity = " + std::to_string(line.quantity) +
                        " AND returned = " + std::to_string(line.returned)),
                  1);
      }
    }
  }
}

// Many at the same few orders: at the end of the case the ledger explains every piece.
TEST_F(StockStoreTest, MovesOfTheSameOrdersAtOnceLoseNothingAndBlockNobodyForever) {
  const int64_t lamp = Stocked(40);
  const int64_t desk = Stocked(40);
  AtOnce([&](int i) {
    std::mt19937 random(static_cast<unsigned>(i));
    for (int n = 0; n < 30; ++n) {
      const int64_t order = 1 + static_cast<int64_t>(random() % 8);
      switch (random() % 4) {
        case 0:
          AskAtOnce({{Uuid(order), order, {{lamp, 2}, {desk, 1}}},
                     {Uuid(9 + order), 9 + order, {{desk, 1}}}});
          break;
        case 1:
          SellAtOnce({9 + order, order, 1 + order});
          break;
        case 2:
          TakeBack(order, 1 + static_cast<int64_t>(random() % 3), {{lamp, 1}, {desk, 1}});
          break;
        default:
          if (n % 3 == 0) GiveBack(order);
      }
    }
  });
  EXPECT_GE(Available(lamp), 0);
  EXPECT_EQ(Deadlocks(), 0);
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

TEST_F(StockStoreTest, WhatIsSoldLeavesTheVersionOfTheContent) {
  const int64_t lamp = Stocked(5);
  EXPECT_THAT(Versions(lamp), Pair(1, 1));
  Ask(1, {{lamp, 2}});
  EXPECT_THAT(Versions(lamp), Pair(1, 2));
  Ask(2, {{lamp, 9}});
  EXPECT_THAT(Versions(lamp), Pair(1, 2)) << "nothing moved";
  GiveBack(1);
  EXPECT_THAT(Versions(lamp), Pair(1, 3));
  ASSERT_TRUE(Move(Delivery(lamp, 1)));
  EXPECT_THAT(Versions(lamp), Pair(1, 4));
  SetStock(lamp, 1);
  EXPECT_THAT(Versions(lamp), Pair(2, 5));
  SetStock(lamp, 1);
  EXPECT_THAT(Versions(lamp), Pair(3, 5)) << "no stock moved";
  Ask(3, {{lamp, 1}});
  EXPECT_THAT(Versions(lamp), Pair(3, 6));
  Sell(3);
  EXPECT_THAT(Versions(lamp), Pair(3, 6)) << "as many can be bought as before";
  TakeBack(3, 100, {{lamp, 1}});
  EXPECT_THAT(Versions(lamp), Pair(3, 7));
}

TEST_F(StockStoreTest, AStockThatIsReservedWhileItIsSetConditionallyIsNotPutBack) {
  const int64_t lamp = Stocked(1);
  v1::UpdateProductRequest stale;
  stale.set_id(lamp);
  stale.set_stock(1);
  stale.add_if_versions(1);
  stale.add_if_stock_versions(1);
  std::thread seller;
  postgres::InTransaction(db_, [&](postgres::Tx& tx) {
    ASSERT_TRUE(Reserve(tx, {{Uuid(1), 1, {{lamp, 1}}}})[0].reserved);
    seller = std::thread([&] {
      const Result<v1::Product> refused = postgres::InTransaction(
          db_, [&](postgres::Tx& tx) { return Update(tx, stale, std::nullopt); });
      EXPECT_EQ(refused.refusal().reason, "VERSION_CHANGED");
    });
    EXPECT_TRUE(testing::Eventually([&] { return testing::CountLockWaits(db_) > 0; }));
  });
  seller.join();
  EXPECT_EQ(Available(lamp), 0);
}

TEST_F(StockStoreTest, AnAdjustmentAddsToWhatIsThere) {
  const int64_t lamp = Stocked(5);
  Ask(1, {{lamp, 2}});
  v1::AdjustStockRequest delivery = Delivery(lamp, 10);
  delivery.set_reason(v1::STOCK_REASON_RECEIVED);
  delivery.set_note("delivery 4711");
  const Result<v1::AdjustStockResponse> made = Move(delivery, std::nullopt, 12);
  ASSERT_TRUE(made);
  EXPECT_EQ(made->stock(), 13);
  EXPECT_EQ(made->on_hand(), 15);
  EXPECT_EQ(made->reserved(), 2);
  EXPECT_EQ(made->movement().kind(), v1::STOCK_MOVEMENT_KIND_ADJUSTED);
  EXPECT_EQ(made->movement().on_hand_delta(), 10);
  EXPECT_EQ(made->movement().reserved_delta(), 0);
  EXPECT_EQ(made->movement().reason(), v1::STOCK_REASON_RECEIVED);
  EXPECT_EQ(made->movement().note(), "delivery 4711");
  EXPECT_EQ(made->movement().user_id(), 12);
  EXPECT_GT(made->movement().at().seconds(), 1'700'000'000);
  EXPECT_EQ(Available(lamp), 13);
}

TEST_F(StockStoreTest, AnAdjustmentNeverTakesWhatIsReserved) {
  const int64_t lamp = Stocked(5);
  Ask(1, {{lamp, 2}});
  const Result<v1::AdjustStockResponse> refused = Move(Delivery(lamp, -4));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.refusal().code, Code::kFailedPrecondition);
  EXPECT_EQ(refused.refusal().reason, "OUT_OF_STOCK");
  ASSERT_THAT(refused.refusal().details, SizeIs(1));
  EXPECT_EQ(refused.refusal().details[0].field, "delta");
  EXPECT_EQ(refused.refusal().details[0].message,
            "only 3 of 5 on hand can be taken, 2 are reserved for orders");
  ASSERT_TRUE(Move(Delivery(lamp, -3)));
  EXPECT_EQ(Available(lamp), 0);
}

TEST_F(StockStoreTest, MoreThanCanBeForSaleIsRefused) {
  const int64_t lamp = Stocked(1);
  EXPECT_EQ(Move(Delivery(lamp, 1'000'000'000)).refusal().reason, "TOO_MUCH_STOCK");
  EXPECT_TRUE(Move(Delivery(lamp, 999'999'999)));
}

TEST_F(StockStoreTest, AReasonGoesOneWay) {
  const int64_t lamp = Stocked(5);
  const auto outcome = [&](v1::StockReason reason, int64_t delta) {
    v1::AdjustStockRequest request = Delivery(lamp, delta);
    request.set_reason(reason);
    const Result<v1::AdjustStockResponse> made = Move(request);
    return made ? "" : made.refusal().details.at(0).message;
  };
  EXPECT_EQ(outcome(v1::STOCK_REASON_RECEIVED, -1), "must be above zero for RECEIVED");
  EXPECT_EQ(outcome(v1::STOCK_REASON_RETURNED, -1), "must be above zero for RETURNED");
  EXPECT_EQ(outcome(v1::STOCK_REASON_DAMAGED, 1), "must be below zero for DAMAGED");
  EXPECT_EQ(outcome(v1::STOCK_REASON_LOST, 1), "must be below zero for LOST");
  EXPECT_EQ(Available(lamp), 5);
  for (const int64_t delta : {1, -1}) EXPECT_EQ(outcome(v1::STOCK_REASON_CORRECTION, delta), "");
}

TEST_F(StockStoreTest, OnlyWhatIsOnesOwnIsAdjusted) {
  v1::CreateProductRequest draft;
  draft.set_name("Lamp");
  draft.set_price(100);
  const int64_t lamp =
      postgres::InTransaction(db_, [&](postgres::Tx& tx) { return Insert(tx, draft, 12).id(); });
  EXPECT_EQ(Move(Delivery(lamp, 1), 13, 13).refusal().code, Code::kNotFound);
  EXPECT_TRUE(Move(Delivery(lamp, 1), 12, 12));
  EXPECT_EQ(Ledger(lamp, PageOfTwo(), 13).refusal().code, Code::kNotFound);
  EXPECT_TRUE(Ledger(lamp, PageOfTwo(), 12));
  Drop(lamp);
  EXPECT_EQ(Move(Delivery(lamp, 1), 12, 12).refusal().code, Code::kNotFound);
  EXPECT_EQ(Ledger(lamp, PageOfTwo(), 12).refusal().code, Code::kNotFound);
}

TEST_F(StockStoreTest, ARepeatedAdjustmentIsAnsweredAndMovesNothing) {
  const int64_t lamp = Stocked(5);
  const Result<v1::AdjustStockResponse> first = Move(Delivery(lamp, 10, "k"));
  ASSERT_TRUE(first);
  Ask(1, {{lamp, 4}});
  const Result<v1::AdjustStockResponse> again = Move(Delivery(lamp, 10, "k"));
  ASSERT_TRUE(again);
  EXPECT_EQ(again->movement().SerializeAsString(), first->movement().SerializeAsString());
  EXPECT_EQ(again->stock(), 11) << "the stock of now";
  EXPECT_EQ(Available(lamp), 11);
}

TEST_F(StockStoreTest, OneAdjustmentAskedForByManyAtOnceIsMadeOnce) {
  const int64_t lamp = Stocked(5);
  AtOnce([&](int) { EXPECT_TRUE(Move(Delivery(lamp, 10, "k"))); });
  EXPECT_EQ(Available(lamp), 15);
}

TEST_F(StockStoreTest, AKeyIsForOneAdjustmentOfOneUser) {
  const int64_t lamp = Stocked(5);
  const int64_t desk = Stocked(5);
  ASSERT_TRUE(Move(Delivery(lamp, 10, "k")));
  v1::AdjustStockRequest noted = Delivery(lamp, 10, "k");
  noted.set_note("another");
  v1::AdjustStockRequest returned = Delivery(lamp, 10, "k");
  returned.set_reason(v1::STOCK_REASON_RETURNED);
  for (const v1::AdjustStockRequest& other :
       {Delivery(lamp, 9, "k"), Delivery(desk, 10, "k"), noted, returned}) {
    const Result<v1::AdjustStockResponse> refused = Move(other);
    ASSERT_FALSE(refused) << other.ShortDebugString();
    EXPECT_EQ(refused.refusal().reason, "IDEMPOTENCY_KEY_REUSED");
  }
  EXPECT_EQ(Available(lamp), 15);
  EXPECT_EQ(Available(desk), 5);
  EXPECT_TRUE(Move(Delivery(lamp, 9, "k"), std::nullopt, kAdmin + 1));
  EXPECT_EQ(Available(lamp), 24);
}

TEST_F(StockStoreTest, OneKeyForTwoProductsAtOnceMovesOne) {
  std::vector<int64_t> products;
  for (int i = 0; i < kThreads; ++i) products.push_back(Stocked(0));
  std::atomic<int> made = 0;
  AtOnce([&](int i) {
    const Result<v1::AdjustStockResponse> moved =
        Move(Delivery(products[static_cast<size_t>(i)], 1, "k"));
    made += static_cast<bool>(moved);
    EXPECT_EQ(moved ? "" : moved.refusal().reason, moved ? "" : "IDEMPOTENCY_KEY_REUSED");
  });
  EXPECT_EQ(made, 1);
  EXPECT_EQ(Value("SELECT sum(on_hand)::bigint FROM products"), 1);
}

TEST_F(StockStoreTest, ARefusedAdjustmentHasNotUsedItsKey) {
  const int64_t lamp = Stocked(1);
  EXPECT_FALSE(Move(Delivery(lamp, -2, "k")));
  SetStock(lamp, 3);
  EXPECT_TRUE(Move(Delivery(lamp, -2, "k")));
  EXPECT_EQ(Available(lamp), 1);
}

TEST_F(StockStoreTest, AdjustingWhileItIsSoldLosesNothing) {
  const int64_t lamp = Stocked(20);
  std::atomic<int64_t> moved = 20;
  std::atomic<int64_t> reserved = 0;
  AtOnce([&](int i) {
    for (int n = 0; n < 20; ++n) {
      const int64_t delta = n % 2 == 0 ? 3 : -2;
      if (i < 3) {
        if (Move(Delivery(lamp, delta))) moved += delta;
      } else if (Ask(i * 100 + n, {{lamp, 1}}).reserved) {
        ++reserved;
        if (n % 4 == 0 && GiveBack(i * 100 + n)) --reserved;
      }
    }
  });
  EXPECT_EQ(Value("SELECT on_hand FROM products"), moved);
  EXPECT_EQ(Value("SELECT reserved FROM products"), reserved);
  EXPECT_EQ(Available(lamp), moved - reserved);
}

TEST_F(StockStoreTest, EveryMovementIsListedNewestFirst) {
  const int64_t lamp = Stocked(5);
  Ask(7, {{lamp, 2}});
  GiveBack(7);
  SetStock(lamp, 4);
  const Result<v1::AdjustStockResponse> adjusted = Move(Delivery(lamp, 6));
  Ask(8, {{Stocked(1), 1}});

  const Result<v1::ListStockMovementsResponse> first = Ledger(lamp, PageOfTwo());
  ASSERT_TRUE(first);
  EXPECT_EQ(first->total(), 5);
  EXPECT_EQ(first->total_pages(), 3);
  std::vector<v1::StockMovement> all(first->items().begin(), first->items().end());
  Page page = PageOfTwo();
  page.after = {std::to_string(all.back().id())};
  for (Result<v1::ListStockMovementsResponse> next = Ledger(lamp, page);
       next && next->items_size() > 0 && all.size() < 9; next = Ledger(lamp, page)) {
    EXPECT_FALSE(next->has_total());
    all.insert(all.end(), next->items().begin(), next->items().end());
    page.after = {std::to_string(all.back().id())};
  }
  ASSERT_THAT(all, SizeIs(5));
  EXPECT_EQ(all[0].SerializeAsString(), adjusted->movement().SerializeAsString());
  EXPECT_EQ(all[1].kind(), v1::STOCK_MOVEMENT_KIND_SET);
  EXPECT_EQ(all[1].on_hand_delta(), -1);
  EXPECT_EQ(all[2].kind(), v1::STOCK_MOVEMENT_KIND_RELEASED);
  EXPECT_EQ(all[2].reserved_delta(), -2);
  EXPECT_EQ(all[2].order_id(), 7);
  EXPECT_EQ(all[2].order_uuid(), Uuid(7));
  EXPECT_EQ(all[3].kind(), v1::STOCK_MOVEMENT_KIND_RESERVED);
  EXPECT_EQ(all[3].reserved_delta(), 2);
  EXPECT_EQ(all[4].kind(), v1::STOCK_MOVEMENT_KIND_RECEIVED);
  EXPECT_EQ(all[4].on_hand_delta(), 5);
  EXPECT_FALSE(all[4].has_order_id());
  EXPECT_FALSE(all[4].has_reason());
}

TEST_F(StockStoreTest, WhatWasSoldAndCameBackIsListedWithItsOrder) {
  const int64_t lamp = Stocked(5);
  Ask(7, {{lamp, 2}});
  Sell(7);
  TakeBack(7, 100, {{lamp, 1}});
  const Result<v1::ListStockMovementsResponse> ledger = Ledger(lamp, PageOfTwo());
  ASSERT_TRUE(ledger);
  EXPECT_EQ(ledger->items(0).kind(), v1::STOCK_MOVEMENT_KIND_RETURNED);
  EXPECT_EQ(ledger->items(0).on_hand_delta(), 1);
  EXPECT_EQ(ledger->items(0).order_id(), 7);
  EXPECT_EQ(ledger->items(1).kind(), v1::STOCK_MOVEMENT_KIND_COMMITTED);
  EXPECT_EQ(ledger->items(1).on_hand_delta(), -2);
  EXPECT_EQ(ledger->items(1).reserved_delta(), -2);
}

TEST_F(StockStoreTest, ACursorThatIsNoMovementIsRefused) {
  const int64_t lamp = Stocked(5);
  Page page = PageOfTwo();
  page.after = {"first"};
  EXPECT_EQ(Ledger(lamp, page).refusal().code, Code::kInvalidArgument);
}

// A replica of before the migration goes on writing while others have been replaced.
TEST_F(StockStoreTest, WhatAnOlderReleaseWritesIsAMovementAndAChange) {
  const int64_t lamp = Stocked(5);
  postgres::InTransaction(db_, [&](postgres::Tx& tx) {
    tx.Run(
        "UPDATE products SET on_hand = on_hand + 2, version = version + 1;"
        "INSERT INTO stock_movements (product_id, kind, on_hand) SELECT id, 'SET', 2 FROM products;"
        "INSERT INTO cache_invalidations (product_id) SELECT id FROM products");
  });
  EXPECT_THAT(Stale(), Pair(ElementsAre(lamp), IsEmpty()));
  const Result<v1::ListStockMovementsResponse> ledger = Ledger(lamp, PageOfTwo());
  EXPECT_EQ(ledger->items(0).kind(), v1::STOCK_MOVEMENT_KIND_SET);
  EXPECT_FALSE(ledger->items(0).has_user_id());
}

TEST_F(StockStoreTest, WhatAnOlderReleaseHasReservedIsSoldAndComesBack) {
  const int64_t lamp = Stocked(5);
  postgres::InTransaction(db_, [&](postgres::Tx& tx) {
    tx.Run("INSERT INTO reservations (order_uuid, order_id, state) VALUES ('" + Uuid(1) +
           "', 1, 'HELD');"
           "UPDATE products SET reserved = reserved + 2, stock_version = stock_version + 1;"
           "INSERT INTO reservation_lines (order_uuid, product_id, quantity) SELECT '" +
           Uuid(1) +
           "', id, 2 FROM products;"
           "INSERT INTO stock_movements (product_id, kind, reserved, order_uuid) SELECT id, "
           "'RESERVED', 2, '" +
           Uuid(1) + "' FROM products");
  });
  EXPECT_TRUE(Sell(1));
  EXPECT_EQ(OnHand(lamp), 3);
  EXPECT_TRUE(GiveBack(1));
  EXPECT_EQ(OnHand(lamp), 5);
}

TEST_F(StockStoreTest, WhatIsSoldMarksItsCopyStaleAndNoList) {
  const int64_t lamp = Stocked(1);
  Ask(1, {{lamp, 2}});
  EXPECT_THAT(Stale(), Pair(IsEmpty(), IsEmpty()));
  Ask(2, {{lamp, 1}});
  EXPECT_THAT(Stale(), Pair(IsEmpty(), ElementsAre(lamp)));
  GiveBack(2);
  EXPECT_THAT(Stale(), Pair(IsEmpty(), ElementsAre(lamp)));
  ASSERT_TRUE(Move(Delivery(lamp, 1)));
  EXPECT_THAT(Stale(), Pair(IsEmpty(), ElementsAre(lamp)));
  SetStock(lamp, 5);
  EXPECT_THAT(Stale(), Pair(ElementsAre(lamp), IsEmpty()));
  Ask(3, {{lamp, 1}});
  Stale();
  Sell(3);
  EXPECT_THAT(Stale(), Pair(IsEmpty(), IsEmpty())) << "as many can be bought as before";
  TakeBack(3, 100, {{lamp, 1}});
  EXPECT_THAT(Stale(), Pair(IsEmpty(), ElementsAre(lamp)));
}

TEST(StockMigration, LeavesWhatThereIsAsItWas) {
  testing::TestDatabase database;
  postgres::Pool db(database.settings());
  postgres::MigrationSet before = kProductsMigrations;
  before.migrations.resize(3);
  postgres::Migrate(db, {before});
  postgres::InTransaction(db, [&](postgres::Tx& tx) {
    tx.Run(
        "INSERT INTO products (name, description, price, on_hand, version) "
        "VALUES ('Lamp', '', 100, 5, 9);"
        "INSERT INTO stock_movements (product_id, kind, on_hand) SELECT id, 'RECEIVED', 5 "
        "FROM products;"
        "INSERT INTO cache_invalidations (product_id) SELECT id FROM products");
  });
  postgres::Migrate(db, {kProductsMigrations});
  const v1::Product lamp = postgres::Read(db, [](postgres::Tx& tx) { return *Find(tx, 1); });
  EXPECT_EQ(lamp.version(), 9);
  EXPECT_EQ(lamp.stock_version(), 1);
  EXPECT_EQ(lamp.stock(), 5);
  std::vector<int64_t> stale;
  DrainInvalidations(db, [&](const auto& changed, const auto&) { stale = changed; });
  EXPECT_THAT(stale, ElementsAre(1));
}

}  // namespace
}  // namespace shop::products
