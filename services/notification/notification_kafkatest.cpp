// From the event on its topic to the mail in the mailbox: a real broker, database and mail server,
// with users played by a server in this process.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <mutex>
#include <random>
#include <sstream>

#include "common/kafka/consumer.h"
#include "common/kafka/relay.h"
#include "common/messaging/outbox.h"
#include "common/postgres/migrations.h"
#include "common/rpc/identity.h"
#include "common/rpc/server.h"
#include "common/telemetry/metrics.h"
#include "common/testing/callers.h"
#include "common/testing/database.h"
#include "common/testing/deliver.h"
#include "common/testing/fake_service.h"
#include "common/testing/servers.h"
#include "common/testing/topics.h"
#include "messaging_migrations.h"
#include "notification/mail_jobs.h"
#include "notification/mail_sender.h"
#include "notification/notification_events.h"
#include "notification_migrations.h"
#include "shop/events/v1/orders.pb.h"
#include "shop/users/v1/users.pb.h"

namespace shop::notification {
namespace {

using shop::testing::Eventually;
using shop::testing::Server;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr int64_t kAda = 7;

// users with nothing but GetUser, in this process.
class FakeUsers {
 public:
  FakeUsers() {
    rpc::ServerSettings settings;
    settings.host = "127.0.0.1";
    server_ = std::make_unique<rpc::Server>(
        settings, identity_,
        std::vector{testing::FakeService(
            rpc::Service("shop.users.v1.UsersService").On("GetUser", this, &FakeUsers::GetUser))});
  }

  void Register(int64_t id, const std::string& name, const std::string& email) {
    const std::lock_guard lock(mutex_);
    users_[id].set_id(id);
    users_[id].set_name(name);
    users_[id].set_email(email);
  }
  std::string address() const { return server_->address(); }

 private:
  Result<users::v1::User> GetUser(const Call&, const users::v1::GetUserRequest& request) {
    const std::lock_guard lock(mutex_);
    const auto found = users_.find(request.id());
    if (found == users_.end()) return Refusal{Code::kNotFound, "there is no such user"};
    return found->second;
  }

  std::mutex mutex_;
  std::map<int64_t, users::v1::User> users_;
  rpc::Identity identity_{testing::IdentityOf("users"),
                          [] { return std::vector<auth::PublicKey>(); }};
  std::unique_ptr<rpc::Server> server_;
};

double Attempts(const std::string& outcome) {
  return prometheus::BuildCounter()
      .Name("mail_attempts_total")
      .Help("Attempts to send a mail, by what came of them")
      .Register(Metrics())
      .Add({{"outcome", outcome}})
      .Value();
}

class NotificationTest : public ::testing::Test {
 protected:
  NotificationTest() {
    postgres::Migrate(db, {kMessagingMigrations, kNotificationMigrations});
    users.Register(kAda, "Zoë Lovelace", "ada@example.org");
  }

  // An event as orders publishes it, on the test's own topic.
  messaging::Envelope OrderCreated(int64_t user_id = kAda) {
    events::v1::OrderCreated order;
    order.set_order_id(order_id);
    order.set_order_uuid(std::string(32 - std::to_string(order_id).size(), '0') +
                         std::to_string(order_id));
    order.set_user_id(user_id);
    order.set_total_price(14997);
    order.set_currency("EUR");
    orders::v1::OrderItem& mug = *order.add_items();
    mug.set_name("Mug");
    mug.set_quantity(3);
    mug.set_unit_price(4999);
    mug.set_total_price(14997);
    messaging::Envelope event =
        messaging::MakeEvent(order, {.source = "orders", .trace = TraceContext::New()});
    event.topic = topic;
    return event;
  }
  void Receive(const messaging::Envelope& event) {
    ASSERT_TRUE(testing::Deliver(db, EventHandlers(), "notification", event));
  }
  MailSender Sender(const std::string& smtp_url = Server("SMTP_URL")) {
    return MailSender(db, channel, channel, {.url = smtp_url}, {"Shop", "orders@shop.local"},
                      {.poll = std::chrono::milliseconds(50),
                       .lease = std::chrono::seconds(30),
                       .first_pause = std::chrono::milliseconds(50),
                       .longest_pause = std::chrono::milliseconds(200),
                       .longest_away = std::chrono::milliseconds(200)});
  }

