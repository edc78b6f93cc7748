// Who waits for whom when mails cannot be sent: a real database, with users and the mail server
// played in this process.
#include "notification/mail_sender.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "common/postgres/migrations.h"
#include "common/rpc/identity.h"
#include "common/rpc/server.h"
#include "common/telemetry/metrics.h"
#include "common/testing/callers.h"
#include "common/testing/database.h"
#include "common/testing/deliver.h"
#include "common/testing/fake_service.h"
#include "common/testing/loopback_listener.h"
#include "common/testing/servers.h"
#include "messaging_migrations.h"
#include "notification/mail_jobs.h"
#include "notification/notification_events.h"
#include "notification_migrations.h"
#include "shop/auth/v1/auth.pb.h"
#include "shop/events/v1/accounts.pb.h"
#include "shop/users/v1/users.pb.h"

namespace shop::notification {
namespace {

using shop::testing::Eventually;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr char kRequest[] = "7d1c3c5e-4a0f-4c57-9a6b-0f6f2d1f6f0a";

// A mail server with as many connections as come. What it says to RCPT follows from the recipient:
//   silent…   nothing at all
//   busy…     450
//   nobody…   550
//   others    250, and the mail counts as taken
// Everything before that is answered as `Refuse` says, or as a willing server would.
class MailServer {
 public:
  MailServer() {
    accepting_ = std::thread([this] {
      for (int client; (client = listener_.Accept()) >= 0;) {
        const std::lock_guard lock(mutex_);
        clients_.push_back(client);
        talking_.emplace_back([this, client] { Talk(client); });
      }
    });
  }
  ~MailServer() {
    listener_.Shutdown();
    accepting_.join();
    for (const int client : clients_) shutdown(client, SHUT_RDWR);
    for (std::thread& thread : talking_) thread.join();
    for (const int client : clients_) close(client);
  }

  // Answers `verb` (MAIL, EHLO) with this from now on; nothing answers it as usual.
  void Refuse(const std::string& verb, std::optional<std::string> answer) {
    const std::lock_guard lock(mutex_);
    answers_.erase(verb);
    if (answer) answers_[verb] = *std::move(answer);
  }
  void Willing(const std::string& recipient) {
    const std::lock_guard lock(mutex_);
    willing_.insert(recipient);
  }
  size_t Taken(const std::string& recipient) const {
    const std::lock_guard lock(mutex_);
    const auto found = taken_.find(recipient);
    return found == taken_.end() ? 0 : found->second;
  }
  // Of all mails that it was sent.
  std::string Text(const std::string& recipient) const {
    const std::lock_guard lock(mutex_);
    const auto found = texts_.find(recipient);
    return found == texts_.end() ? "" : found->second;
  }
  int asked(const std::string& verb) const {
    const std::lock_guard lock(mutex_);
    const auto found = asked_.find(verb);
    return found == asked_.end() ? 0 : found->second;
  }
  std::string url() const { return "smtp://127.0.0.1:" + std::to_string(listener_.port()); }

 private:
  void Talk(int client) {
    std::string buffer, recipient;
    bool in_mail = false;
    Say(client, "220 hello");
    char bytes[4096];
    for (ssize_t got; (got = recv(client, bytes, sizeof bytes, 0)) > 0;) {
      buffer.append(bytes, static_cast<size_t>(got));
      for (size_t end; (end = buffer.find("\r\n")) != std::string::npos;) {
        const std::string line = buffer.substr(0, end);
        buffer.erase(0, end + 2);
        const std::lock_guard lock(mutex_);
        if (in_mail && line != ".") {
          texts_[recipient] += line + "\n";
          continue;
        }
        const std::string verb = in_mail ? "." : line.substr(0, 4);
        ++asked_[verb];
        in_mail = verb == "DATA";
        if (verb == "RCPT") recipient = line.substr(9, line.find('@') - 9);
        if (verb == ".") ++taken_[recipient];
        const std::string answer = AnswerTo(verb, recipient);
        if (!answer.empty()) Say(client, answer);
      }
    }
  }
  std::string AnswerTo(const std::string& verb, const std::string& recipient) const {
    if (const auto told = answers_.find(verb); told != answers_.end()) return told->second;
    if (verb == "RCPT" && !willing_.contains(recipient)) {
      if (recipient.starts_with("silent")) return "";
      if (recipient.starts_with("busy")) return "450 try again";
      if (recipient.starts_with("nobody")) return "550 no such mailbox";
    }
    return verb == "DATA" ? "354 go on" : "250 fine";
  }
  static void Say(int client, const std::string& text) {
    const std::string line = text + "\r\n";
    (void)!send(client, line.data(), line.size(), MSG_NOSIGNAL);
  }

