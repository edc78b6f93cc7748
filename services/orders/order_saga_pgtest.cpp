// The way of an order on a real database: what stock, payments and shipping say, who cancels it, and
// what its timeline tells.
#include <algorithm>

#include "orders/testing/orders_test.h"

namespace shop::orders {
namespace {

class OrderSagaTest : public OrdersServiceTest {
 protected:
  // The numbers of the events that were published about an order, in their sequence.
  std::vector<int64_t> Numbers() {
    std::vector<int64_t> numbers;
    for (const auto& row : postgres::Read(db_, [](postgres::Tx& tx) {
           return tx.Run("SELECT (value::jsonb->>'seq')::bigint FROM outbox ORDER BY id");
         })) {
      numbers.push_back(row[0].as<int64_t>());
    }
    return numbers;
  }
};

TEST_F(OrderSagaTest, ReservedStockAndItsPaymentConfirmTheOrder) {
  const v1::Order order = Place(7);
  ASSERT_TRUE(Receive<events::v1::StockReserved>(order, "e1"));
  EXPECT_EQ(StatusNow(order), "PENDING");
  ASSERT_TRUE(Receive<events::v1::PaymentCompleted>(order, "e2"));
  EXPECT_EQ(StatusNow(order), "PROCESSING");
  EXPECT_THAT(Published(), ElementsAre("ORDER_CREATED", "ORDER_CONFIRMED"));
}

// Within a topic they come in their sequence, each perhaps again; among topics in any.
TEST_F(OrderSagaTest, TheTopicsComeInAnySequence) {
  std::vector<int> sequence = {0, 0, 1, 1, 2, 2};
  int ways = 0;
  do {
    const v1::Order order = Place(7);
    int step = 0;
    std::map<int, int> seen;
    for (const int topic : sequence) {
      // The event again, or another one that says the same.
      const std::string id =
          order.uuid() + std::to_string(topic) + (ways % 2 ? "" : std::to_string(step++));
      const bool second = seen[topic]++ > 0;
      switch (topic) {
        case 0:
          ASSERT_TRUE(Receive<events::v1::StockReserved>(order, id));
          break;
        case 1:
          ASSERT_TRUE(Receive<events::v1::PaymentCompleted>(order, id));
          break;
        default:
          ASSERT_TRUE(second ? Receive<events::v1::ShipmentDelivered>(order, id + " delivered")
                             : Receive<events::v1::ShipmentDispatched>(order, id));
      }
    }
    ASSERT_EQ(StatusNow(order), "DELIVERED");
    const std::vector<messaging::Envelope> all = testing::PublishedEvents(db_);
    std::vector<std::string> own;
    for (const messaging::Envelope& event : all) {
      if (event.key == std::to_string(order.id())) own.push_back(event.type);
    }
    ASSERT_THAT(
        own, ElementsAre("ORDER_CREATED", "ORDER_CONFIRMED", "ORDER_SHIPPED", "ORDER_DELIVERED"));
    ++ways;
  } while (std::ranges::next_permutation(sequence).found);
  EXPECT_EQ(ways, 90);
}

TEST_F(OrderSagaTest, RejectedStockCancelsTheOrderWithTheReason) {
  const v1::Order order = Place(7);
  ASSERT_TRUE(Receive<events::v1::StockRejected>(order, "e1"));
  EXPECT_EQ(StatusNow(order), "CANCELLED");
  EXPECT_THAT(Get(order.id()).reason(), HasSubstr("not enough stock"));
  EXPECT_THAT(Published(), ElementsAre("ORDER_CREATED", "ORDER_CANCELLED"));
}

TEST_F(OrderSagaTest, AFailedPaymentCancelsTheOrderAndFillsTheCartAgain) {
  fake_cart_.Put(1, 2);
  const Result<v1::Order> order = service_.CreateOrder(As(7), OfTheCart());
  ASSERT_TRUE(order);
  ASSERT_TRUE(Receive<events::v1::StockReserved>(*order, "e1"));
  ASSERT_TRUE(Receive<events::v1::PaymentFailed>(*order, "e2"));
  EXPECT_EQ(StatusNow(*order), "CANCELLED");
  EXPECT_THAT(Get(order->id()).reason(), HasSubstr("the payment failed"));
  ASSERT_TRUE(DeliverToCart());
  EXPECT_THAT(fake_cart_.quantities(), ElementsAre(Pair(1, 2)));
}

TEST_F(OrderSagaTest, EventsThatComeTogetherEachMoveTheirOrder) {
  const v1::Order first = Place(7);
  const v1::Order second = Place(8);
  ASSERT_TRUE(Deliver({EventOf<events::v1::StockReserved>(second, "e1"),
                       EventOf<events::v1::StockReserved>(first, "e2"),
                       EventOf<events::v1::PaymentCompleted>(first, "e3"),
                       EventOf<events::v1::StockReserved>(second, "e4"),
                       EventOf<events::v1::PaymentCompleted>(second, "e5")}));
  EXPECT_EQ(StatusNow(first), "PROCESSING");
  EXPECT_EQ(StatusNow(second), "PROCESSING");
  EXPECT_THAT(Published(),
              ElementsAre("ORDER_CREATED", "ORDER_CREATED", "ORDER_CONFIRMED", "ORDER_CONFIRMED"));
}

TEST_F(OrderSagaTest, AnEventOfAnUnknownOrderMovesNoneOfThoseItCameWith) {
  const v1::Order order = Place(7);
  v1::Order unknown = order;
  unknown.set_id(order.id() + 1);
  EXPECT_FALSE(Deliver({EventOf<events::v1::StockReserved>(order, "e1"),
                        EventOf<events::v1::StockReserved>(unknown, "e2")}));
  EXPECT_EQ(FactsOf(order).stock, StockFact::kNone);
}

TEST_F(OrderSagaTest, TheFirstDecisionOfStockStands) {
  const v1::Order order = Place(7);
  ASSERT_TRUE(Receive<events::v1::StockReserved>(order, "e1"));
  ASSERT_TRUE(Receive<events::v1::StockReserved>(order, "e2"));
  ASSERT_TRUE(Receive<events::v1::StockRejected>(order, "e3"));
  EXPECT_EQ(StatusNow(order), "PENDING");
  EXPECT_THAT(Published(), ElementsAre("ORDER_CREATED"));
}

TEST_F(OrderSagaTest, TheEventsOfAnOrderAreNumberedWithoutAGap) {
  const v1::Order order = Place(7);
  Confirm(order);
  ASSERT_TRUE(Receive<events::v1::StockRejected>(order, "e1"));
  ASSERT_TRUE(MoveTo(order, v1::ORDER_STATUS_SHIPPED));
  ASSERT_TRUE(MoveTo(order, v1::ORDER_STATUS_DELIVERED));
  EXPECT_THAT(Numbers(), ElementsAre(1, 2, 3, 4));
}

// Nor is it in the order's row. Others' tokens stay, and of the event all the rest.
TEST_F(OrderSagaTest, ThePaymentTokenIsInTheEventUntilTheChargeIsDecided) {
  v1::CreateOrderRequest request = Of(1, 2);
  request.set_payment_token(R"(tok_"decline\)");
  request.mutable_shipping_address()->set_street("Main St 1");
  const Result<v1::Order> order = service_.CreateOrder(As(7), request);
  const Result<v1::Order> other = service_.CreateOrder(As(7), request);
  ASSERT_TRUE(order && other);
  const auto event = [&](size_t place) { return testing::PublishedEvents(db_).at(place).value; };
  const std::string before = event(0);
  constexpr char kToken[] = R"("paymentToken":"tok_\"decline\\")";
  EXPECT_THAT(before, HasSubstr(kToken));
  ASSERT_TRUE(Receive<events::v1::StockReserved>(*order, "e1"));
  EXPECT_EQ(event(0), before);
  ASSERT_TRUE(Receive<events::v1::PaymentFailed>(*order, "e2"));
  std::string without = before;
  without.replace(without.find(kToken), sizeof(kToken) - 1, R"("paymentToken":"erased")");
  EXPECT_EQ(event(0), without);
  EXPECT_THAT(event(1), HasSubstr(kToken));
  EXPECT_EQ(postgres::Read(db_,
                           [](postgres::Tx& tx) {
                             return tx.Run("SELECT string_agg(payment_token, '') FROM orders")[0][0]
                                 .as<std::string>();
                           }),
            "");
}

TEST_F(OrderSagaTest, AnAdminMovesTheShipmentByHandAndItsEventMovesNothingMore) {
  const v1::Order order = Place(7);
  Confirm(order);
  ASSERT_TRUE(MoveTo(order, v1::ORDER_STATUS_SHIPPED));
  EXPECT_TRUE(fake_shipping_.dispatched);
  ASSERT_TRUE(Receive<events::v1::ShipmentDispatched>(order, "e1"));
  ASSERT_TRUE(MoveTo(order, v1::ORDER_STATUS_SHIPPED));
  ASSERT_TRUE(MoveTo(order, v1::ORDER_STATUS_DELIVERED));
  EXPECT_EQ(StatusNow(order), "DELIVERED");
  EXPECT_THAT(Published(),
              ElementsAre("ORDER_CREATED", "ORDER_CONFIRMED", "ORDER_SHIPPED", "ORDER_DELIVERED"));
  EXPECT_THAT(testing::PublishedEvents(db_).at(2).value,
              HasSubstr(R"("trackingNumber":"TRACK-1")"));
}

TEST_F(OrderSagaTest, AnIllegalMoveChangesNothingAndAsksNobody) {
  const v1::Order order = Place(7);
  for (const auto status :
       {v1::ORDER_STATUS_PROCESSING, v1::ORDER_STATUS_SHIPPED, v1::ORDER_STATUS_DELIVERED}) {
    const Result<v1::OrderState> moved = MoveTo(order, status);
    ASSERT_FALSE(moved);
    EXPECT_EQ(moved.refusal().reason, "ILLEGAL_MOVE");
  }
  EXPECT_FALSE(fake_shipping_.dispatched);
  EXPECT_EQ(StatusNow(order), "PENDING");
  EXPECT_THAT(Published(), ElementsAre("ORDER_CREATED"));
}

TEST_F(OrderSagaTest, ACustomerCancelsAPendingOrderAtOnce) {
  const v1::Order order = Place(7);
  const Result<v1::OrderState> state = Cancel(order, As(7), "ordered twice");
  ASSERT_TRUE(state) << state.refusal().message;
  EXPECT_EQ(state->status(), v1::ORDER_STATUS_CANCELLED);
  EXPECT_EQ(state->reason(), "ordered twice");
  ASSERT_TRUE(Cancel(order, As(7)));
  EXPECT_EQ(fake_shipping_.asked_to_cancel, 0);
  EXPECT_THAT(Published(), ElementsAre("ORDER_CREATED", "ORDER_CANCELLED"));
  EXPECT_THAT(testing::PublishedEvents(db_).at(1).value, HasSubstr(R"("cause":"BY_CUSTOMER")"));
}

TEST_F(OrderSagaTest, AnothersOrderIsNotCancelledNorToldOf) {
  const v1::Order order = Place(7);
  EXPECT_EQ(Cancel(order, As(8)).refusal().code, Code::kNotFound);
  EXPECT_EQ(Cancel(order, As(8, api::v1::ROLE_SELLER)).refusal().code, Code::kNotFound);
  v1::GetTimelineRequest request;
  request.set_id(order.id());
  EXPECT_EQ(service_.GetTimeline(As(8), request).refusal().code, Code::kNotFound);
  EXPECT_TRUE(service_.GetTimeline(As(1, api::v1::ROLE_ADMIN), request));
  EXPECT_EQ(StatusNow(order), "PENDING");
}

TEST_F(OrderSagaTest, AConfirmedOrderIsCancelledOnceShippingHasSaidSo) {
  const v1::Order order = Place(7);
  Confirm(order);
  fake_shipping_.before_cancelling = [&] {
    EXPECT_EQ(FactsOf(order).cancel, CancelFact::kRequested);
    EXPECT_EQ(StatusNow(order), "PROCESSING");
  };
  const Result<v1::OrderState> state = Cancel(order, As(1, api::v1::ROLE_ADMIN));
  ASSERT_TRUE(state) << state.refusal().message;
  EXPECT_EQ(state->status(), v1::ORDER_STATUS_CANCELLED);
  EXPECT_EQ(state->reason(), "cancelled by the shop");
  EXPECT_THAT(Published(), ElementsAre("ORDER_CREATED", "ORDER_CONFIRMED", "ORDER_CANCELLED"));
  EXPECT_THAT(Told(order),
              ElementsAre("ORDER_CREATED", "STOCK_RESERVED", "PAYMENT_COMPLETED", "ORDER_CONFIRMED",
                          "CANCEL_REQUESTED", "CANCEL_DECIDED", "ORDER_CANCELLED"));
}

// The carrier takes it between the request and shipping's answer; its event arrives before the answer.
TEST_F(OrderSagaTest, OfADispatchAndACancellationAtOnceTheDispatchWinsWhereItIsFirst) {
  const v1::Order order = Place(7);
  Confirm(order);
  fake_shipping_.before_cancelling = [&] {
    fake_shipping_.dispatched = true;
    EXPECT_TRUE(Receive<events::v1::ShipmentDispatched>(order, "e1"));
  };
  const Result<v1::OrderState> state = Cancel(order, As(7));
  ASSERT_FALSE(state);
  EXPECT_EQ(state.refusal().code, Code::kFailedPrecondition);
  EXPECT_EQ(state.refusal().reason, "SHIPMENT_DISPATCHED");
  EXPECT_EQ(StatusNow(order), "SHIPPED");
  EXPECT_EQ(FactsOf(order).cancel, CancelFact::kRefused);
  EXPECT_EQ(Cancel(order, As(7)).refusal().reason, "ILLEGAL_MOVE");
}

TEST_F(OrderSagaTest, OfADispatchAndACancellationAtOnceTheCancellationWinsWhereItIsFirst) {
  const v1::Order order = Place(7);
  Confirm(order);
  std::optional<Result<v1::OrderState>> dispatched;
  fake_shipping_.after_cancelling = [&] { dispatched = MoveTo(order, v1::ORDER_STATUS_SHIPPED); };
  ASSERT_TRUE(Cancel(order, As(7)));
  ASSERT_TRUE(dispatched);
  EXPECT_EQ(dispatched->refusal().reason, "ILLEGAL_MOVE");
  EXPECT_EQ(StatusNow(order), "CANCELLED");
}

TEST_F(OrderSagaTest, ARepeatedCancellationGetsTheFirstAnswer) {
  const v1::Order pending = Place(7);
  const v1::Order confirmed = Place(7);
  Confirm(confirmed);
  for (const v1::Order& order : {pending, confirmed}) {
    const Call first = As(7);
    const Result<v1::OrderState> state = Cancel(order, first, "ordered twice", order.uuid());
    ASSERT_TRUE(state) << state.refusal().message;
    EXPECT_FALSE(first.replayed);
    // The order is paid back and so changes once more.
    ASSERT_TRUE(Receive<events::v1::PaymentRefunded>(order, "refunded " + order.uuid()));
    const Call repeat = As(7);
    const Result<v1::OrderState> again = Cancel(order, repeat, "ordered twice", order.uuid());
    ASSERT_TRUE(again) << again.refusal().message;
    EXPECT_TRUE(repeat.replayed);
    EXPECT_EQ(again->SerializeAsString(), state->SerializeAsString());
    EXPECT_EQ(Cancel(order, As(7), "another reason", order.uuid()).refusal().reason,
              "IDEMPOTENCY_KEY_REUSED");
  }
  EXPECT_EQ(fake_shipping_.asked_to_cancel, 1);
  EXPECT_EQ(Cancel(pending, As(7), "ordered twice", confirmed.uuid()).refusal().reason,
            "IDEMPOTENCY_KEY_REUSED");
}

// The first one has asked shipping and not stored its answer yet.
TEST_F(OrderSagaTest, ACancellationIsRepeatedWhileTheFirstIsUnderWay) {
  const v1::Order order = Place(7);
  Confirm(order);
  std::optional<Result<v1::OrderState>> repeated;
  fake_shipping_.after_cancelling = [&] { repeated = Cancel(order, As(7), "", "key"); };
  const Call first = As(7);
  const Result<v1::OrderState> state = Cancel(order, first, "", "key");
  ASSERT_TRUE(state);
  ASSERT_TRUE(*repeated);
  EXPECT_TRUE(first.replayed);
  EXPECT_EQ(state->SerializeAsString(), (*repeated)->SerializeAsString());
  EXPECT_EQ(std::ranges::count(Told(order), "CANCEL_DECIDED"), 1);
}

// What was asked for is kept; the key is free, and an answer is kept under it once there is one.
TEST_F(OrderSagaTest, ACancellationThatShippingDoesNotAnswerLeavesItsKeyFree) {
  const v1::Order order = Place(7);
  Confirm(order);
  fake_shipping_.away = true;
  EXPECT_THROW((void)Cancel(order, As(7), "", "key"), Unavailable);
  EXPECT_EQ(FactsOf(order).cancel, CancelFact::kRequested);
  fake_shipping_.away = false;
  fake_shipping_.dispatched = true;
  EXPECT_EQ(Cancel(order, As(7), "", "key").refusal().reason, "SHIPMENT_DISPATCHED");
  EXPECT_EQ(FactsOf(order).cancel, CancelFact::kRefused);
  const v1::Order another = Place(7);
  EXPECT_TRUE(Cancel(another, As(7), "", "key"));
}

// The carrier had it before anybody could ask shipping again.
TEST_F(OrderSagaTest, ACancellationWithoutAnAnswerIsRefusedOnceTheOrderHasShipped) {
  const v1::Order order = Place(7);
  Confirm(order);
  fake_shipping_.away = true;
  EXPECT_THROW((void)Cancel(order, As(7), "", "key"), Unavailable);
  fake_shipping_.away = false;
  fake_shipping_.dispatched = true;
  ASSERT_TRUE(Receive<events::v1::ShipmentDispatched>(order, "e1"));
  for (const char* key : {"key", "another"}) {
    EXPECT_EQ(Cancel(order, As(7), "", key).refusal().reason, "ILLEGAL_MOVE");
  }
  EXPECT_EQ(StatusNow(order), "SHIPPED");
}

// Both wait for the order's row and then take turns: whoever is first, the order ends cancelled and
// knows that it was paid.
TEST_F(OrderSagaTest, ACancellationAndAPaymentAtOnceTakeTurns) {
  const v1::Order order = Place(7);
  ASSERT_TRUE(Receive<events::v1::StockReserved>(order, "e1"));
  std::thread customer, payments;
  postgres::InTransaction(db_, [&](postgres::Tx& tx) {
    FindForUpdate(tx, {order.id()});
    payments =
        std::thread([&] { EXPECT_TRUE(Receive<events::v1::PaymentCompleted>(order, "e2")); });
    customer = std::thread([&] { EXPECT_TRUE(Cancel(order, As(7))); });
    EXPECT_TRUE(shop::testing::Eventually([&] { return shop::testing::CountLockWaits(db_) == 2; }));
  });
  customer.join();
  payments.join();
  EXPECT_EQ(StatusNow(order), "CANCELLED");
  EXPECT_EQ(FactsOf(order).payment, PaymentFact::kCompleted);
  const std::vector<std::string> published = Published();
  EXPECT_EQ(std::ranges::count(published, "ORDER_CANCELLED"), 1);
  for (size_t i = 0; i < published.size(); ++i) {
    EXPECT_EQ(Numbers()[i], static_cast<int64_t>(i + 1));
  }
}

TEST_F(OrderSagaTest, TheTimelineTellsWhatHappenedAndWhy) {
  const v1::Order order = Place(7);
  Confirm(order);
  ASSERT_TRUE(Cancel(order, As(7), "ordered twice"));
  ASSERT_TRUE(Receive<events::v1::StockReleased>(order, "released"));
  ASSERT_TRUE(Receive<events::v1::PaymentRefunded>(order, "refunded"));
  ASSERT_TRUE(Receive<events::v1::PaymentRefunded>(order, "refunded"));
  EXPECT_THAT(Told(order), ElementsAre("ORDER_CREATED", "STOCK_RESERVED", "PAYMENT_COMPLETED",
                                       "ORDER_CONFIRMED", "CANCEL_REQUESTED", "CANCEL_DECIDED",
                                       "ORDER_CANCELLED", "STOCK_RELEASED", "PAYMENT_REFUNDED"));
  const v1::OrderTimeline timeline = Timeline(order);
  for (int i = 0; i < timeline.items_size(); ++i) {
    EXPECT_EQ(timeline.items(i).sequence(), i + 1);
    EXPECT_EQ(timeline.items(i).trace_id().size(), 32u);
  }
  EXPECT_EQ(timeline.items(2).cause(), "paid " + order.uuid());
  EXPECT_EQ(timeline.items(3).cause(), "paid " + order.uuid());
  EXPECT_EQ(timeline.items(4).cause(), "CUSTOMER");
  EXPECT_EQ(timeline.items(4).detail(), "ordered twice");
  EXPECT_EQ(timeline.items(4).status(), v1::ORDER_STATUS_PROCESSING);
  EXPECT_EQ(timeline.items(8).status(), v1::ORDER_STATUS_CANCELLED);
}

TEST_F(OrderSagaTest, TheTimelineIsNeverRewritten) {
  Place(7);
  for (const char* sql : {"UPDATE order_timeline SET what = 'NOTHING'",
                          "UPDATE order_timeline SET detail = 'something else'",
                          "UPDATE order_timeline SET detail = '', what = 'NOTHING'",
                          "DELETE FROM order_timeline", "TRUNCATE order_timeline"}) {
    EXPECT_THROW(postgres::InTransaction(db_, [&](postgres::Tx& tx) { tx.Run(sql); }),
                 pqxx::sql_error)
        << sql;
  }
}

TEST(OrderFactMigrations, OrdersOfBeforeKeepTheirStatus) {
  testing::TestDatabase database;
  postgres::Pool db(database.settings());
  postgres::MigrationSet before = kOrdersMigrations;
  before.migrations.resize(5);
  postgres::Migrate(db, {kMessagingMigrations, before});
  postgres::InTransaction(db, [](postgres::Tx& tx) {
    tx.Run(
        "INSERT INTO orders (id, user_id, total_price, currency, payment_method, status, stock,"
        "                    progress, seq) VALUES"
        " (1, 7, 100, 'USD', 'PAYPAL', 'PENDING', NULL, NULL, 1),"
        " (2, 7, 100, 'USD', 'PAYPAL', 'PROCESSING', 'RESERVED', NULL, 2),"
        " (3, 7, 100, 'USD', 'PAYPAL', 'SHIPPED', 'RESERVED', 'SHIPPED', 3),"
        " (4, 7, 100, 'USD', 'PAYPAL', 'DELIVERED', 'RESERVED', 'DELIVERED', 4),"
        " (5, 7, 100, 'USD', 'PAYPAL', 'CANCELLED', 'RESERVED', 'CANCELLED', 3),"
        " (6, 7, 100, 'USD', 'PAYPAL', 'CANCELLED', 'REJECTED', NULL, 2)");
  });
  postgres::Migrate(db, {kMessagingMigrations, kOrdersMigrations});
  postgres::InTransaction(db, [](postgres::Tx& tx) {
    const v1::OrderStatus expected[] = {v1::ORDER_STATUS_PENDING,   v1::ORDER_STATUS_PROCESSING,
                                        v1::ORDER_STATUS_SHIPPED,   v1::ORDER_STATUS_DELIVERED,
                                        v1::ORDER_STATUS_CANCELLED, v1::ORDER_STATUS_CANCELLED};
    for (const auto& [id, order] : FindForUpdate(tx, {1, 2, 3, 4, 5, 6})) {
      EXPECT_EQ(StatusOf(order.facts), expected[id - 1]) << id;
      EXPECT_EQ(GoesBackIntoCart(order.facts), id == 6) << id;
    }
    // Such an order goes on as it began: its stock confirms it.
    ASSERT_TRUE(ApplyFacts(tx,
                           {{1,
                             StockDecided{StockFact::kReserved},
                             {.source = "orders", .trace = TraceContext::New()}}},
                           {}));
    EXPECT_EQ(FindState(tx, 1, 0)->status(), v1::ORDER_STATUS_PROCESSING);
  });
}

}  // namespace
}  // namespace shop::orders
