// Events in, shipments out, on a real database.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/postgres/migrations.h"
#include "common/testing/database.h"
#include "common/testing/deliver.h"
#include "messaging_migrations.h"
#include "shipping/shipping_events.h"
#include "shipping/shipping_service.h"
#include "shipping_migrations.h"
#include "shop/events/v1/orders.pb.h"

namespace shop::shipping {
namespace {

using ::testing::MatchesRegex;

constexpr int64_t kAda = 7;
constexpr int64_t kOrder = 42;

// A UUID that follows from the number; PostgreSQL takes one without its hyphens.
std::string Uuid(int64_t order_id) {
  const std::string digits = std::to_string(order_id);
  return std::string(32 - digits.size(), '0') + digits;
}

events::v1::OrderCreated AnOrder(int64_t order_id = kOrder) {
  events::v1::OrderCreated order;
  order.set_order_id(order_id);
  order.set_order_uuid(Uuid(order_id));
  order.set_user_id(kAda);
  order.mutable_shipping_address()->set_street("12 “Old” Lane");
  order.mutable_shipping_address()->set_city("Ghent");
  order.mutable_shipping_address()->set_country("BE");
  return order;
}

class ShippingTest : public ::testing::Test {
 protected:
  ShippingTest() { postgres::Migrate(db, {kMessagingMigrations, kShippingMigrations}); }

  static messaging::Envelope EventOf(const google::protobuf::Message& fact) {
    return messaging::MakeEvent(fact, {.source = "orders", .trace = TraceContext::New()});
  }
  Result<void> Receive(const messaging::Envelope& event) {
    return testing::Deliver(db, EventHandlers(), "shipping", event);
  }
  Result<v1::Shipment> Get(int64_t user_id, api::v1::Role role = api::v1::ROLE_USER,
                           int64_t order_id = kOrder) {
    Call call;
    call.caller.user_id = user_id;
    call.caller.role = role;
    v1::GetShipmentRequest request;
    request.set_order_id(order_id);
    return service.GetShipment(call, request);
  }
  std::string Value(const std::string& sql) {
    return postgres::Read(db,
                          [&](postgres::Tx& tx) { return tx.Run(sql)[0][0].as<std::string>(); });
  }

  shop::testing::TestDatabase database;
  postgres::Pool db{database.settings()};
  ShippingService service{db};
};

TEST_F(ShippingTest, ANumberThatComesWithAnotherUuidIsNotTakenForARepeat) {
  ASSERT_TRUE(Receive(EventOf(AnOrder())));
  events::v1::OrderCreated other = AnOrder();
  other.set_order_uuid(Uuid(kOrder + 1));
  EXPECT_THROW((void)Receive(EventOf(other)), pqxx::unique_violation);
  EXPECT_EQ(Value("SELECT count(*) FROM shipments"), "1");
}

TEST_F(ShippingTest, AnOrderThatWasCreatedHasAShipment) {
  ASSERT_TRUE(Receive(EventOf(AnOrder())));
  const Result<v1::Shipment> shipment = Get(kAda);
  ASSERT_TRUE(shipment);
  EXPECT_GT(shipment->id(), 0);
  EXPECT_EQ(shipment->order_id(), kOrder);
  EXPECT_EQ(shipment->user_id(), kAda);
  EXPECT_EQ(shipment->status(), v1::SHIPMENT_STATUS_CREATED);
  EXPECT_THAT(shipment->tracking_number(), MatchesRegex("TRK[0-9A-HJKMNP-TV-Z]{12}"));
  EXPECT_GT(shipment->created_at().seconds(), 1600000000);
  EXPECT_EQ(Value("SELECT address->>'street' FROM shipments"), "12 “Old” Lane");
}

TEST_F(ShippingTest, AnOrderWithoutAnAddressHasAShipmentWithoutOne) {
  events::v1::OrderCreated order = AnOrder();
  order.clear_shipping_address();
  ASSERT_TRUE(Receive(EventOf(order)));
  EXPECT_EQ(Value("SELECT count(*) FROM shipments WHERE address IS NULL"), "1");
}

TEST_F(ShippingTest, EveryShipmentHasATrackingNumberOfItsOwn) {
  ASSERT_TRUE(Receive(EventOf(AnOrder(1))));
  ASSERT_TRUE(Receive(EventOf(AnOrder(2))));
  EXPECT_NE(Get(kAda, api::v1::ROLE_USER, 1)->tracking_number(),
            Get(kAda, api::v1::ROLE_USER, 2)->tracking_number());
}

TEST_F(ShippingTest, ASecondDeliveryChangesNothing) {
  const messaging::Envelope event = EventOf(AnOrder());
  ASSERT_TRUE(Receive(event));
  const std::string number = Get(kAda)->tracking_number();
  ASSERT_TRUE(Receive(event));
  EXPECT_EQ(Get(kAda)->tracking_number(), number);
  EXPECT_EQ(Value("SELECT count(*) FROM shipments"), "1");
}

TEST_F(ShippingTest, AnOrderPublishedAgainUnderAnotherIdKeepsItsShipment) {
  ASSERT_TRUE(Receive(EventOf(AnOrder())));
  const std::string number = Get(kAda)->tracking_number();
  ASSERT_TRUE(Receive(EventOf(AnOrder())));
  EXPECT_EQ(Get(kAda)->tracking_number(), number);
  EXPECT_EQ(Value("SELECT count(*) FROM shipments"), "1");
}

TEST_F(ShippingTest, AnEventWithoutAnOrderIsRefused) {
  EXPECT_FALSE(Receive(EventOf(AnOrder(0))));
  EXPECT_EQ(Value("SELECT count(*) FROM shipments"), "0");
}

TEST(ShippingEvents, EveryEventOfTheTopicIsHandledOrIgnored) {
  const google::protobuf::FileDescriptor* file = events::v1::OrderCreated::descriptor()->file();
  for (int i = 0; i < file->message_type_count(); ++i) {
    const std::string type = messaging::TypeName(*file->message_type(i));
    EXPECT_TRUE(EventHandlers().Handles(type) || EventHandlers().Ignores(type)) << type;
  }
}

TEST_F(ShippingTest, SomebodyElsesShipmentIsNotFound) {
  ASSERT_TRUE(Receive(EventOf(AnOrder())));
  const Result<v1::Shipment> shipment = Get(kAda + 1);
  ASSERT_FALSE(shipment);
  EXPECT_EQ(shipment.refusal().code, Code::kNotFound);
  EXPECT_FALSE(Get(kAda + 1, api::v1::ROLE_SELLER));
}

TEST_F(ShippingTest, AnAdminSeesEveryShipment) {
  ASSERT_TRUE(Receive(EventOf(AnOrder())));
  EXPECT_TRUE(Get(kAda + 1, api::v1::ROLE_ADMIN));
  EXPECT_TRUE(Get(kAda + 1, api::v1::ROLE_SUPER_ADMIN));
}

TEST_F(ShippingTest, AnOrderThatWasNotConsumedYetIsNotFound) {
  EXPECT_EQ(Get(kAda).refusal().code, Code::kNotFound);
  EXPECT_EQ(Get(kAda, api::v1::ROLE_ADMIN).refusal().code, Code::kNotFound);
}

}  // namespace
}  // namespace shop::shipping
