// What becomes of orders that nobody finishes, on a real database.
#include "orders/deadline_sweeper.h"

#include "orders/testing/orders_test.h"

namespace shop::orders {
namespace {

class DeadlineSweeperTest : public OrdersServiceTest {
 protected:
  int64_t Now() {
    return postgres::Read(db_, [](postgres::Tx& tx) { return DatabaseTime(tx); });
  }
  int Expire() { return ExpireOverdue(db_, Now(), 10, {}); }
  // As if it had waited for a day.
  void LetWait(const v1::Order& order) {
    postgres::InTransaction(db_, [&](postgres::Tx& tx) {
      tx.Run(
          "UPDATE orders SET waiting_since = waiting_since - interval '1 day',"
          " deadline_at = now() - interval '1 second' WHERE id = " +
          std::to_string(order.id()));
    });
  }
  std::string DeadlineOf(const v1::Order& order) {
    return postgres::Read(db_, [&](postgres::Tx& tx) {
      return tx
          .Run(
              "SELECT coalesce(waiting, '-') || ' ' || coalesce(extract(epoch FROM deadline_at -"
              " waiting_since)::int::text, '-') FROM orders WHERE id = " +
              std::to_string(order.id()))[0][0]
          .as<std::string>();
    });
  }
  OrderShipping ask_shipping_{shipping_};
};

TEST_F(DeadlineSweeperTest, EveryWaitingStateHasItsDeadline) {
  const v1::Order order = Place(7);
  EXPECT_EQ(DeadlineOf(order), "STOCK 300");
  ASSERT_TRUE(Receive<events::v1::StockReserved>(order, "e1"));
  EXPECT_EQ(DeadlineOf(order), "PAYMENT 900");
  ASSERT_TRUE(Receive<events::v1::PaymentCompleted>(order, "e2"));
  EXPECT_EQ(DeadlineOf(order), "DISPATCH 604800");
  ASSERT_TRUE(MoveTo(order, v1::ORDER_STATUS_SHIPPED));
  EXPECT_EQ(DeadlineOf(order), "DELIVERY 1209600");
  ASSERT_TRUE(MoveTo(order, v1::ORDER_STATUS_DELIVERED));
  EXPECT_EQ(DeadlineOf(order), "- -");
}

TEST_F(DeadlineSweeperTest, APendingOrderThatWaitsTooLongIsCancelled) {
  const v1::Order order = Place(7);
  const v1::Order other = Place(7);
  EXPECT_EQ(Expire(), 0);
  LetWait(order);
  EXPECT_EQ(Expire(), 1);
  EXPECT_EQ(Expire(), 0);
  EXPECT_EQ(StatusNow(order), "CANCELLED");
  EXPECT_EQ(Get(order.id()).reason(), "its stock was not reserved in time");
  EXPECT_EQ(StatusNow(other), "PENDING");
  EXPECT_THAT(Told(order), ElementsAre("ORDER_CREATED", "CANCEL_REQUESTED", "ORDER_CANCELLED"));
  EXPECT_EQ(Timeline(order).items(2).cause(), "DEADLINE");
  EXPECT_THAT(testing::PublishedEvents(db_).at(2).value, HasSubstr(R"("cause":"EXPIRED")"));
}

TEST_F(DeadlineSweeperTest, AConfirmedOrderThatWaitsTooLongIsCancelledWithShippingsWord) {
  const v1::Order order = Place(7);
  Confirm(order);
  LetWait(order);
  EXPECT_EQ(Expire(), 1);
  EXPECT_EQ(StatusNow(order), "PROCESSING");
  EXPECT_EQ(FinishCancels(db_, ask_shipping_, 10, {}), 0);  // not due yet
  LetWait(order);
  EXPECT_EQ(FinishCancels(db_, ask_shipping_, 10, {}), 1);
  EXPECT_EQ(StatusNow(order), "CANCELLED");
  EXPECT_TRUE(fake_shipping_.cancelled);
}

TEST_F(DeadlineSweeperTest, AnOrderThatTheCarrierHasIsNotCancelledByItsDeadline) {
  const v1::Order order = Place(7);
  Confirm(order);
  fake_shipping_.dispatched = true;
  LetWait(order);
  EXPECT_EQ(Expire(), 1);
  LetWait(order);
  EXPECT_EQ(FinishCancels(db_, ask_shipping_, 10, {}), 1);
  EXPECT_EQ(StatusNow(order), "PROCESSING");
  LetWait(order);
  EXPECT_EQ(Expire(), 0);
  EXPECT_EQ(FinishCancels(db_, ask_shipping_, 10, {}), 0);
  ASSERT_TRUE(Receive<events::v1::ShipmentDispatched>(order, "e1"));
  EXPECT_EQ(StatusNow(order), "SHIPPED");
  LetWait(order);
  EXPECT_EQ(Expire(), 0);
}

// Shipping is away, or the process dies: all that is left is the request.
TEST_F(DeadlineSweeperTest, ACancellationThatNobodyFinishedIsFinished) {
  const v1::Order order = Place(7);
  Confirm(order);
  fake_shipping_.away = true;
  EXPECT_THROW((void)Cancel(order, As(7), "ordered twice"), Unavailable);
  EXPECT_EQ(FactsOf(order).cancel, CancelFact::kRequested);
  LetWait(order);
  EXPECT_THROW((void)FinishCancels(db_, ask_shipping_, 10, {}), Unavailable);
  fake_shipping_.away = false;
  EXPECT_EQ(FinishCancels(db_, ask_shipping_, 10, {}), 0);  // the next try is after a pause
  LetWait(order);
  EXPECT_EQ(FinishCancels(db_, ask_shipping_, 10, {}), 1);
  EXPECT_EQ(StatusNow(order), "CANCELLED");
  EXPECT_EQ(Get(order.id()).reason(), "ordered twice");
  EXPECT_EQ(Timeline(order).items(6).cause(), "CUSTOMER");
}

TEST_F(DeadlineSweeperTest, TheRequestAgainFinishesACancellationToo) {
  const v1::Order order = Place(7);
  Confirm(order);
  fake_shipping_.away = true;
  EXPECT_THROW((void)Cancel(order, As(7)), Unavailable);
  fake_shipping_.away = false;
  const Result<v1::OrderState> state = Cancel(order, As(7));
  ASSERT_TRUE(state);
  EXPECT_EQ(state->status(), v1::ORDER_STATUS_CANCELLED);
}

// The first sweeper has locked what is due; the second finds nothing and does not wait for it.
TEST_F(DeadlineSweeperTest, OfTwoSweepersAtOnceEachOrderIsOnes) {
  const v1::Order order = Place(7);
  LetWait(order);
  postgres::InTransaction(db_, [&](postgres::Tx& tx) {
    EXPECT_EQ(LockOverdue(tx, DatabaseTime(tx), 10).size(), 1u);
    EXPECT_EQ(Expire(), 0);
  });
  EXPECT_EQ(Expire(), 1);
  EXPECT_THAT(Published(), ElementsAre("ORDER_CREATED", "ORDER_CANCELLED"));
}

TEST_F(DeadlineSweeperTest, APaymentThatCameBeforeTheSweeperEndsTheWait) {
  const v1::Order order = Place(7);
  ASSERT_TRUE(Receive<events::v1::StockReserved>(order, "e1"));
  LetWait(order);
  ASSERT_TRUE(Receive<events::v1::PaymentCompleted>(order, "e2"));
  EXPECT_EQ(Expire(), 0);
  EXPECT_EQ(StatusNow(order), "PROCESSING");
}

TEST_F(DeadlineSweeperTest, AnOrderWithAnEventInTheRetryQueueDoesNotExpire) {
  const v1::Order order = Place(7);
  LetWait(order);
  postgres::InTransaction(db_, [&](postgres::Tx& tx) {
    tx.Run(
        "INSERT INTO retry_queue (consumer, topic, key, partition, position, event_id, type,"
        " headers, value, reason) VALUES ('orders', 'stock', '" +
        std::to_string(order.id()) + "', 0, 0, 'e1', 'STOCK_RESERVED', '{}', '{}', 'away')");
  });
  EXPECT_EQ(Expire(), 0);
  postgres::InTransaction(db_, [&](postgres::Tx& tx) { tx.Run("DELETE FROM retry_queue"); });
  EXPECT_EQ(Expire(), 1);
}

TEST_F(DeadlineSweeperTest, NothingExpiresThatWasDueAfterTheConsumerWasLastUpToDate) {
  const v1::Order order = Place(7);
  const int64_t before = Now();
  LetWait(order);
  EXPECT_EQ(ExpireOverdue(db_, before - 10'000'000, 10, {}), 0);
  EXPECT_EQ(ExpireOverdue(db_, before, 10, {}), 1);
}

TEST_F(DeadlineSweeperTest, AGroupThatLagsBehindIsNotUpToDate) {
  const messaging::Place stock{"stock", 0};
  const messaging::Place empty{"payments", 0};
  std::map<messaging::Place, int64_t> ends = {{stock, 10}, {empty, 0}};
  ConsumedUntil consumed(db_, "orders", [&] { return ends; });
  const int64_t start = Now();
  EXPECT_EQ(consumed.Look(), std::nullopt);
  messaging::SavePositions(db_, "orders", {{stock, 9}});
  EXPECT_EQ(consumed.Look(), std::nullopt);
  const int64_t later = Now();
  ends[stock] = 20;
  messaging::SavePositions(db_, "orders", {{stock, 10}});
  // It has all that was there at the first look.
  const std::optional<int64_t> first = consumed.Look();
  ASSERT_TRUE(first);
  EXPECT_GE(*first, start);
  EXPECT_LE(*first, later);
  EXPECT_EQ(consumed.Look(), first);
  messaging::SavePositions(db_, "orders", {{stock, 20}});
  EXPECT_GT(*consumed.Look(), later);
}

TEST_F(DeadlineSweeperTest, WaitingOrdersAreCounted) {
  const v1::Order order = Place(7);
  Place(7);
  LetWait(order);
  const std::vector<WaitingOrders> counted =
      postgres::Read(db_, [](postgres::Tx& tx) { return CountWaiting(tx); });
  ASSERT_EQ(counted.size(), 1u);
  EXPECT_EQ(counted[0].waiting, "STOCK");
  EXPECT_EQ(counted[0].orders, 2);
  EXPECT_EQ(counted[0].overdue, 1);
  EXPECT_GE(counted[0].oldest_seconds, 86'400);
}

// It is asked every few seconds, of a table that only grows.
TEST_F(DeadlineSweeperTest, OnlyTheIndexOfThoseThatWaitIsReadToCountThem) {
  postgres::InTransaction(db_, [](postgres::Tx& tx) {
    tx.Run(
        "INSERT INTO orders (user_id, total_price, currency, payment_method, waiting,"
        " waiting_since, deadline_at)"
        " SELECT 7, 100, 'USD', 'CREDIT_CARD', CASE WHEN n % 20 = 0 THEN 'DELIVERY' END,"
        " now() - interval '1 hour', now() + interval '1 hour' FROM generate_series(1, 20000) n");
  });
  // Again while somebody's transaction is open from before, such as one of autovacuum's.
  ASSERT_TRUE(shop::testing::Eventually([&] {
    db_.RunOutside([](postgres::Tx& tx) { tx.Run("VACUUM ANALYZE orders"); });
    return postgres::Read(db_, [](postgres::Tx& tx) {
      return tx.Run("SELECT relallvisible = relpages FROM pg_class WHERE relname = 'orders'")[0][0]
          .as<bool>();
    });
  }));
  // A new connection: one that was used shows what its last transactions read as well.
  postgres::Pool fresh(database_.settings());
  postgres::InTransaction(fresh, [](postgres::Tx& tx) {
    const std::vector<WaitingOrders> counted = CountWaiting(tx);
    ASSERT_EQ(counted.size(), 1u);
    EXPECT_EQ(counted[0].orders, 1000);
    EXPECT_GE(counted[0].oldest_seconds, 3600);
    // Rows of the table itself, by whichever way.
    EXPECT_EQ(tx.Run("SELECT seq_tup_read + coalesce(idx_tup_fetch, 0)"
                     " FROM pg_stat_xact_user_tables WHERE relname = 'orders'")[0][0]
                  .as<int64_t>(),
              0);
  });
}

TEST_F(DeadlineSweeperTest, TheThreadDoesItByItself) {
  const v1::Order order = Place(7);
  LetWait(order);
  const DeadlineSweeper sweeper(db_, ask_shipping_,
                                [] { return std::map<messaging::Place, int64_t>(); }, {});
  EXPECT_TRUE(shop::testing::Eventually([&] { return StatusNow(order) == "CANCELLED"; }));
}

}  // namespace
}  // namespace shop::orders
