// Subscribe over gRPC: what a customer is told of, live.
#include "notification/notification_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/postgres/migrations.h"
#include "common/rpc/identity.h"
#include "common/rpc/server.h"
#include "common/testing/callers.h"
#include "common/testing/database.h"
#include "common/testing/deliver.h"
#include "common/testing/servers.h"
#include "common/testing/stream_reader.h"
#include "messaging_migrations.h"
#include "notification/mail_jobs.h"
#include "notification/notification_events.h"
#include "notification_migrations.h"
#include "shop/events/v1/orders.pb.h"

namespace shop::notification {
namespace {

using ::testing::ElementsAre;
using testing::Eventually;

class NotificationServiceTest : public ::testing::Test {
 protected:
  NotificationServiceTest() {
    postgres::Migrate(db_, {kMessagingMigrations, kNotificationMigrations});
    service_ = std::make_unique<NotificationService>(db_);
    identity_.users().Prepare();
    EXPECT_TRUE(Eventually([this] { return identity_.users().HasKeys(); }));
    server_ = std::make_unique<rpc::Server>(rpc::ServerSettings{.host = "127.0.0.1"}, identity_,
                                            std::vector<rpc::Service>{service_->Methods()});
  }

  template <typename Event>
  static messaging::Envelope About(int64_t user, int64_t order) {
    Event event;
    event.set_order_id(order);
    const std::string digits = std::to_string(order);
    event.set_order_uuid(std::string(32 - digits.size(), '0') + digits);
    event.set_user_id(user);
    return messaging::MakeEvent(event, {.source = "orders", .trace = TraceContext::New()});
  }
  void Hear(const messaging::Envelope& event) {
    ASSERT_TRUE(testing::Deliver(db_, EventHandlers(), "notification", {event}));
  }

  std::unique_ptr<testing::StreamReader> Subscribe(int64_t user, int64_t after = -1) {
    v1::SubscribeRequest request;
    if (after >= 0) request.set_last_event_id(after);
    return std::make_unique<testing::StreamReader>(
        server_->address(), callers_.User(user),
        "/shop.notification.v1.NotificationService/Subscribe", request);
  }
  static std::vector<std::string> Next(testing::StreamReader& stream, size_t count) {
    std::vector<std::string> texts;
    v1::Notification next;
    while (texts.size() < count && stream.Next(&next)) texts.push_back(next.text());
    return texts;
  }

  testing::TestDatabase database_;
  postgres::Pool db_{database_.settings()};
  std::unique_ptr<NotificationService> service_;
  testing::Callers callers_;
  rpc::Identity identity_{testing::IdentityOf("notification"), callers_.Keys()};
  std::unique_ptr<rpc::Server> server_;
};

TEST_F(NotificationServiceTest, ACustomerIsToldOfTheirOwnOrdersOnceAChange) {
  Hear(About<events::v1::OrderCreated>(7, 1));
  Hear(About<events::v1::OrderCreated>(8, 2));
  const auto stream = Subscribe(7);
  EXPECT_THAT(Next(*stream, 1), ElementsAre("Your order 1"));
  const messaging::Envelope shipped = About<events::v1::OrderShipped>(7, 1);
  Hear(About<events::v1::OrderShipped>(8, 2));
  Hear(shipped);
  Hear(shipped);
  Hear(About<events::v1::OrderDelivered>(7, 1));
  EXPECT_THAT(Next(*stream, 2),
              ElementsAre("Your order 1 is on its way", "Your order 1 has arrived"));
}

TEST_F(NotificationServiceTest, ANotificationSaysWhatAndWhen) {
  Hear(About<events::v1::OrderConfirmed>(7, 1));
  v1::Notification seen;
  ASSERT_TRUE(Subscribe(7)->Next(&seen));
  EXPECT_EQ(seen.what(), "ORDER_CONFIRMED");
  EXPECT_EQ(seen.order_id(), 1);
  EXPECT_GT(seen.id(), 0);
  EXPECT_NEAR(static_cast<double>(seen.at().seconds()), static_cast<double>(time(nullptr)), 60);
}

TEST_F(NotificationServiceTest, GoesOnAfterTheLastOneThatWasSeen) {
  for (int64_t order = 1; order <= 30; ++order) Hear(About<events::v1::OrderCreated>(7, order));
  v1::Notification seen;
  ASSERT_TRUE(Subscribe(7, 0)->Next(&seen));
  EXPECT_EQ(seen.order_id(), 1);
  EXPECT_THAT(Next(*Subscribe(7, seen.id()), 1), ElementsAre("Your order 2"));
  EXPECT_THAT(Next(*Subscribe(7), 1), ElementsAre("Your order 11"));  // the newest twenty
}

// A transaction that has written a change and is not committed holds back those after it: otherwise
// a stream would pass it by.
TEST_F(NotificationServiceTest, ChangesBecomeVisibleInTheSequenceOfTheirIds) {
  std::jthread second;
  postgres::InTransaction(db_, [&](postgres::Tx& tx) {
    const auto write = [](postgres::Tx& into, int64_t order) {
      const messaging::Envelope event = About<events::v1::OrderCreated>(7, order);
      events::v1::OrderCreated created;
      EXPECT_TRUE(messaging::ReadValue(event.value, &created));
      EXPECT_TRUE(Insert(into, {.order_uuid = created.order_uuid(),
                                .order_id = order,
                                .kind = event.type,
                                .user_id = 7,
                                .event = event.value,
                                .traceparent = "t"}));
    };
    write(tx, 1);
    second = std::jthread([this, write] {
      postgres::InTransaction(db_, [&](postgres::Tx& other) { write(other, 2); });
    });
    EXPECT_TRUE(Eventually([this] { return testing::CountLockWaits(db_) == 1; }));
    EXPECT_TRUE(postgres::Read(db_, [](postgres::Tx& reading) {
                  return ChangesAfter(reading, 7, 0, 10);
                }).empty());
  });
  second.join();
  EXPECT_THAT(Next(*Subscribe(7), 2), ElementsAre("Your order 1", "Your order 2"));
}

}  // namespace
}  // namespace shop::notification