  shop::testing::LoopbackListener listener_;
  mutable std::mutex mutex_;
  std::map<std::string, std::string> answers_;
  std::set<std::string> willing_;
  std::map<std::string, size_t> taken_;
  std::map<std::string, std::string> texts_;
  std::map<std::string, int> asked_;
  std::vector<int> clients_;
  std::vector<std::thread> talking_;
  std::thread accepting_;
};

// users with nothing but GetUser and BatchGetUsers: the one with id 7 has the address that was given for 7. Nobody
// has the name "gone", and users refuses to tell of "secret".
class FakeUsers {
 public:
  void Register(int64_t id, const std::string& name) {
    const std::lock_guard lock(mutex_);
    names_[id] = name;
  }
  void Confirm(int64_t id) {
    const std::lock_guard lock(mutex_);
    confirmed_.insert(id);
  }
  std::string address() const { return server_.address(); }

  std::atomic<int> calls = 0;

 private:
  Result<users::v1::User> GetUser(const Call&, const users::v1::GetUserRequest& request) {
    ++calls;
    return Find(request.id());
  }
  Result<users::v1::BatchGetUsersResponse> BatchGetUsers(
      const Call&, const users::v1::BatchGetUsersRequest& request) {
    ++calls;
    users::v1::BatchGetUsersResponse response;
    for (const int64_t id : request.ids()) {
      const Result<users::v1::User> user = Find(id);
      if (user) {
        *response.add_users() = *user;
      } else if (user.refusal().code != Code::kNotFound) {
        return user.refusal();
      }
    }
    return response;
  }
  Result<users::v1::User> Find(int64_t id) {
    const std::lock_guard lock(mutex_);
    if (names_.at(id) == "gone") return Refusal{Code::kNotFound, "no such user"};
    if (names_.at(id) == "secret") return Refusal{Code::kFailedPrecondition, "not yours"};
    users::v1::User user;
    user.set_id(id);
    user.set_name("Ada");
    user.set_email(names_.at(id) + "@example.org");
    user.set_email_confirmed(confirmed_.contains(id));
    return user;
  }

  std::mutex mutex_;
  std::map<int64_t, std::string> names_;
  std::set<int64_t> confirmed_;
  rpc::Identity identity_{testing::IdentityOf("users"),
                          [] { return std::vector<auth::PublicKey>(); }};
  rpc::Server server_{
      {.host = "127.0.0.1"},
      identity_,
      {testing::FakeService(rpc::Service("shop.users.v1.UsersService")
                                .On("GetUser", this, &FakeUsers::GetUser)
                                .On("BatchGetUsers", this, &FakeUsers::BatchGetUsers))}};
};

// auth with nothing but what mails are asked for, for the one request that is followed.
class FakeAuth {
 public:
  std::string address() const { return server_.address(); }

  std::atomic<int64_t> user = 0;  // whose request it is; nobody's
  std::atomic<bool> away = false;

 private:
  Result<auth::v1::ResetMail> Prepare(const Call&,
                                      const auth::v1::PrepareResetMailRequest& request) {
    if (away) throw Unavailable("switched off");
    if (request.request() != kRequest || user == 0) return Refusal{Code::kNotFound, "nobody's"};
    auth::v1::ResetMail mail;
    mail.set_user_id(user);
    mail.set_token("the-token");
    return mail;
  }