  // The mails about this test's order.
  std::vector<std::string> Mails(const std::string& change = "created") const {
    std::vector<std::string> mails;
    for (const char* folder : {"new", "cur"}) {
      const std::filesystem::path path = std::filesystem::path(Server("MAILDIR")) / folder;
      if (!std::filesystem::exists(path)) continue;
      for (const auto& file : std::filesystem::directory_iterator(path)) {
        std::ostringstream text;
        text << std::ifstream(file.path()).rdbuf();
        const std::string id =
            "Message-ID: <order-" + std::to_string(order_id) + "-" + change + "@shop>";
        if (text.str().find(id) != std::string::npos) mails.push_back(text.str());
      }
    }
    return mails;
  }
  std::string State() {
    const pqxx::result row =
        postgres::Read(db, [](postgres::Tx& tx) { return tx.Run("SELECT state FROM mail_jobs"); });
    return row.empty() ? "" : row[0][0].as<std::string>();
  }
  int AttemptsOfTheJob() {
    return postgres::Read(db, [](postgres::Tx& tx) {
      return tx.Run("SELECT attempts FROM mail_jobs")[0][0].as<int>();
    });
  }

  const std::string topic = shop::testing::UniqueName();
  const int64_t order_id = std::uniform_int_distribution<int64_t>(1, 1LL << 52)(random_);
  shop::testing::TestDatabase database;
  postgres::Pool db{database.settings()};
  FakeUsers users;
  rpc::Identity identity{testing::IdentityOf("notification"),
                         [] { return std::vector<auth::PublicKey>(); }};
  rpc::Channel channel{"users", users.address(), identity};

