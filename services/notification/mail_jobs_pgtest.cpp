#include "notification/mail_jobs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <map>
#include <mutex>
#include <sstream>
#include <thread>

#include "common/postgres/migrations.h"
#include "common/testing/database.h"
#include "common/testing/deliver.h"
#include "common/testing/servers.h"
#include "messaging_migrations.h"
#include "notification/mail_command.h"
#include "notification/mail_erasure.h"
#include "notification/notification_events.h"
#include "notification_migrations.h"
#include "shop/events/v1/accounts.pb.h"
#include "shop/events/v1/orders.pb.h"
#include "shop/events/v1/payments.pb.h"

namespace shop::notification {
namespace {

using shop::testing::Eventually;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr std::chrono::minutes kLong{5};
constexpr std::chrono::milliseconds kNone{0};

// A UUID that follows from the number; PostgreSQL takes one without its hyphens.
std::string Uuid(int64_t order_id) {
  const std::string digits = std::to_string(order_id);
  return std::string(32 - digits.size(), '0') + digits;
}

class MailJobsTest : public ::testing::Test {
 protected:
  MailJobsTest() { postgres::Migrate(db, {kMessagingMigrations, kNotificationMigrations}); }

  bool Insert(int64_t order_id, const std::string& kind = "ORDER_CREATED") {
    return postgres::InTransaction(db, [&](postgres::Tx& tx) {
      return notification::Insert(tx, {.order_uuid = Uuid(order_id),
                                       .order_id = order_id,
                                       .kind = kind,
                                       .user_id = 7,
                                       .event = R"({"orderId":42})",
                                       .traceparent = "t"});
    });
  }
  std::string Value(const std::string& sql) {
    return postgres::Read(db,
                          [&](postgres::Tx& tx) { return tx.Run(sql)[0][0].as<std::string>(); });
  }
  std::optional<MailJob> LeaseOne(std::chrono::milliseconds lease) {
    std::vector<MailJob> jobs = Lease(db, lease, {.fresh = 1});
    if (jobs.empty()) jobs = Lease(db, lease, {.retries = 1});
    return jobs.empty() ? std::nullopt : std::optional(jobs[0]);
  }
  std::string State() { return Value("SELECT state FROM mail_jobs"); }