  Result<auth::v1::ConfirmationMail> PrepareConfirmation(
      const Call&, const auth::v1::PrepareConfirmationMailRequest& request) {
    if (request.request() != kRequest || user == 0) return Refusal{Code::kNotFound, "nobody's"};
    auth::v1::ConfirmationMail mail;
    mail.set_user_id(user);
    mail.set_token("confirmation");
    return mail;
  }

  rpc::Identity identity_{testing::IdentityOf("auth"),
                          [] { return std::vector<auth::PublicKey>(); }};
  rpc::Server server_{{.host = "127.0.0.1"},
                      identity_,
                      {testing::FakeService(rpc::Service("shop.auth.v1.AuthService")
                                                .On("PrepareResetMail", this, &FakeAuth::Prepare)
                                                .On("PrepareConfirmationMail", this,
                                                    &FakeAuth::PrepareConfirmation))}};
};

class MailSenderTest : public ::testing::Test {
 protected:
  MailSenderTest() { postgres::Migrate(db, {kMessagingMigrations, kNotificationMigrations}); }

  // A mail that is due for a user whose address begins with this.
  void Order(const std::string& recipient, const std::string& event = "{}") {
    const int64_t id = ++orders_;
    users.Register(id, recipient);
    const std::string digits = std::to_string(id);
    postgres::InTransaction(db, [&](postgres::Tx& tx) {
      ASSERT_TRUE(Insert(tx, {.order_uuid = std::string(32 - digits.size(), '0') + digits,
                              .order_id = id,
                              .kind = "ORDER_CREATED",
                              .user_id = id,
                              .event = event,
                              .traceparent = ""}));
    });
  }
  // As the event brings it: with nobody's id.
  void Forget() { Ask<events::v1::PasswordResetRequested>(); }
  template <typename Event>
  void Ask() {
    Event event;
    event.set_request(kRequest);
    Tell(event);
  }
  void Tell(const google::protobuf::Message& event) {
    ASSERT_TRUE(testing::Deliver(
        db, EventHandlers(), "notification",
        messaging::MakeEvent(event, {.source = "auth", .trace = TraceContext::New()})));
  }
  // With the pauses that are used in earnest.
  MailSender Sender(SenderOptions options = {}) {
    options.poll = milliseconds(50);
    return MailSender(db, channel, auth_channel, {.url = server.url(), .timeout = seconds(600)},
                      {"", "orders@shop.local"}, options);
  }
  int Count(const std::string& condition) {
    return postgres::Read(db, [&](postgres::Tx& tx) {
      return tx.Run("SELECT count(*) FROM mail_jobs WHERE " + condition)[0][0].as<int>();
    });
  }
  // All `count` mails as if they had been tried before and were due again.
  void HaveBeenTried() {
    postgres::InTransaction(db, [](postgres::Tx& tx) {
      tx.Run("UPDATE mail_jobs SET attempts = 3, next_at = now() - interval '1 hour'");
    });
  }

  // Lets all mails wait for so long, those too that are being tried and fail.
  void Reschedule(const std::string& pause) {
    postgres::InTransaction(db, [&](postgres::Tx& tx) {
      tx.Run("UPDATE mail_jobs SET next_at = now() + interval '" + pause + "'");
    });
    ASSERT_TRUE(Eventually([&] { return Count("leased_until IS NOT NULL") == 0; }));
  }

  MailServer server;
  FakeUsers users;
  shop::testing::TestDatabase database;
  postgres::Pool db{database.settings()};
  rpc::Identity identity{testing::IdentityOf("notification"),
                         [] { return std::vector<auth::PublicKey>(); }};
  rpc::Channel channel{"users", users.address(), identity};
  FakeAuth auth_service;
  rpc::Channel auth_channel{"auth", auth_service.address(), identity};

