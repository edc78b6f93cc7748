// What is left of a deleted user's orders, on a real database.
#include "orders/order_erasure.h"

#include "orders/deadline_sweeper.h"
#include "orders/testing/orders_test.h"
#include "shop/events/v1/users.pb.h"

namespace shop::orders {
namespace {

using messaging::Left;
using ::testing::AllOf;
using ::testing::Not;

constexpr int64_t kUser = 7;
constexpr int64_t kOther = 8;

class OrderErasureTest : public OrdersServiceTest {
 protected:
  // With an address, a token and a key.
  v1::Order PlaceTo(int64_t user) {
    v1::CreateOrderRequest request = Of(1, 2, "key-" + std::to_string(++keys_));
    request.set_payment_token("canary-token");
    v1::Address& address = *request.mutable_shipping_address();
    address.set_street("Canary Street 1");
    address.set_city("Canaryville");
    address.set_country("DE");
    address.set_recipient("Canary Bird");
    address.set_phone("+49 30 55512345");
    Result<v1::Order> order = service_.CreateOrder(As(user), request);
    EXPECT_TRUE(order);
    return *std::move(order);
  }
  void Deliver(const v1::Order& order) {
    Confirm(order);
    ASSERT_TRUE(MoveTo(order, v1::ORDER_STATUS_SHIPPED));
    ASSERT_TRUE(MoveTo(order, v1::ORDER_STATUS_DELIVERED));
  }
  // All that the relay does.
  void PublishAll() { Run("UPDATE outbox SET published_at = now() WHERE published_at IS NULL"); }
  Left Erase(int64_t user = kUser) {
    PublishAll();
    return postgres::InTransaction(db_, [&](postgres::Tx& tx) { return EraseUser(tx, user, {}); });
  }
  // As if nothing of its cancellation had been heard of for a day.
  void FinishCancels() {
    Run("UPDATE orders SET deadline_at = now() - interval '1 second' WHERE waiting = 'CANCEL'");
    orders::FinishCancels(db_, OrderShipping(shipping_), 10, {});
  }
  // The tables that have this text somewhere in a row.
  std::vector<std::string> Find(const std::string& text) {
    std::vector<std::string> found;
    for (const char* table : {"orders", "order_timeline", "returns", "outbox", "retry_queue",
                              "idempotent_requests", "idempotency_keys"}) {
      if (Value("SELECT count(*) FROM " + std::string(table) + " AS t WHERE t::text ILIKE '%" +
                text + "%' OR t::text LIKE '%' || encode('" + text + "', 'hex') || '%'") != "0") {
        found.emplace_back(table);
      }
    }
    return found;
  }
  void Run(const std::string& sql) {
    postgres::InTransaction(db_, [&](postgres::Tx& tx) { tx.Run(sql); });
  }
  std::string Value(const std::string& sql) {
    return postgres::Read(db_,
                          [&](postgres::Tx& tx) { return tx.Run(sql)[0][0].as<std::string>("-"); });
  }