  shop::testing::TestDatabase database;
  postgres::Pool db{database.settings()};
};

template <typename Event>
messaging::Envelope About(const std::string& refund = "") {
  Event event;
  event.set_order_id(42);
  event.set_order_uuid(Uuid(42));
  event.set_user_id(7);
  if constexpr (std::is_same_v<Event, events::v1::PaymentRefunded>) event.set_refund_uuid(refund);
  return messaging::MakeEvent(event, {.source = "orders", .trace = TraceContext::New()});
}

TEST_F(MailJobsTest, EachChangeOfAnOrderWritesOneJobHoweverOftenItIsPublished) {
  const messaging::Handlers handlers = EventHandlers();
  for (int time = 0; time < 2; ++time) {
    for (const messaging::Envelope& event :
         {About<events::v1::OrderCreated>(), About<events::v1::OrderConfirmed>(),
          About<events::v1::OrderShipped>(), About<events::v1::OrderDelivered>(),
          About<events::v1::OrderCancelled>(), About<events::v1::OrderReturned>(),
          About<events::v1::PaymentCompleted>(), About<events::v1::PaymentFailed>()}) {
      ASSERT_TRUE(testing::Deliver(db, handlers, "notification", event)) << event.type;
    }
  }
  EXPECT_EQ(Value("SELECT string_agg(kind, ' ' ORDER BY id) FROM mail_jobs"),
            "ORDER_CREATED ORDER_CONFIRMED ORDER_SHIPPED ORDER_DELIVERED ORDER_CANCELLED");
}

TEST_F(MailJobsTest, EachRefundOfAnOrderHasAJob) {
  const messaging::Handlers handlers = EventHandlers();
  for (const char last : {'1', '2', '1'}) {
    ASSERT_TRUE(testing::Deliver(db, handlers, "notification",
                                 About<events::v1::PaymentRefunded>(
                                     std::string("5a0e0000-0000-4000-8000-00000000000") + last)));
  }
  EXPECT_EQ(Value("SELECT count(*) FROM mail_jobs"), "2");
  EXPECT_FALSE(testing::Deliver(db, handlers, "notification",
                                About<events::v1::PaymentRefunded>("1@shop>\r\nBcc: eve")));
}

// It would take an ORDER_CONFIRMED for an ORDER_CREATED, and thank for an order of nothing.
TEST_F(MailJobsTest, EventsThatArriveTogetherWriteTheirJobsInTheirOrder) {
  const auto created = [](int64_t order_id) {
    events::v1::OrderCreated event;
    event.set_order_id(order_id);
    event.set_order_uuid(Uuid(order_id));
    event.set_user_id(7);
    event.set_payment_token("tok_secret");
    return messaging::MakeEvent(event, {.source = "orders", .trace = TraceContext::New()});
  };
  ASSERT_TRUE(testing::Deliver(
      db, EventHandlers(), "notification",
      {created(43), About<events::v1::OrderConfirmed>(), created(43), created(41), created(42)}));
  EXPECT_EQ(Value("SELECT string_agg(order_id || ' ' || kind, ', ' ORDER BY id) FROM mail_jobs"),
            "43 ORDER_CREATED, 41 ORDER_CREATED, 42 ORDER_CONFIRMED, 42 ORDER_CREATED")
      << "by type, and of one order as they came";
  EXPECT_EQ(Value("SELECT count(*) FROM mail_jobs WHERE event LIKE '%tok_secret%'"), "0");
}

TEST_F(MailJobsTest, ABadEventOfABatchGoesToTheRetryQueueAlone) {
  events::v1::OrderCreated bad;
  bad.set_order_id(1);
  std::vector<messaging::Record> records{
      {.event = About<events::v1::OrderCreated>()},
      {.event = messaging::MakeEvent(bad, {.source = "orders", .trace = TraceContext::New()}),
       .position = 1},
      {.event = About<events::v1::OrderConfirmed>(), .position = 2}};
  testing::TestGroup group(db, "notification", EventHandlers());
  EXPECT_FALSE(group.inbox.Take({&records[0], &records[1], &records[2]}));
  EXPECT_EQ(Value("SELECT count(*) FROM mail_jobs"), "0") << "nothing is kept of it";
  // As a consumer does then.
  for (const messaging::Record& record : records) {
    const Result<size_t> taken = group.inbox.Take({&record});
    if (!taken) group.inbox.Enqueue(record, taken.refusal().message);
  }
  EXPECT_EQ(Value("SELECT string_agg(position::text, ' ') FROM retry_queue"), "1");
  EXPECT_EQ(Value("SELECT count(*) FROM mail_jobs"), "2");
}

TEST_F(MailJobsTest, ASenderOfTheReleaseBeforeCannotReadNewerKindsAndLeavesThem) {
  ASSERT_TRUE(Insert(42, "ORDER_CONFIRMED"));
  events::v1::OrderCreated as_before;
  EXPECT_FALSE(messaging::ReadValue(Value("SELECT event FROM mail_jobs"), &as_before));
  const std::optional<MailJob> tried = LeaseOne(kLong);
  ASSERT_TRUE(RetryLater(db, *tried, kNone, "it cannot be read"));
  EXPECT_EQ(LeaseOne(kLong)->event, R"({"orderId":42})");
}

TEST_F(MailJobsTest, AJobIsLeasedAsItWasWritten) {
  ASSERT_TRUE(Insert(42));
  const std::optional<MailJob> job = LeaseOne(kLong);
  ASSERT_TRUE(job);
  EXPECT_EQ(job->order_id, 42);
  EXPECT_EQ(job->kind, "ORDER_CREATED");
  EXPECT_EQ(job->user_id, 7);
  EXPECT_EQ(job->event, R"({"orderId":42})");
  EXPECT_EQ(job->traceparent, "t");
  EXPECT_EQ(job->attempt, 1);
  EXPECT_FALSE(job->lease_expired);
  EXPECT_GT(job->created_at.time_since_epoch(), std::chrono::seconds(1600000000));
}

TEST_F(MailJobsTest, AnOrderHasOneJobOfAKind) {
  EXPECT_TRUE(Insert(42));
  EXPECT_FALSE(Insert(42));
  EXPECT_TRUE(Insert(42, "ORDER_CONFIRMED"));
}

TEST_F(MailJobsTest, SendersAtOnceNeverHoldOneJobTogether) {
  for (int64_t order = 1; order <= 40; ++order) ASSERT_TRUE(Insert(order));
  std::mutex mutex;
  std::map<int64_t, int> leases;
  std::vector<std::thread> senders;
  for (int i = 0; i < 4; ++i) {
    senders.emplace_back([&] {
      while (const std::optional<MailJob> job = LeaseOne(kLong)) {
        const std::lock_guard lock(mutex);
        ++leases[job->order_id];
      }
    });
  }
  for (std::thread& sender : senders) sender.join();
  EXPECT_EQ(leases.size(), 40u);
  for (const auto& [order, count] : leases) EXPECT_EQ(count, 1) << order;
}

TEST_F(MailJobsTest, SeveralJobsAreLeasedInTheirOrderAndThoseGivenBackAreAsBefore) {
  for (int64_t order = 1; order <= 4; ++order) ASSERT_TRUE(Insert(order));
  std::vector<MailJob> jobs = Lease(db, kLong, {.fresh = 3});
  ASSERT_EQ(jobs.size(), 3u);
  EXPECT_EQ(jobs[0].order_id, 1);
  EXPECT_EQ(jobs[2].order_id, 3);
  EXPECT_TRUE(Complete(db, jobs[0], JobState::kSent));
  Release(db, {jobs[1], jobs[2]});
  const std::vector<MailJob> again = Lease(db, kLong, {.fresh = 9});
  ASSERT_EQ(again.size(), 3u);
  EXPECT_EQ(again[0].order_id, 2);
  EXPECT_EQ(again[0].attempt, 1);
  EXPECT_FALSE(again[0].lease_expired);
}

TEST_F(MailJobsTest, WhatIsTriedAgainIsLeasedApartFromWhatWasNeverTried) {
  for (int64_t order = 1; order <= 6; ++order) ASSERT_TRUE(Insert(order));
  for (const MailJob& job : Lease(db, kLong, {.fresh = 4})) RetryLater(db, job, kNone, "busy");
  // The first of them has failed once more.
  for (const MailJob& job : Lease(db, kLong, {.retries = 1})) RetryLater(db, job, kNone, "busy");

  const std::vector<MailJob> fresh = Lease(db, kLong, {.fresh = 9});
  ASSERT_EQ(fresh.size(), 2u);
  EXPECT_EQ(fresh[0].order_id, 5);
  EXPECT_EQ(fresh[1].order_id, 6);

  const std::vector<MailJob> again = Lease(db, kLong, {.retries = 3});
  ASSERT_EQ(again.size(), 3u);
  for (const MailJob& job : again) EXPECT_EQ(job.attempt, 2) << "whoever waits longest goes first";
  EXPECT_EQ(Lease(db, kLong, {.fresh = 9, .retries = 9}).size(), 1u);
}

TEST_F(MailJobsTest, WhatFailedOftenHasItsTurnHoweverManyFailForTheFirstTime) {
  ASSERT_TRUE(Insert(1));
  for (int failure = 0; failure < 3; ++failure) RetryLater(db, *LeaseOne(kLong), kNone, "busy");
  for (int64_t order = 2; order <= 4; ++order) ASSERT_TRUE(Insert(order));
  for (const MailJob& job : Lease(db, kLong, {.fresh = 3})) RetryLater(db, job, kNone, "busy");

  const std::vector<MailJob> again = Lease(db, kLong, {.retries = 2});
  ASSERT_EQ(again.size(), 2u);
  EXPECT_EQ(again[0].order_id, 1);
  EXPECT_EQ(again[0].attempt, 4);
}

TEST_F(MailJobsTest, WhatWasGivenBackForAWhileIsNotDueBeforeThat) {
  ASSERT_TRUE(Insert(42));
  Release(db, {*LeaseOne(kLong)}, kLong);
  EXPECT_FALSE(LeaseOne(kLong));
  EXPECT_EQ(Value("SELECT attempts FROM mail_jobs"), "0");
}

TEST_F(MailJobsTest, RefusedMailsAreFoundAndSentAgain) {
  for (int64_t order = 1; order <= 4; ++order) ASSERT_TRUE(Insert(order));
  const std::vector<MailJob> jobs = Lease(db, kLong, {.fresh = 4});
  ASSERT_EQ(jobs.size(), 4u);
  Complete(db, jobs[0], JobState::kRefused, "550 no such mailbox");
  Complete(db, jobs[1], JobState::kRefused, "550 no such mailbox");
  Complete(db, jobs[2], JobState::kSent);
  Complete(db, jobs[3], JobState::kGone);

  const std::vector<RefusedMail> refused = Refused(db, 10);
  ASSERT_EQ(refused.size(), 2u);
  EXPECT_EQ(refused[0].order_id, 2);
  EXPECT_EQ(refused[0].kind, "ORDER_CREATED");
  EXPECT_EQ(refused[0].why, "550 no such mailbox");
  EXPECT_EQ(refused[0].since.size(), std::string("2026-11-21T12:00:00Z").size());
  EXPECT_EQ(Refused(db, 1).size(), 1u);

  EXPECT_EQ(ResendRefused(db, 3), 0) << "a mail that was sent is not sent again";
  EXPECT_EQ(ResendRefused(db, 1), 1);
  EXPECT_EQ(ResendRefused(db, std::nullopt), 1);
  EXPECT_EQ(ResendRefused(db, std::nullopt), 0);
  EXPECT_EQ(Refused(db, 10).size(), 0u);
  const std::vector<MailJob> again = Lease(db, kLong, {.fresh = 9, .retries = 9});
  ASSERT_EQ(again.size(), 2u);
  EXPECT_FALSE(again[0].lease_expired);
  EXPECT_TRUE(Complete(db, again[0], JobState::kSent));
}

TEST_F(MailJobsTest, AnOperatorSeesRefusedMailsAndHasThemSentAgain) {
  ASSERT_TRUE(Insert(41));
  ASSERT_TRUE(Insert(42));
  for (const MailJob& job : Lease(db, kLong, {.fresh = 2})) {
    Complete(db, job, JobState::kRefused, "550 no such mailbox");
  }
  const auto run = [&](const std::vector<std::string>& words, int code) {
    std::ostringstream out;
    EXPECT_EQ(RunMailCommand(db, words, out), code);
    return out.str();
  };
  EXPECT_THAT(
      run({"refused-mails"}, 0),
      AllOf(HasSubstr("order 42  ORDER_CREATED  550 no such mailbox"), HasSubstr("2 refused")));
  for (const auto& words : std::vector<std::vector<std::string>>{
           {}, {"resend-mails"}, {"resend-mails", "42x"}, {"resend-mails", "-1"}, {"resend"}}) {
    EXPECT_THAT(run(words, 2), HasSubstr("usage"));
  }
  EXPECT_EQ(run({"resend-mails", "42"}, 0), "1 to be sent again\n");
  EXPECT_EQ(run({"resend-mails", "42"}, 0), "0 to be sent again\n");
  EXPECT_EQ(run({"resend-mails", "all"}, 0), "1 to be sent again\n");
}

TEST_F(MailJobsTest, MailsThatWereNotToBeSentAreSeenAndSentAgainByTheirOrderAlone) {
  for (int64_t order = 1; order <= 3; ++order) ASSERT_TRUE(Insert(order));
  const std::vector<MailJob> jobs = Lease(db, kLong, {.fresh = 3});
  Complete(db, jobs[0], JobState::kUnconfirmed, "nobody has confirmed the address");
  Complete(db, jobs[1], JobState::kOverLimit);
  Complete(db, jobs[2], JobState::kRefused);
  std::vector<std::string> states;
  for (const RefusedMail& mail : Refused(db, 10)) states.push_back(mail.state);
  EXPECT_THAT(states, ::testing::ElementsAre("REFUSED", "OVER_LIMIT", "UNCONFIRMED"));
  EXPECT_EQ(ResendRefused(db, std::nullopt), 1) << "the mail server was mended";
  EXPECT_EQ(ResendRefused(db, 1), 1);
  EXPECT_EQ(ResendRefused(db, 2), 1);
  EXPECT_EQ(Refused(db, 10).size(), 0u);
}

TEST_F(MailJobsTest, AnAddressHasSoManyMailsADay) {
  for (int64_t order = 1; order <= 4; ++order) ASSERT_TRUE(Insert(order));
  const std::vector<MailJob> jobs = Lease(db, kLong, {.fresh = 4});
  const auto count = [&](size_t job, const std::string& address = "ada@example.org") {
    return CountMail(db, jobs[job], address, 2);
  };
  EXPECT_TRUE(count(0));
  EXPECT_TRUE(count(1));
  EXPECT_TRUE(count(1)) << "tried again, it is the same mail";
  EXPECT_FALSE(count(2));
  EXPECT_TRUE(count(2, "bob@example.org")) << "another address";
  EXPECT_EQ(Value("SELECT count(*) FROM mail_jobs AS job WHERE job::text LIKE '%example%'"), "0");
  EXPECT_FALSE(count(3));
  postgres::InTransaction(db, [](postgres::Tx& tx) {
    tx.Run("UPDATE mail_jobs SET counted_at = counted_at - interval '25 hours' WHERE order_id = 1");
  });
  EXPECT_TRUE(count(3));
  EXPECT_FALSE(count(0));
}

TEST_F(MailJobsTest, MailsToOneAddressAtOnceAreCountedOneByOne) {
  constexpr int kMails = 8;
  for (int64_t order = 1; order <= kMails; ++order) ASSERT_TRUE(Insert(order));
  const std::vector<MailJob> jobs = Lease(db, kLong, {.fresh = kMails});
  std::barrier start(kMails);
  std::atomic<int> counted = 0;
  std::vector<std::jthread> senders;
  for (const MailJob& job : jobs) {
    senders.emplace_back([&] {
      start.arrive_and_wait();
      if (CountMail(db, job, "ada@example.org", 3)) ++counted;
    });
  }
  senders.clear();
  EXPECT_EQ(counted, 3);
}

TEST_F(MailJobsTest, AMailWaitsForOneToTheSameAddressThatIsBeingCounted) {
  ASSERT_TRUE(Insert(1));
  ASSERT_TRUE(Insert(2));
  const std::vector<MailJob> jobs = Lease(db, kLong, {.fresh = 2});
  std::thread other;
  bool counted = true;
  postgres::InTransaction(db, [&](postgres::Tx& tx) {
    tx.Run(
        "SELECT pg_advisory_xact_lock("
        "hashtextextended('mails to ' || encode(sha256('ada@example.org'), 'hex'), 0))");
    tx.Run(
        "UPDATE mail_jobs SET counted_for = encode(sha256('ada@example.org'), 'hex'),"
        " counted_at = now() WHERE order_id = 1");
    other = std::thread([&] { counted = CountMail(db, jobs[1], "ada@example.org", 1); });
    EXPECT_TRUE(Eventually([&] { return testing::CountLockWaits(db) == 1; }));
  });
  other.join();
  EXPECT_FALSE(counted);
}

TEST_F(MailJobsTest, ALeaseThatRanOutIsTakenOver) {
  ASSERT_TRUE(Insert(42));
  ASSERT_TRUE(LeaseOne(kNone));
  std::optional<MailJob> second;
  ASSERT_TRUE(Eventually([&] { return (second = LeaseOne(kLong)).has_value(); }));
  EXPECT_EQ(second->attempt, 2);
  EXPECT_TRUE(second->lease_expired);
}

TEST_F(MailJobsTest, WhoLostTheLeaseChangesNothing) {
  ASSERT_TRUE(Insert(42));
  const std::optional<MailJob> first = LeaseOne(kNone);
  std::optional<MailJob> second;
  ASSERT_TRUE(Eventually([&] { return (second = LeaseOne(kLong)).has_value(); }));
  EXPECT_FALSE(RetryLater(db, *first, kNone, "late"));
  EXPECT_FALSE(Complete(db, *first, JobState::kRefused));
  EXPECT_FALSE(LeaseOne(kLong));
  EXPECT_TRUE(Complete(db, *second, JobState::kSent));
  EXPECT_EQ(State(), "SENT");
}

TEST_F(MailJobsTest, AFinishedJobIsNeverLeasedAgain) {
  ASSERT_TRUE(Insert(42));
  const std::optional<MailJob> job = LeaseOne(kNone);
  EXPECT_TRUE(Complete(db, *job, JobState::kGone, "why"));
  EXPECT_EQ(State(), "GONE");
  EXPECT_EQ(Value("SELECT last_error FROM mail_jobs"), "why");
  EXPECT_FALSE(LeaseOne(kLong));
  EXPECT_FALSE(Complete(db, *job, JobState::kSent));
}

TEST_F(MailJobsTest, APostponedJobWaits) {
  ASSERT_TRUE(Insert(42));
  EXPECT_TRUE(RetryLater(db, *LeaseOne(kLong), kLong, "away"));
  EXPECT_FALSE(LeaseOne(kLong));
  EXPECT_EQ(State(), "WAITING");
}

TEST_F(MailJobsTest, APostponedJobComesBackWithoutASuspicion) {
  ASSERT_TRUE(Insert(42));
  EXPECT_TRUE(RetryLater(db, *LeaseOne(kLong), kNone, "away"));
  std::optional<MailJob> job;
  ASSERT_TRUE(Eventually([&] { return (job = LeaseOne(kLong)).has_value(); }));
  EXPECT_FALSE(job->lease_expired);
}

TEST_F(MailJobsTest, AnOrderThatWasCreatedLeavesOneJobHoweverOftenItIsHeard) {
  events::v1::OrderCreated order;
  order.set_order_id(42);
  order.set_order_uuid(Uuid(42));
  order.set_user_id(7);
  const messaging::Envelope event =
      messaging::MakeEvent(order, {.source = "orders", .trace = TraceContext::New()});
  ASSERT_TRUE(testing::Deliver(db, EventHandlers(), "notification", event));
  ASSERT_TRUE(testing::Deliver(db, EventHandlers(), "notification", event));
  messaging::Envelope again = event;
  again.id = "another";
  ASSERT_TRUE(testing::Deliver(db, EventHandlers(), "notification", again));
  EXPECT_EQ(Value("SELECT count(*) FROM mail_jobs"), "1");
  const std::optional<MailJob> job = LeaseOne(kLong);
  EXPECT_EQ(job->event, event.value);
  EXPECT_EQ(job->traceparent, event.trace.Header());
}

TEST_F(MailJobsTest, AnEventWithoutAnOrderOrUserIsRefused) {
  events::v1::OrderCreated order;
  order.set_order_id(42);
  EXPECT_FALSE(testing::Deliver(
      db, EventHandlers(), "notification",
      messaging::MakeEvent(order, {.source = "orders", .trace = TraceContext::New()})));
  EXPECT_EQ(Value("SELECT count(*) FROM mail_jobs"), "0");
}

TEST_F(MailJobsTest, AJobIsWrittenWithoutThePaymentToken) {
  events::v1::OrderCreated order;
  order.set_order_id(42);
  order.set_order_uuid(Uuid(42));
  order.set_user_id(7);
  order.set_payment_token("tok_of_7");
  ASSERT_TRUE(testing::Deliver(
      db, EventHandlers(), "notification",
      messaging::MakeEvent(order, {.source = "orders", .trace = TraceContext::New()})));
  EXPECT_THAT(Value("SELECT event FROM mail_jobs"),
              AllOf(::testing::Not(HasSubstr("tok_of_7")), HasSubstr(R"("orderId":42)")));
}

TEST_F(MailJobsTest, ADeletedUsersMailsKeepNothingPersonalOnceTheyAreFinished) {
  events::v1::OrderCreated order;
  order.set_order_id(42);
  order.set_order_uuid(Uuid(42));
  order.set_user_id(7);
  order.mutable_shipping_address()->set_street("Canary Street 1");
  events::v1::OrderCancelled cancelled;
  cancelled.set_order_id(42);
  cancelled.set_order_uuid(Uuid(42));
  cancelled.set_user_id(7);
  cancelled.set_reason("Canary has moved");
  for (const google::protobuf::Message* event :
       {static_cast<google::protobuf::Message*>(&order),
        static_cast<google::protobuf::Message*>(&cancelled)}) {
    ASSERT_TRUE(testing::Deliver(
        db, EventHandlers(), "notification",
        messaging::MakeEvent(*event, {.source = "orders", .trace = TraceContext::New()})));
  }
  const auto erase = [&](int64_t user) {
    return postgres::InTransaction(db, [&](postgres::Tx& tx) { return EraseUser(tx, user); });
  };
  const auto left = [&] {
    return Value("SELECT count(*) FROM mail_jobs AS job WHERE job::text ILIKE '%canary%'");
  };
  EXPECT_EQ(erase(7), messaging::Left::kSomething);
  EXPECT_EQ(left(), "2") << "they are to be sent yet";
  const std::optional<MailJob> sent = LeaseOne(kLong);
  ASSERT_TRUE(CountMail(db, *sent, "ada@example.org", 1));
  ASSERT_TRUE(Complete(db, *sent, JobState::kSent));
  ASSERT_TRUE(Complete(db, *LeaseOne(kLong), JobState::kRefused, "550 canary@example.com?"));
  EXPECT_EQ(erase(8), messaging::Left::kNothing);
  EXPECT_EQ(left(), "2");
  EXPECT_EQ(erase(7), messaging::Left::kNothing);
  EXPECT_EQ(left(), "0");
  EXPECT_EQ(Value("SELECT count(*) FROM mail_jobs WHERE counted_for IS NOT NULL"), "0");
  // What is shown of them, and sent should an operator ask for it, is the same otherwise.
  const std::vector<Change> changes =
      postgres::Read(db, [](postgres::Tx& tx) { return ChangesAfter(tx, 7, 0, 10); });
  ASSERT_EQ(changes.size(), 2u);
  events::v1::OrderCancelled read;
  ASSERT_TRUE(messaging::ReadValue(changes[1].event, &read));
  cancelled.clear_reason();
  EXPECT_EQ(read.SerializeAsString(), cancelled.SerializeAsString());
}

TEST_F(MailJobsTest, OfAMailThatHasNoUserNothingIsKeptThatTheMailServerSaid) {
  events::v1::EmailConfirmationRequested asked;
  asked.set_request("7d1c3c5e-4a0f-4c57-9a6b-0f6f2d1f6f0a");
  ASSERT_TRUE(testing::Deliver(
      db, EventHandlers(), "notification",
      messaging::MakeEvent(asked, {.source = "auth", .trace = TraceContext::New()})));
  const std::optional<MailJob> job = LeaseOne(kLong);
  ASSERT_TRUE(RetryLater(db, *job, kNone, "450 canary@example.com?"));
  ASSERT_TRUE(Complete(db, *LeaseOne(kLong), JobState::kRefused, "550 canary@example.com?"));
  EXPECT_EQ(Value("SELECT count(*) FROM mail_jobs AS job WHERE job::text LIKE '%canary%'"), "0");
}

TEST(EventHandlers, KnowEveryEventOfTheTopic) {
  const google::protobuf::FileDescriptor* file = events::v1::OrderCreated::descriptor()->file();
  for (int i = 0; i < file->message_type_count(); ++i) {
    const std::string type = messaging::TypeName(*file->message_type(i));
    EXPECT_TRUE(EventHandlers().Handles(type) || EventHandlers().Ignores(type)) << type;
  }
}

}  // namespace
}  // namespace shop::notification