 private:
  inline static std::mt19937_64 random_{std::random_device()()};
};

TEST_F(NotificationTest, AnOrderOnTheTopicBecomesOneMail) {
  shop::testing::MakeTopic(topic, 2);
  const kafka::KafkaSettings kafka{.brokers = Server("KAFKA_BOOTSTRAP_SERVERS")};
  const kafka::OutboxRelay relay(kafka, db);
  const kafka::Consumer consumer(kafka, shop::testing::UniqueName(), {topic}, db, EventHandlers());
  const MailSender sender = Sender();

  const messaging::Envelope event = OrderCreated();
  const auto publish = [&] {
    postgres::InTransaction(db, [&](postgres::Tx& tx) { messaging::Publish(tx, event); });
  };
  publish();
  ASSERT_TRUE(Eventually([&] { return State() == "SENT"; }));
  ASSERT_TRUE(Eventually([&] { return Mails().size() == 1; }));
  const std::string mail = Mails()[0];
  EXPECT_THAT(mail, HasSubstr("From: Shop\n <orders@shop.local>\n"));
  EXPECT_THAT(mail, HasSubstr("<ada@example.org>"));
  EXPECT_THAT(mail, HasSubstr("Hello Zo=C3=AB Lovelace,"));
  EXPECT_THAT(mail, HasSubstr("3 x 49.99    149.97 EUR"));
  EXPECT_THAT(mail, HasSubstr("Total: 149.97 EUR"));

  // The same event once more, and an order of which the mail shows that both were consumed.
  publish();
  messaging::Envelope other = OrderCreated();
  const std::string id = std::to_string(order_id);
  other.id = shop::testing::UniqueName();
  for (size_t at = 0; (at = other.value.find(id, at)) != std::string::npos; at += id.size()) {
    other.value.replace(at, id.size(), std::to_string(order_id + 1));
  }
  postgres::InTransaction(db, [&](postgres::Tx& tx) { messaging::Publish(tx, other); });
  ASSERT_TRUE(Eventually([&] {
    const pqxx::result sent = postgres::Read(db, [](postgres::Tx& tx) {
      return tx.Run("SELECT count(*) FROM mail_jobs WHERE state = 'SENT'");
    });
    return sent[0][0].as<int>() == 2;
  }));
  EXPECT_THAT(Mails(), SizeIs(1));
}

TEST_F(NotificationTest, ALaterChangeIsAMailOfItsOwnAsTextAndHtml) {
  Receive(OrderCreated());
  events::v1::OrderShipped shipped;
  shipped.set_order_id(order_id);
  shipped.set_order_uuid(std::string(32 - std::to_string(order_id).size(), '0') +
                         std::to_string(order_id));
  shipped.set_user_id(kAda);
  shipped.set_tracking_number("TRK7");
  Receive(messaging::MakeEvent(shipped, {.source = "orders", .trace = TraceContext::New()}));
  const MailSender sender = Sender();
  ASSERT_TRUE(Eventually([&] { return Mails("shipped").size() == 1 && Mails().size() == 1; }));
  const std::string mail = Mails("shipped")[0];
  EXPECT_THAT(mail, HasSubstr("Content-Type: multipart/alternative"));
  EXPECT_THAT(mail, HasSubstr("\nTracking number: TRK7\n"));
  EXPECT_THAT(mail, HasSubstr("<p>Tracking number: TRK7</p>"));
}

TEST_F(NotificationTest, TwoSendersSendOneMail) {
  const double sent = Attempts("sent");
  Receive(OrderCreated());
  const MailSender one = Sender();
  const MailSender other = Sender();
  ASSERT_TRUE(Eventually([&] { return State() == "SENT"; }));
  EXPECT_THAT(Mails(), SizeIs(1));
  EXPECT_EQ(Attempts("sent"), sent + 1);
}

TEST_F(NotificationTest, AMailWaitsWhileTheMailServerIsAway) {
  const double away = Attempts("away");
  Receive(OrderCreated());
  {
    const MailSender sender = Sender("smtp://127.0.0.1:1");
    ASSERT_TRUE(Eventually([&] { return Attempts("away") >= away + 3; }));
    EXPECT_FALSE(sender.healthy());
  }
  EXPECT_EQ(State(), "WAITING");
  EXPECT_EQ(AttemptsOfTheJob(), 0) << "it is not the mail's fault";
  const MailSender sender = Sender();
  ASSERT_TRUE(Eventually([&] { return State() == "SENT"; }));
  EXPECT_THAT(Mails(), SizeIs(1));
}

TEST_F(NotificationTest, AMailWaitsWhileUsersIsAway) {
  const double away = Attempts("away");
  Receive(OrderCreated());
  const rpc::Channel nobody("users", "127.0.0.1:1", identity);
  {
    const MailSender sender(db, nobody, nobody, {.url = Server("SMTP_URL")},
                            {"", "orders@shop.local"},
                            {.poll = std::chrono::milliseconds(50),
                             .first_pause = std::chrono::milliseconds(50),
                             .longest_away = std::chrono::milliseconds(50)});
    ASSERT_TRUE(Eventually([&] { return Attempts("away") >= away + 2; }));
  }
  EXPECT_EQ(State(), "WAITING");
  EXPECT_THAT(Mails(), SizeIs(0));
}

TEST_F(NotificationTest, NobodyWritesToAUserWhoIsGone) {
  Receive(OrderCreated(/*user_id=*/999));
  const MailSender sender = Sender();
  ASSERT_TRUE(Eventually([&] { return State() == "GONE"; }));
  EXPECT_THAT(Mails(), SizeIs(0));
}

TEST_F(NotificationTest, AnAddressThatIsNoneEndsTheJob) {
  const double refused = Attempts("refused");
  users.Register(8, "Eve", "eve@example.org>\r\nRCPT TO:<ada@example.org");
  Receive(OrderCreated(/*user_id=*/8));
  const MailSender sender = Sender();
  ASSERT_TRUE(Eventually([&] { return State() == "REFUSED"; }));
  EXPECT_THAT(Mails(), SizeIs(0));
  EXPECT_EQ(Attempts("refused"), refused + 1);
}

TEST_F(NotificationTest, AJobThatASenderLeftWithoutAWordIsSentAndCounted) {
  const double unknown = Attempts("unknown");
  Receive(OrderCreated());
  ASSERT_EQ(Lease(db, std::chrono::milliseconds(1), {.fresh = 1}).size(), 1u);
  const MailSender sender = Sender();
  ASSERT_TRUE(Eventually([&] { return State() == "SENT"; }));
  EXPECT_EQ(Attempts("unknown"), unknown + 1);
}

TEST_F(NotificationTest, AMailThatCouldNotBeMarkedAsSentIsSentAgainAndCounted) {
  const double unknown = Attempts("unknown");
  Receive(OrderCreated());
  postgres::InTransaction(db, [](postgres::Tx& tx) {
    // The sequence says that it has failed: no rollback takes it back.
    tx.Run(R"sql(
        CREATE SEQUENCE failures;
        CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN PERFORM nextval('failures'); RAISE 'out of order'; END $$;
        CREATE TRIGGER fail BEFORE UPDATE ON mail_jobs FOR EACH ROW
        WHEN (NEW.leased_until IS NULL) EXECUTE FUNCTION fail())sql");
  });
  const MailSender sender(
      db, channel, channel, {.url = Server("SMTP_URL")}, {"", "orders@shop.local"},
      {.poll = std::chrono::milliseconds(50), .lease = std::chrono::milliseconds(500)});
  // With others, and again by itself.
  const auto failed = [](postgres::Tx& tx) {
    return tx.Run("SELECT last_value >= 2 FROM failures")[0][0].as<bool>();
  };
  ASSERT_TRUE(Eventually([&] { return postgres::Read(db, failed); }));
  EXPECT_EQ(State(), "WAITING");
  postgres::InTransaction(db, [](postgres::Tx& tx) { tx.Run("DROP TRIGGER fail ON mail_jobs"); });
  ASSERT_TRUE(Eventually([&] { return State() == "SENT"; }));
  const size_t mails = Mails().size();
  EXPECT_GE(mails, 2u);
  EXPECT_EQ(Attempts("unknown"), unknown + static_cast<double>(mails - 1));
}

}  // namespace
}  // namespace shop::notification