  int keys_ = 0;
};

TEST_F(OrderErasureTest, OrdersThatHaveEndedKeepWhatBookkeepingNeeds) {
  const v1::Order delivered = PlaceTo(kUser);
  Deliver(delivered);
  Run("INSERT INTO returns (order_id, reason, rejection) VALUES (" +
      std::to_string(delivered.id()) + ", 'canary is ill', 'dear Mr canary')");
  // As the returns' service does.
  for (const char* what : {"RETURN_REQUESTED", "RETURN_REJECTED"}) {
    Run("INSERT INTO order_timeline (order_id, sequence, what, status, cause, trace_id, detail)"
        " SELECT id, 50 + floor(random() * 1000000), '" +
        std::string(what) + "', status, 'CUSTOMER', '', 'canary is ill' FROM orders");
  }
  const v1::Order cancelled = PlaceTo(kUser);
  ASSERT_TRUE(Cancel(cancelled, As(kUser), "canary has moved", "key-c"));
  // The search does find it.
  EXPECT_THAT(Find("anary"),
              ElementsAre("orders", "order_timeline", "returns", "outbox", "idempotent_requests"));

  EXPECT_EQ(Erase(), Left::kNothing);
  EXPECT_THAT(Find("anary"), ElementsAre());
  EXPECT_THAT(Find("55512345"), ElementsAre());
  for (const v1::Order& before : {delivered, cancelled}) {
    const v1::Order after = Get(before.id());
    EXPECT_EQ(after.shipping_address().SerializeAsString(), [] {
      v1::Address country;
      country.set_country("DE");
      return country.SerializeAsString();
    }());
    EXPECT_EQ(after.total_price(), before.total_price());
    EXPECT_EQ(after.items_size(), before.items_size());
    EXPECT_EQ(after.user_id(), kUser);
  }
  EXPECT_THAT(Told(cancelled), ElementsAre("ORDER_CREATED", "CANCEL_REQUESTED", "ORDER_CANCELLED"));
  EXPECT_EQ(Erase(), Left::kNothing);
}

TEST_F(OrderErasureTest, OthersKeepTheirs) {
  const v1::Order order = PlaceTo(kOther);
  Deliver(order);
  PlaceTo(kUser);
  EXPECT_EQ(Erase(), Left::kSomething);  // its cancellation is not published yet
  EXPECT_EQ(Get(order.id()).shipping_address().street(), "Canary Street 1");
  EXPECT_THAT(Find("anary"), ElementsAre("orders", "outbox", "idempotent_requests"));
}

TEST_F(OrderErasureTest, WhatIsPendingIsCancelledAtOnce) {
  const v1::Order order = PlaceTo(kUser);
  EXPECT_EQ(Erase(), Left::kSomething);
  EXPECT_EQ(StatusNow(order), "CANCELLED");
  EXPECT_EQ(Get(order.id()).reason(), kAccountDeleted);
  EXPECT_EQ(Timeline(order).items(1).cause(), "SHOP");
  EXPECT_THAT(testing::PublishedEvents(db_).at(1).value, HasSubstr(R"("cause":"BY_HAND")"));
  EXPECT_EQ(Erase(), Left::kNothing);
  EXPECT_THAT(Find("anary"), ElementsAre());
  EXPECT_THAT(Published(), ElementsAre("ORDER_CREATED", "ORDER_CANCELLED"));
}

TEST_F(OrderErasureTest, WhatIsConfirmedIsCancelledIfShippingAgrees) {
  const v1::Order order = PlaceTo(kUser);
  Confirm(order);
  EXPECT_EQ(Erase(), Left::kSomething);
  EXPECT_EQ(StatusNow(order), "PROCESSING");
  EXPECT_EQ(Erase(), Left::kSomething);  // is not asked for twice
  FinishCancels();
  EXPECT_EQ(StatusNow(order), "CANCELLED");
  EXPECT_EQ(Erase(), Left::kNothing);
  EXPECT_THAT(Find("anary"), ElementsAre());
  EXPECT_EQ(Get(order.id()).reason(), kAccountDeleted);
}

TEST_F(OrderErasureTest, WhatTheCarrierHasKeepsItsAddressUntilItHasArrived) {
  const v1::Order order = PlaceTo(kUser);
  Confirm(order);
  fake_shipping_.dispatched = true;
  EXPECT_EQ(Erase(), Left::kSomething);
  FinishCancels();
  EXPECT_EQ(Erase(),
            Left::kSomething);  // shipping's event is on its way, and nobody is asked again
  ASSERT_TRUE(Receive<events::v1::ShipmentDispatched>(order, "e1"));
  EXPECT_EQ(Erase(), Left::kSomething);
  EXPECT_EQ(StatusNow(order), "SHIPPED");
  EXPECT_EQ(Get(order.id()).shipping_address().recipient(), "Canary Bird");
  EXPECT_THAT(Find("anary"), ElementsAre("orders")) << "events and answers are erased before";
  ASSERT_TRUE(Receive<events::v1::ShipmentDelivered>(order, "e2"));
  EXPECT_EQ(Erase(), Left::kNothing);
  EXPECT_THAT(Find("anary"), ElementsAre());
}

// The request was on its way while the user was deleted, or is of a session that nobody has ended yet.
TEST_F(OrderErasureTest, AnOrderThatIsPlacedAfterTheDeletionIsCancelledToo) {
  events::v1::UserDeleted deleted;
  deleted.set_user_id(kUser);
  ASSERT_TRUE(OrdersServiceTest::Deliver(
      {messaging::MakeEvent(deleted, {.source = "users", .trace = TraceContext::New()})}));
  const auto look = [this] {
    Run("UPDATE deleted_users SET look_at = now()");
    PublishAll();
    return messaging::EraseDue(
        db_, [](postgres::Tx& tx, int64_t user) { return EraseUser(tx, user, {}); }, {}, 10);
  };
  EXPECT_EQ(look(), 1);
  const v1::Order late = PlaceTo(kUser);
  EXPECT_EQ(look(), 1);
  EXPECT_EQ(look(), 1);
  EXPECT_EQ(StatusNow(late), "CANCELLED");
  EXPECT_THAT(Find("anary"), ElementsAre());
}

TEST_F(OrderErasureTest, AnOrderWithoutAnAddressHasNoneAfterwards) {
  const v1::Order order = Place(kUser);
  ASSERT_TRUE(Cancel(order, As(kUser)));
  EXPECT_EQ(Erase(), Left::kNothing);
  EXPECT_FALSE(Get(order.id()).has_shipping_address());
}

// What a repeat of an event brings, such as one that waited in the retry queue.
TEST_F(OrderErasureTest, FactsThatComeAfterTheErasureChangeNothingOfIt) {
  const v1::Order order = PlaceTo(kUser);
  Erase();
  Erase();
  ASSERT_TRUE(Receive<events::v1::StockReserved>(order, "e1"));
  ASSERT_TRUE(Receive<events::v1::PaymentFailed>(order, "e2"));
  EXPECT_EQ(StatusNow(order), "CANCELLED");
  EXPECT_EQ(Get(order.id()).reason(), kAccountDeleted);
  EXPECT_EQ(Erase(), Left::kNothing);
}

TEST(OrderErasureMigration, TokensOfBeforeAreForgottenOnceTheyAreUsed) {
  testing::TestDatabase database;
  postgres::Pool db(database.settings());
  postgres::MigrationSet before = kOrdersMigrations;
  before.migrations.resize(11);
  postgres::Migrate(db, {kMessagingMigrations, before});
  postgres::InTransaction(db, [](postgres::Tx& tx) {
    tx.Run(
        "INSERT INTO orders (id, user_id, total_price, currency, payment_method, payment_token,"
        "                    status) VALUES"
        " (1, 7, 100, 'USD', 'PAYPAL', 'tok_1', 'PENDING'),"
        " (2, 7, 100, 'USD', 'PAYPAL', 'tok_2', 'PROCESSING');"
        "INSERT INTO outbox (topic, key, event_id, type, source, time, traceparent, value)"
        " SELECT 'orders', id::text, id::text, 'ORDER_CREATED', '', '', '',"
        "        '{\"userId\":7,\"paymentToken\":\"' || payment_token || '\"}' FROM orders");
  });
  postgres::Migrate(db, {kMessagingMigrations, kOrdersMigrations});
  std::vector<std::string> found;
  for (const auto& row : postgres::Read(db, [](postgres::Tx& tx) {
         return tx.Run(
             "SELECT payment_token || value FROM orders JOIN outbox ON orders.id::text = key"
             " ORDER BY orders.id");
       })) {
    found.push_back(row[0].as<std::string>());
  }
  EXPECT_THAT(found, ElementsAre(R"({"userId":7,"paymentToken":"tok_1"})",
                                 R"({"userId":7,"paymentToken":"erased"})"));
}

}  // namespace
}  // namespace shop::orders
