// Events and rpcs in, shipments and events out, on a real database.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "common/postgres/migrations.h"
#include "common/testing/database.h"
#include "common/testing/deliver.h"
#include "common/testing/env.h"
#include "common/testing/published_events.h"
#include "common/testing/servers.h"
#include "messaging_migrations.h"
#include "shipping/carrier.h"
#include "shipping/config.h"
#include "shipping/shipment_erasure.h"
#include "shipping/shipment_store.h"
#include "shipping/shipping_events.h"
#include "shipping/shipping_service.h"
#include "shipping_migrations.h"
#include "shop/events/v1/orders.pb.h"
#include "shop/events/v1/users.pb.h"

namespace shop::shipping {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
using ::testing::SizeIs;

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

template <typename Event>
Event About(int64_t order_id) {
  Event order;
  order.set_order_id(order_id);
  order.set_order_uuid(Uuid(order_id));
  order.set_user_id(kAda);
  return order;
}

// Whoever has to dispatch or deliver at once.
constexpr CarrierSettings kAtOnce{.dispatch_after = milliseconds(0),
                                  .deliver_after = milliseconds(0)};

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
  // Orders whose shipment is ready.
  void Confirmed(int64_t order_id = kOrder) {
    ASSERT_TRUE(Receive(EventOf(AnOrder(order_id))));
    ASSERT_TRUE(Receive(EventOf(About<events::v1::OrderConfirmed>(order_id))));
  }
  Result<v1::Shipment> Dispatch(int64_t order_id = kOrder) {
    v1::DispatchShipmentRequest request;
    request.set_order_id(order_id);
    return service.DispatchShipment({}, request);
  }
  Result<v1::Shipment> Deliver(int64_t order_id = kOrder) {
    v1::DeliverShipmentRequest request;
    request.set_order_id(order_id);
    return service.DeliverShipment({}, request);
  }
  Result<v1::Shipment> Cancel(int64_t order_id = kOrder) {
    v1::CancelShipmentRequest request;
    request.set_order_id(order_id);
    request.set_order_uuid(Uuid(order_id));
    request.set_user_id(kAda);
    return service.CancelShipment({}, request);
  }
  static std::string Reason(const Result<v1::Shipment>& result) {
    return result ? "" : result.refusal().reason;
  }
  v1::ShipmentStatus Status() { return Get(kAda)->status(); }
  std::vector<std::string> Published() { return testing::PublishedTypes(db); }
  // Does `first` in a transaction that commits only once `second`, on another thread, waits for it.
  void While(const std::function<void(postgres::Tx&)>& first, const std::function<void()>& second) {
    std::thread other;
    postgres::InTransaction(db, [&](postgres::Tx& tx) {
      first(tx);
      other = std::thread(second);
      EXPECT_TRUE(testing::Eventually([&] { return testing::CountLockWaits(db) > 0; }));
    });
    other.join();
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
  EXPECT_EQ(shipment->status(), v1::SHIPMENT_STATUS_PREPARING);
  EXPECT_EQ(shipment->tracking_number(), "");
  EXPECT_GT(shipment->created_at().seconds(), 1600000000);
  EXPECT_THAT(Published(), ElementsAre("SHIPMENT_CREATED"));
  EXPECT_EQ(Value("SELECT address->>'street' FROM shipments"), "12 “Old” Lane");
}

TEST_F(ShippingTest, AnOrderWithoutAnAddressHasAShipmentWithoutOne) {
  events::v1::OrderCreated order = AnOrder();
  order.clear_shipping_address();
  ASSERT_TRUE(Receive(EventOf(order)));
  EXPECT_EQ(Value("SELECT count(*) FROM shipments WHERE address IS NULL"), "1");
}

TEST_F(ShippingTest, EveryShipmentHasATrackingNumberOfItsOwn) {
  for (const int64_t order : {1, 2}) {
    Confirmed(order);
    ASSERT_TRUE(Dispatch(order));
  }
  EXPECT_NE(Get(kAda, api::v1::ROLE_USER, 1)->tracking_number(),
            Get(kAda, api::v1::ROLE_USER, 2)->tracking_number());
}

TEST_F(ShippingTest, ASecondDeliveryChangesNothing) {
  const messaging::Envelope event = EventOf(AnOrder());
  ASSERT_TRUE(Receive(event));
  ASSERT_TRUE(Receive(event));
  EXPECT_EQ(Value("SELECT count(*) FROM shipments"), "1");
  EXPECT_THAT(Published(), SizeIs(1));
}

TEST_F(ShippingTest, EventsThatArriveTogetherMoveTheirShipmentsTogether) {
  std::vector<messaging::Envelope> events;
  for (const int64_t order : {3, 1, 2}) events.push_back(EventOf(AnOrder(order)));
  for (const int64_t order : {2, 3}) {
    events.push_back(EventOf(About<events::v1::OrderConfirmed>(order)));
  }
  events.push_back(EventOf(About<events::v1::OrderCancelled>(3)));
  ASSERT_TRUE(testing::Deliver(db, EventHandlers(), "shipping", events));
  EXPECT_EQ(Value("SELECT string_agg(state, ' ' ORDER BY order_id) FROM shipments"),
            "PREPARING READY CANCELLED");
  EXPECT_EQ(Value("SELECT count(DISTINCT tracking_number) FROM shipments"), "3");
  EXPECT_EQ(Value("SELECT count(*) FROM shipments WHERE address->>'city' = 'Ghent'"), "3");
  std::vector<std::string> published;
  for (const messaging::Envelope& event : testing::PublishedEvents(db)) {
    published.push_back(event.type + " " + event.key);
  }
  EXPECT_THAT(published, ElementsAre("SHIPMENT_CREATED 3", "SHIPMENT_CREATED 1",
                                     "SHIPMENT_CREATED 2", "SHIPMENT_CANCELLED 3"));
}

TEST_F(ShippingTest, OfOneOrderTwiceInABatchTheSecondChangesNothing) {
  events::v1::OrderCreated capitals = AnOrder(10);
  capitals.set_order_uuid("0000000000000000000000000000000A");
  events::v1::OrderCreated again = AnOrder(10);
  again.set_order_uuid("00000000-0000-0000-0000-00000000000a");
  ASSERT_TRUE(testing::Deliver(db, EventHandlers(), "shipping",
                               {EventOf(capitals), EventOf(AnOrder(2)), EventOf(again)}));
  EXPECT_EQ(Value("SELECT count(*) FROM shipments"), "2");
  EXPECT_THAT(Published(), SizeIs(2));
}

TEST_F(ShippingTest, ABadEventOfABatchGoesToTheRetryQueueAlone) {
  std::vector<messaging::Record> records;
  for (const int64_t order : {1, 0, 2}) records.push_back({.event = EventOf(AnOrder(order))});
  for (const int64_t order : {9, 1}) {  // the first has no shipment
    records.push_back({.event = EventOf(About<events::v1::OrderConfirmed>(order))});
  }
  for (size_t i = 0; i < records.size(); ++i) records[i].position = static_cast<int64_t>(i);
  testing::TestGroup group(db, "shipping", EventHandlers());
  std::vector<const messaging::Record*> all;
  for (const messaging::Record& record : records) all.push_back(&record);
  EXPECT_FALSE(group.inbox.Take(all));
  EXPECT_EQ(Value("SELECT count(*) FROM shipments"), "0") << "nothing is kept of it";
  // As a consumer does then.
  for (const messaging::Record* record : all) {
    const Result<size_t> taken = group.inbox.Take({record});
    if (!taken) group.inbox.Enqueue(*record, taken.refusal().message);
  }
  EXPECT_EQ(Value("SELECT string_agg(position::text, ' ' ORDER BY id) FROM retry_queue"), "1 3");
  EXPECT_EQ(Value("SELECT string_agg(state, ' ' ORDER BY order_id) FROM shipments"),
            "READY PREPARING");
}

// Of a batch that is under way, in two replicas.
TEST_F(ShippingTest, ShipmentsThatAnotherTransactionMakesMeanwhileAreFound) {
  const auto fresh = [](int64_t order) {
    return Step{{.order_uuid = Uuid(order),
                 .order_id = order,
                 .user_id = kAda,
                 .tracking_number = NewTrackingNumber()},
                {.source = "shipping", .trace = {}}};
  };
  While([&](postgres::Tx& tx) { MoveAll(tx, {fresh(2)}, Fact::kPlaced); },
        [&] {
          postgres::InTransaction(db, [&](postgres::Tx& tx) {
            for (const auto& moved : MoveAll(tx, {fresh(3), fresh(2), fresh(1)}, Fact::kPlaced)) {
              EXPECT_TRUE(moved);
            }
          });
        });
  EXPECT_EQ(Value("SELECT string_agg(order_id::text, ' ' ORDER BY order_id) FROM shipments"),
            "1 2 3");
  EXPECT_THAT(Published(), SizeIs(3)) << "one for each shipment";
}

TEST_F(ShippingTest, AnOrderPublishedAgainUnderAnotherIdKeepsItsShipment) {
  Confirmed();
  const std::string number = Value("SELECT tracking_number FROM shipments");
  Confirmed();
  EXPECT_EQ(Value("SELECT tracking_number FROM shipments"), number);
  EXPECT_EQ(Value("SELECT count(*) FROM shipments"), "1");
  EXPECT_THAT(Published(), SizeIs(1));
}

// After a crash between the commit and the offset, on a database that has lost neither.
TEST_F(ShippingTest, TheIdOfAPublishedEventFollowsFromItsCause) {
  const messaging::Envelope event = EventOf(AnOrder());
  ASSERT_TRUE(Receive(event));
  const std::string first = testing::PublishedEvents(db).at(0).id;
  postgres::InTransaction(db,
                          [](postgres::Tx& tx) { tx.Run("TRUNCATE inbox, outbox, shipments"); });
  ASSERT_TRUE(Receive(event));
  EXPECT_EQ(testing::PublishedEvents(db).at(0).id, first);
}

TEST_F(ShippingTest, AShipmentIsDispatchedOnceItsOrderIsConfirmed) {
  ASSERT_TRUE(Receive(EventOf(AnOrder())));
  EXPECT_EQ(Reason(Dispatch()), "ILLEGAL_MOVE");
  ASSERT_TRUE(Receive(EventOf(About<events::v1::OrderConfirmed>(kOrder))));
  EXPECT_EQ(Status(), v1::SHIPMENT_STATUS_PREPARING);
  const Result<v1::Shipment> dispatched = Dispatch();
  ASSERT_TRUE(dispatched);
  EXPECT_EQ(dispatched->status(), v1::SHIPMENT_STATUS_DISPATCHED);
  EXPECT_THAT(dispatched->tracking_number(), MatchesRegex("TRK[0-9A-HJKMNP-TV-Z]{12}"));
  const messaging::Envelope event = testing::PublishedEvents(db).at(1);
  EXPECT_EQ(event.type, "SHIPMENT_DISPATCHED");
  EXPECT_EQ(event.key, "42");
  EXPECT_THAT(event.value, HasSubstr(dispatched->tracking_number()));
}

TEST_F(ShippingTest, ARepeatedMoveByHandAnswersTheShipmentAsItIs) {
  Confirmed();
  EXPECT_EQ(Reason(Deliver()), "ILLEGAL_MOVE");
  ASSERT_TRUE(Dispatch());
  EXPECT_EQ(Dispatch()->status(), v1::SHIPMENT_STATUS_DISPATCHED);
  EXPECT_EQ(Deliver()->status(), v1::SHIPMENT_STATUS_DELIVERED);
  EXPECT_EQ(Deliver()->status(), v1::SHIPMENT_STATUS_DELIVERED);
  EXPECT_EQ(Dispatch()->status(), v1::SHIPMENT_STATUS_DELIVERED);
  EXPECT_THAT(Published(),
              ElementsAre("SHIPMENT_CREATED", "SHIPMENT_DISPATCHED", "SHIPMENT_DELIVERED"));
}

TEST_F(ShippingTest, WhatIsNotThereCannotBeMovedByHand) {
  EXPECT_EQ(Dispatch().refusal().code, Code::kNotFound);
  EXPECT_EQ(Deliver().refusal().code, Code::kNotFound);
}

TEST_F(ShippingTest, ACancelledOrderHasACancelledShipment) {
  Confirmed();
  const messaging::Envelope event = EventOf(About<events::v1::OrderCancelled>(kOrder));
  ASSERT_TRUE(Receive(event));
  ASSERT_TRUE(Receive(event));
  EXPECT_EQ(Status(), v1::SHIPMENT_STATUS_CANCELLED);
  EXPECT_EQ(Get(kAda)->tracking_number(), "");
  EXPECT_EQ(Reason(Dispatch()), "ILLEGAL_MOVE");
  EXPECT_THAT(Published(), ElementsAre("SHIPMENT_CREATED", "SHIPMENT_CANCELLED"));
}

TEST_F(ShippingTest, ACancellationIsAnsweredAgainAndTheEventThatFollowsIsAbsorbed) {
  Confirmed();
  EXPECT_EQ(Cancel()->status(), v1::SHIPMENT_STATUS_CANCELLED);
  EXPECT_EQ(Cancel()->status(), v1::SHIPMENT_STATUS_CANCELLED);
  ASSERT_TRUE(Receive(EventOf(About<events::v1::OrderCancelled>(kOrder))));
  EXPECT_THAT(Published(), ElementsAre("SHIPMENT_CREATED", "SHIPMENT_CANCELLED"));
}

TEST_F(ShippingTest, ACancellationThatComesFirstIsRemembered) {
  EXPECT_EQ(Cancel()->status(), v1::SHIPMENT_STATUS_CANCELLED);
  Confirmed();
  EXPECT_EQ(Status(), v1::SHIPMENT_STATUS_CANCELLED);
  EXPECT_EQ(Reason(Dispatch()), "ILLEGAL_MOVE");
  MoveDueShipments(db, kAtOnce);
  EXPECT_THAT(Published(), IsEmpty());
}

TEST_F(ShippingTest, WhatIsOnItsWayIsNotCancelled) {
  Confirmed();
  ASSERT_TRUE(Dispatch());
  EXPECT_EQ(Reason(Cancel()), "SHIPMENT_DISPATCHED");
  ASSERT_TRUE(Receive(EventOf(About<events::v1::OrderCancelled>(kOrder)))) << "no dead letter";
  EXPECT_EQ(Status(), v1::SHIPMENT_STATUS_DISPATCHED);
  ASSERT_TRUE(Deliver());
  EXPECT_EQ(Reason(Cancel()), "SHIPMENT_DISPATCHED");
}

TEST_F(ShippingTest, AConfirmationWithoutAShipmentIsRefused) {
  EXPECT_FALSE(Receive(EventOf(About<events::v1::OrderConfirmed>(kOrder))));
  EXPECT_EQ(Value("SELECT count(*) FROM shipments"), "0");
}

TEST_F(ShippingTest, ACancellationThatMeetsADispatchComesTooLate) {
  Confirmed();
  While([&](postgres::Tx& tx) { ASSERT_TRUE(MoveExisting(tx, kOrder, Fact::kDispatched, {})); },
        [&] { EXPECT_EQ(Reason(Cancel()), "SHIPMENT_DISPATCHED"); });
  EXPECT_EQ(Status(), v1::SHIPMENT_STATUS_DISPATCHED);
}

TEST_F(ShippingTest, ADispatchThatMeetsACancellationIsRefused) {
  Confirmed();
  While([&](postgres::Tx& tx) { ASSERT_TRUE(MoveExisting(tx, kOrder, Fact::kCancelled, {})); },
        [&] {
          EXPECT_FALSE(MoveDueShipments(db, kAtOnce)) << "the carrier passes over it";
          EXPECT_EQ(Reason(Dispatch()), "ILLEGAL_MOVE");
        });
  MoveDueShipments(db, kAtOnce);
  EXPECT_EQ(Status(), v1::SHIPMENT_STATUS_CANCELLED);
  EXPECT_THAT(Published(), ElementsAre("SHIPMENT_CREATED", "SHIPMENT_CANCELLED"));
}

TEST_F(ShippingTest, ACancellationThatMeetsTheMakingOfTheShipmentCancelsIt) {
  const Shipment fresh{.order_uuid = Uuid(kOrder),
                       .order_id = kOrder,
                       .user_id = kAda,
                       .tracking_number = NewTrackingNumber()};
  While([&](postgres::Tx& tx) { ASSERT_TRUE(Move(tx, fresh, Fact::kPlaced, {})); },
        [&] { EXPECT_EQ(Cancel()->status(), v1::SHIPMENT_STATUS_CANCELLED); });
  EXPECT_THAT(Published(), ElementsAre("SHIPMENT_CREATED", "SHIPMENT_CANCELLED"));
}

TEST_F(ShippingTest, TheCarrierTakesWhatIsDueAndLeavesTheRest) {
  for (const int64_t order : {1, 2, 3}) Confirmed(order);
  ASSERT_TRUE(Receive(EventOf(AnOrder(4))));
  const CarrierSettings hourly{.dispatch_after = std::chrono::hours(1),
                               .deliver_after = std::chrono::hours(1)};
  MoveDueShipments(db, hourly);
  EXPECT_EQ(Value("SELECT count(*) FROM shipments WHERE state = 'DISPATCHED'"), "0");
  const auto age = [&](const std::string& which) {
    postgres::InTransaction(db, [&](postgres::Tx& tx) {
      tx.Run("UPDATE shipments SET updated_at = now() - interval '61 minutes' WHERE " + which);
    });
  };
  age("order_id IN (1, 3, 4)");
  MoveDueShipments(db, hourly);
  EXPECT_EQ(Value("SELECT string_agg(state, ' ' ORDER BY order_id) FROM shipments"),
            "DISPATCHED READY DISPATCHED PREPARING");
  age("order_id IN (1, 4)");
  MoveDueShipments(db, hourly);
  EXPECT_EQ(Value("SELECT string_agg(state, ' ' ORDER BY order_id) FROM shipments"),
            "DELIVERED READY DISPATCHED PREPARING")
      << "each has its own time";
}

TEST_F(ShippingTest, WithoutADelayTheCarrierDoesNothing) {
  Confirmed();
  MoveDueShipments(db, {});
  EXPECT_EQ(Status(), v1::SHIPMENT_STATUS_PREPARING);
  MoveDueShipments(db, {.dispatch_after = milliseconds(0), .deliver_after = {}});
  MoveDueShipments(db, {.dispatch_after = milliseconds(0), .deliver_after = {}});
  EXPECT_EQ(Status(), v1::SHIPMENT_STATUS_DISPATCHED);
}

TEST_F(ShippingTest, ABatchThatIsFullHasMoreBehindIt) {
  for (const int64_t order : {1, 2, 3}) Confirmed(order);
  const CarrierSettings pairs{.dispatch_after = milliseconds(0), .deliver_after = {}, .batch = 2};
  EXPECT_TRUE(MoveDueShipments(db, pairs));
  EXPECT_FALSE(MoveDueShipments(db, pairs));
  EXPECT_EQ(Value("SELECT count(*) FROM shipments WHERE state = 'DISPATCHED'"), "3");
}

// Two carriers at one moment: what one holds, the other passes over.
TEST_F(ShippingTest, CarriersShareTheWork) {
  for (const int64_t order : {1, 2, 3}) Confirmed(order);
  postgres::InTransaction(db, [&](postgres::Tx& tx) {
    EXPECT_EQ(MoveDue(tx, State::kReady, milliseconds(0), Fact::kDispatched, 2), 2u);
    std::thread([&] { MoveDueShipments(db, kAtOnce); }).join();
  });
  const std::vector<std::string> published = Published();
  EXPECT_EQ(std::ranges::count(published, "SHIPMENT_DISPATCHED"), 3);
  EXPECT_EQ(Value("SELECT count(*) FROM shipments WHERE state = 'READY'"), "0");
}

TEST_F(ShippingTest, CarriersInManyReplicasDeliverEachShipmentOnce) {
  for (int64_t order = 1; order <= 30; ++order) Confirmed(order);
  {
    CarrierSettings settings = kAtOnce;
    settings.batch = 4;
    const Carrier one(db, settings);
    const Carrier another(db, settings);
    const Carrier third(db, settings);
    EXPECT_TRUE(testing::Eventually(
        [&] { return Value("SELECT count(*) FROM shipments WHERE state = 'DELIVERED'") == "30"; }));
  }
  const std::vector<std::string> published = Published();
  EXPECT_EQ(std::ranges::count(published, "SHIPMENT_DISPATCHED"), 30);
  EXPECT_EQ(std::ranges::count(published, "SHIPMENT_DELIVERED"), 30);
}

TEST_F(ShippingTest, WhatTheCarrierDoesBelongsToTheTraceOfTheOrder) {
  const messaging::Envelope created = EventOf(AnOrder());
  ASSERT_TRUE(Receive(created));
  ASSERT_TRUE(Receive(EventOf(About<events::v1::OrderConfirmed>(kOrder))));
  MoveDueShipments(db, {.dispatch_after = milliseconds(0), .deliver_after = {}});
  EXPECT_EQ(testing::PublishedEvents(db).at(1).trace.trace_id, created.trace.trace_id);
}

// A process of the release before goes on while others have been replaced.
TEST_F(ShippingTest, WhatAnOlderReleaseWritesIsAShipmentThatCanGoOut) {
  postgres::InTransaction(db, [&](postgres::Tx& tx) {
    tx.Run(
        "INSERT INTO shipments (order_uuid, order_id, user_id, status, tracking_number) VALUES ('" +
        Uuid(kOrder) + "', 42, 7, 'CREATED', 'TRK1')");
  });
  EXPECT_EQ(Status(), v1::SHIPMENT_STATUS_PREPARING);
  ASSERT_TRUE(Receive(EventOf(About<events::v1::OrderConfirmed>(kOrder))));
  MoveDueShipments(db, kAtOnce);
  EXPECT_EQ(Get(kAda)->tracking_number(), "TRK1");
  EXPECT_EQ(Value("SELECT status FROM shipments"), "CREATED") << "that is all it can read";
}

TEST(ShippingMigration, MakesShipmentsOfBeforePreparing) {
  testing::TestDatabase database;
  postgres::Pool db(database.settings());
  postgres::MigrationSet before = kShippingMigrations;
  before.migrations.resize(1);
  postgres::Migrate(db, {before});
  postgres::InTransaction(db, [&](postgres::Tx& tx) {
    tx.Run("INSERT INTO shipments (order_uuid, order_id, user_id, tracking_number) VALUES ('" +
           Uuid(kOrder) + "', 42, 7, 'TRK1')");
  });
  postgres::Migrate(db, {kShippingMigrations});
  const auto shipment =
      postgres::Read(db, [](postgres::Tx& tx) { return FindShipment(tx, kOrder, kAda); });
  ASSERT_TRUE(shipment);
  EXPECT_EQ(shipment->status(), v1::SHIPMENT_STATUS_PREPARING);
  EXPECT_EQ(shipment->tracking_number(), "");
}

TEST(ShippingConfig, ReadsTheCarriersDelaysAndNoneWhereTheyAreEmpty) {
  Env env =
      testing::EnvOf({{"SHIPPING_DISPATCH_SECONDS", "0.25"}, {"SHIPPING_DELIVERY_SECONDS", ""}});
  const Config config = Config::Read(env);
  EXPECT_EQ(config.carrier.dispatch_after, milliseconds(250));
  EXPECT_EQ(config.carrier.deliver_after, std::nullopt);
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

TEST_F(ShippingTest, ADeletedUsersAddressIsErasedOnceItsShipmentHasComeToItsEnd) {
  const auto erase = [this] {
    return postgres::InTransaction(db, [](postgres::Tx& tx) { return EraseUser(tx, kAda); });
  };
  const auto addresses = [this] {
    return Value(
        "SELECT coalesce(string_agg(order_id::text, ' ' ORDER BY order_id), '') FROM shipments"
        " WHERE address IS NOT NULL");
  };
  constexpr int64_t kCancelled = 43;
  constexpr int64_t kSomebodyElses = 44;
  Confirmed();
  ASSERT_TRUE(Dispatch());
  ASSERT_TRUE(Receive(EventOf(AnOrder(kCancelled))));
  ASSERT_TRUE(Cancel(kCancelled));
  events::v1::OrderCreated other = AnOrder(kSomebodyElses);
  other.set_user_id(kAda + 1);
  ASSERT_TRUE(Receive(EventOf(other)));
  ASSERT_TRUE(Cancel(kSomebodyElses));
  EXPECT_EQ(addresses(), "42 43 44");

  EXPECT_EQ(erase(), messaging::Left::kSomething);
  EXPECT_EQ(addresses(), "42 44") << "the carrier needs it still";
  ASSERT_TRUE(Deliver());
  EXPECT_EQ(erase(), messaging::Left::kNothing);
  EXPECT_EQ(addresses(), "44");
}

// The events are of two topics, which keep no order among each other.
TEST_F(ShippingTest, AnOrderThatIsHeardOfAfterItsUsersDeletionKeepsNoAddressEither) {
  const auto look = [this] {
    postgres::InTransaction(
        db, [](postgres::Tx& tx) { tx.Run("UPDATE deleted_users SET look_at = now()"); });
    return messaging::EraseDue(db, EraseUser, {}, 10);
  };
  events::v1::UserDeleted deleted;
  deleted.set_user_id(kAda);
  ASSERT_TRUE(Receive(EventOf(deleted)));
  EXPECT_EQ(look(), 1);
  ASSERT_TRUE(Receive(EventOf(AnOrder())));
  EXPECT_EQ(look(), 1);
  EXPECT_EQ(Value("SELECT count(address) FROM shipments"), "1");
  // Orders has cancelled it.
  ASSERT_TRUE(Receive(EventOf(About<events::v1::OrderCancelled>(kOrder))));
  EXPECT_EQ(look(), 1);
  EXPECT_EQ(Value("SELECT count(address) FROM shipments"), "0");
}

}  // namespace
}  // namespace shop::shipping