 private:
  int64_t orders_ = 0;
};

TEST_F(MailSenderTest, HundredsOfBusyAddressesKeepNobodyElseFromMail) {
  for (int i = 0; i < 700; ++i) Order("busy" + std::to_string(i));
  Order("ada");
  const MailSender sender = Sender();
  EXPECT_TRUE(Eventually([&] { return server.Taken("ada") == 1; }));
  EXPECT_EQ(Count("state = 'REFUSED'"), 0);
  EXPECT_TRUE(sender.healthy());
}

TEST_F(MailSenderTest, ManyMailsAreAskedForAndCompletedTogether) {
  for (int i = 0; i < 48; ++i) Order(i == 20 ? "gone" : "ada" + std::to_string(i));
  const MailSender sender = Sender({.interval = milliseconds(100)});
  ASSERT_TRUE(Eventually([&] { return Count("state = 'SENT'") == 47; }));
  EXPECT_EQ(Count("state = 'GONE'"), 1);
  EXPECT_LT(users.calls, 24);
  EXPECT_LT(postgres::Read(
                db,
                [](postgres::Tx& tx) {
                  return tx.Run("SELECT count(DISTINCT xmin::text) FROM mail_jobs")[0][0].as<int>();
                }),
            24);
}

TEST_F(MailSenderTest, AUserWhoCannotBeReadStopsNoMailsOfOthers) {
  for (int i = 0; i < 12; ++i) Order(i == 2 ? "secret" : "ada" + std::to_string(i));
  const MailSender sender = Sender();
  EXPECT_TRUE(Eventually([&] { return Count("state = 'SENT'") == 11; }));
  EXPECT_TRUE(Eventually([&] { return Count("last_error LIKE '%not yours%'") == 1; }));
}

TEST_F(MailSenderTest, AMailThatTheDatabaseRefusesToCompleteSendsNoOtherAgain) {
  postgres::InTransaction(db, [](postgres::Tx& tx) {
    tx.Run(R"sql(
        CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN RAISE 'out of order'; END $$;
        CREATE TRIGGER fail BEFORE UPDATE ON mail_jobs FOR EACH ROW
        WHEN (NEW.state = 'SENT' AND NEW.order_id = 3) EXECUTE FUNCTION fail())sql");
  });
  for (int i = 0; i < 6; ++i) Order("ada" + std::to_string(i));
  {
    const MailSender sender = Sender({.interval = milliseconds(100)});
    EXPECT_TRUE(Eventually([&] { return Count("state = 'SENT'") == 5; }));
  }
  EXPECT_EQ(Count("leased_until IS NOT NULL AND order_id = 3"), 1) << "it may be sent twice";
}

TEST_F(MailSenderTest, MailsThatAreSentWhileTheDatabaseIsAwayAreMarkedOnceItIsBack) {
  // The sequence counts how often it went away: no rollback takes that back.
  postgres::InTransaction(db, [](postgres::Tx& tx) {
    tx.Run(R"sql(
        CREATE SEQUENCE outages;
        CREATE FUNCTION go_away() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          IF nextval('outages') <= 3 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
          RETURN NEW;
        END $$;
        CREATE TRIGGER go_away BEFORE UPDATE ON mail_jobs FOR EACH ROW
        WHEN (NEW.state = 'SENT') EXECUTE FUNCTION go_away())sql");
  });
  for (int i = 0; i < 4; ++i) Order("ada" + std::to_string(i));
  const MailSender sender = Sender();
  EXPECT_TRUE(Eventually([&] { return Count("state = 'SENT'") == 4; }));
  for (int i = 0; i < 4; ++i) EXPECT_EQ(server.Taken("ada" + std::to_string(i)), 1u) << i;
}

TEST_F(MailSenderTest, AddressesThatTimeOutDelayTheFirstAttemptsOfNobodyForLong) {
  for (int i = 0; i < 28; ++i) Order("silent" + std::to_string(i));
  Order("ada");
  // Two rounds of fourteen slots: ten minutes each, were they as patient as the mail server allows.
  const MailSender sender = Sender({.first_patience = seconds(1)});
  EXPECT_TRUE(Eventually([&] { return server.Taken("ada") == 1; }, seconds(60)));
}

TEST_F(MailSenderTest, WhatTimesOutAgainAndAgainLeavesTheSlotsToNewMails) {
  for (int i = 0; i < 30; ++i) Order("silent" + std::to_string(i));
  HaveBeenTried();
  const MailSender sender = Sender();
  ASSERT_TRUE(Eventually([&] { return Count("leased_until IS NOT NULL") == 2; }));
  for (int i = 0; i < 20; ++i) Order("ada" + std::to_string(i));
  EXPECT_TRUE(Eventually([&] { return Count("state = 'SENT'") == 20; }));
  EXPECT_EQ(Count("leased_until IS NOT NULL"), 2);
}

TEST_F(MailSenderTest, AMailServerThatRefusesUsRefusesNoMail) {
  server.Refuse("MAIL", "550 you may not send here");
  for (int i = 0; i < 10; ++i) Order("ada" + std::to_string(i));
  const MailSender sender =
      Sender({.first_pause = milliseconds(100), .longest_away = milliseconds(300)});
  ASSERT_TRUE(Eventually([&] { return server.asked("MAIL") >= 12; }));
  EXPECT_FALSE(sender.healthy());
  EXPECT_EQ(Count("state = 'WAITING'"), 10);
  EXPECT_EQ(Count("state = 'REFUSED'"), 0);
  server.Refuse("MAIL", std::nullopt);
  EXPECT_TRUE(Eventually([&] { return Count("state = 'SENT'") == 10; }, seconds(60)));
  EXPECT_TRUE(sender.healthy());
  EXPECT_EQ(Count("attempts > 1"), 0) << "it was no mail's fault";
}

TEST_F(MailSenderTest, MailsThatWaitAreCountedAlsoWhileNoneCanBeSent) {
  const auto waiting = [] {
    return GaugeFamily("mails_waiting", "Mails that wait to be sent, for the first time or again")
        .Add({})
        .Value();
  };
  server.Refuse("MAIL", "550 you may not send here");
  for (int i = 0; i < 3; ++i) Order("ada" + std::to_string(i));
  const MailSender sender = Sender({.count_every = milliseconds(10),
                                    .first_pause = milliseconds(100),
                                    .longest_away = milliseconds(300)});
  EXPECT_TRUE(Eventually([&] { return waiting() == 3; }));
  Order("eve");
  EXPECT_TRUE(Eventually([&] { return waiting() == 4; }));
  server.Refuse("MAIL", std::nullopt);
  EXPECT_TRUE(Eventually([&] { return waiting() == 0; }, seconds(60)));
}

TEST_F(MailSenderTest, AfterAFailureTheOtherLeasedMailsAreGivenBack) {
  server.Refuse("MAIL", "550 you may not send here");
  for (int i = 0; i < 10; ++i) Order("ada" + std::to_string(i));
  // Were they kept, nobody could have them for an hour.
  const MailSender sender = Sender(
      {.lease = std::chrono::hours(1), .first_pause = seconds(60), .longest_away = seconds(60)});
  ASSERT_TRUE(Eventually([&] { return !sender.healthy(); }));
  EXPECT_TRUE(Eventually([&] { return Count("leased_until IS NULL AND attempts = 0") == 10; }));
}

TEST_F(MailSenderTest, WhileTheMailServerIsAwayOneMailATimeFindsOut) {
  server.Refuse("MAIL", "421 not now");
  for (int i = 0; i < 20; ++i) Order("ada" + std::to_string(i));
  const MailSender sender = Sender({.first_pause = milliseconds(200), .longest_away = seconds(1)});
  ASSERT_TRUE(Eventually([&] { return server.asked("MAIL") >= 18; }, seconds(60)));
  // The first fourteen met it together, and since then one after each pause.
  int most = 0;
  const int before = server.asked("MAIL");
  ASSERT_TRUE(Eventually(
      [&] {
        most = std::max(most, Count("leased_until IS NOT NULL"));
        return server.asked("MAIL") >= before + 3;
      },
      seconds(60)));
  EXPECT_LE(most, 1);
}

TEST_F(MailSenderTest, OnlyTheMailServersOwnWordEndsThePause) {
  server.Refuse("MAIL", "421 not now");
  Order("ada");
  const MailSender sender = Sender({.first_pause = milliseconds(100), .longest_away = seconds(1)});
  ASSERT_TRUE(Eventually([&] { return !sender.healthy(); }));
  Reschedule("1 hour");

  // None of these gets as far as the mail server.
  const auto never_asks = [&](const std::string& ended) {
    ASSERT_TRUE(Eventually([&] { return Count(ended) == 1; })) << ended;
    EXPECT_FALSE(sender.healthy()) << ended;
  };
  const int asked = server.asked("MAIL");
  Order("gone");
  never_asks("state = 'GONE'");
  Order("no address");
  never_asks("state = 'REFUSED'");
  Order("secret");
  never_asks("last_error LIKE '%not yours%'");
  Order("eve", "no JSON");
  never_asks("last_error LIKE '%cannot be read%'");
  EXPECT_EQ(server.asked("MAIL"), asked);

  server.Refuse("MAIL", std::nullopt);
  Order("bob");
  EXPECT_TRUE(Eventually([&] { return server.Taken("bob") == 1 && sender.healthy(); }));
}

TEST_F(MailSenderTest, StoppingGivesBackWhatHasNotLeft) {
  for (int i = 0; i < 3; ++i) Order("silent" + std::to_string(i));
  {
    const MailSender sender = Sender({.first_patience = seconds(600)});
    ASSERT_TRUE(Eventually([&] { return server.asked("RCPT") == 3; }));
  }
  EXPECT_EQ(Count("state = 'WAITING' AND leased_until IS NULL AND attempts = 0"), 3);
}

TEST_F(MailSenderTest, ARefusedMailIsSentOnceItIsAskedForAgain) {
  Order("nobody");
  Order("ada");
  const MailSender sender = Sender();
  ASSERT_TRUE(Eventually([&] { return Count("state = 'REFUSED'") == 1; }));
  ASSERT_TRUE(Eventually([&] { return server.Taken("ada") == 1; }));
  EXPECT_TRUE(sender.healthy());
  server.Willing("nobody");
  EXPECT_EQ(ResendRefused(db, std::nullopt), 1);
  EXPECT_TRUE(Eventually([&] { return Count("state = 'SENT'") == 2; }));
  EXPECT_EQ(server.Taken("nobody"), 1u);
  EXPECT_EQ(server.Taken("ada"), 1u);
}

TEST_F(MailSenderTest, TheMailAboutAPasswordHasTheTokenThatAuthGivesWhenItIsSent) {
  users.Register(7, "ada");
  auth_service.user = 7;
  for (int again = 0; again < 2; ++again) Forget();
  const MailSender sender = Sender();
  ASSERT_TRUE(Eventually([&] { return Count("state = 'SENT'") == 1; }));
  EXPECT_EQ(server.Taken("ada"), 1u);
  EXPECT_THAT(server.Text("ada"), ::testing::HasSubstr("\nthe-token\n"));
  EXPECT_THAT(server.Text("ada"), ::testing::HasSubstr("<code>the-token</code>"));
  EXPECT_THAT(server.Text("ada"), ::testing::HasSubstr("Message-ID: <password-reset-" +
                                                       std::string(kRequest) + "@shop>"));
  EXPECT_EQ(Count("mail_jobs::text LIKE '%the-token%'"), 0);
}

TEST_F(MailSenderTest, ThereIsNoMailToAnAddressThatIsNobodys) {
  Forget();
  const MailSender sender = Sender();
  ASSERT_TRUE(Eventually([&] { return Count("state = 'GONE'") == 1; }));
  EXPECT_EQ(server.asked("MAIL"), 0);
}

TEST_F(MailSenderTest, WhileAuthIsAwayMailsAboutPasswordsAloneWait) {
  users.Register(7, "eve");
  auth_service.user = 7;
  auth_service.away = true;
  Forget();
  Order("ada");
  const MailSender sender = Sender();
  ASSERT_TRUE(Eventually([&] { return server.Taken("ada") == 1; }));
  ASSERT_TRUE(Eventually([&] { return Count("last_error IS NOT NULL") == 1; }));
  EXPECT_TRUE(sender.healthy());
  auth_service.away = false;
  EXPECT_TRUE(Eventually([&] { return server.Taken("eve") == 1; }, seconds(60)));
}

TEST_F(MailSenderTest, AnAddressThatNobodyHasConfirmedGetsItsTokensAndNothingElse) {
  Order("ada");
  Order("eve");
  users.Confirm(1);
  auth_service.user = 2;
  Ask<events::v1::EmailConfirmationRequested>();
  const MailSender sender = Sender({.confirmed_only = true, .a_day = 1});
  ASSERT_TRUE(Eventually([&] { return Count("state = 'WAITING'") == 0; }));
  EXPECT_EQ(Count("state = 'SENT'"), 2);
  EXPECT_EQ(Count("state = 'UNCONFIRMED' AND order_id = 2"), 1);
  EXPECT_EQ(server.Taken("ada"), 1u);
  EXPECT_EQ(server.Taken("eve"), 1u);
  EXPECT_THAT(server.Text("eve"), ::testing::HasSubstr("\nconfirmation\n"));
  EXPECT_THAT(server.Text("eve"), ::testing::HasSubstr("\nHello,\n"));
  EXPECT_THAT(server.Text("eve"), ::testing::Not(::testing::HasSubstr("Ada")))
      << "which a stranger may have typed";
  EXPECT_THAT(server.Text("ada"), ::testing::HasSubstr("\nHello Ada,\n"));
  users.Confirm(2);
  EXPECT_EQ(ResendRefused(db, 2), 1) << "an operator may";
  EXPECT_TRUE(Eventually([&] { return server.Taken("eve") == 2; }));
}

TEST_F(MailSenderTest, WhoHasAnAccountIsToldThatSomebodyWantedToRegisterTheAddress) {
  users.Register(7, "ada");
  events::v1::RegistrationRepeated repeated;
  repeated.set_request(kRequest);
  repeated.set_user_id(7);
  Tell(repeated);
  const MailSender sender = Sender({.confirmed_only = true});
  ASSERT_TRUE(Eventually([&] { return server.Taken("ada") == 1; }));
  EXPECT_THAT(server.Text("ada"), ::testing::HasSubstr("You have an account already"));
  EXPECT_EQ(Count("user_id <> 0"), 0) << "it is no notification";
}

TEST_F(MailSenderTest, WithoutTheSettingUnconfirmedAddressesGetTheirMails) {
  Order("eve");
  const MailSender sender = Sender();
  EXPECT_TRUE(Eventually([&] { return server.Taken("eve") == 1; }));
}

TEST_F(MailSenderTest, AnAddressGetsSoManyMailsADayAndItsTokensBesides) {
  for (int i = 0; i < 5; ++i) Order("ada");
  auth_service.user = 1;
  Forget();
  const MailSender sender = Sender({.a_day = 3});
  ASSERT_TRUE(Eventually([&] { return Count("state = 'WAITING'") == 0; }));
  EXPECT_EQ(Count("state = 'SENT'"), 4);
  EXPECT_EQ(Count("state = 'OVER_LIMIT'"), 2);
  EXPECT_EQ(server.Taken("ada"), 4u);
  EXPECT_THAT(server.Text("ada"), ::testing::HasSubstr("the-token"));
}

TEST_F(MailSenderTest, AMailThatIsBusyNowIsSentLater) {
  Order("busy");
  const MailSender sender = Sender();
  ASSERT_TRUE(Eventually([&] { return server.asked("RCPT") >= 2; }));
  server.Willing("busy");
  EXPECT_TRUE(Eventually([&] { return Count("state = 'SENT'") == 1; }));
}

}  // namespace
}  // namespace shop::notification
