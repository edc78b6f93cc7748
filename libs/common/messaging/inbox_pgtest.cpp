#include "common/messaging/inbox.h"

#include <gmock/gmock.h>

#include <functional>
#include <stop_token>
#include <thread>

#include "common/messaging/outbox.h"
#include "common/messaging/retry_queue.h"
#include "common/testing/database.h"
#include "common/testing/deliver.h"
#include "common/testing/published_events.h"
#include "common/testing/recorded_spans.h"
#include "common/testing/servers.h"
#include "messaging_migrations.h"
#include "shop/events/v1/orders.pb.h"

namespace shop::messaging {
namespace {

using events::v1::OrderCancelled;
using postgres::Tx;
using ::testing::ElementsAre;
using testing::Eventually;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr postgres::Statement kTell{"INSERT INTO told (key, reason) VALUES ($1, $2)"};

// A group whose only effect is to write down what it was told, in order. A reason of "refuse" is
// refused, "throw" throws, "away" finds a dependency away, until Mend is called.
class InboxTest : public ::testing::Test {
 protected:
  InboxTest() {
    postgres::Migrate(db_, {kMessagingMigrations});
    InTransaction(db_, [](Tx& tx) {
      tx.Run("CREATE TABLE told (id bigserial PRIMARY KEY, key text, reason text)");
    });
  }

  testing::TestGroup Group(RetryPolicy options = Impatient()) {
    return testing::TestGroup(
        db_, "group",
        Handlers()
            .On<OrderCancelled>(
                [this](Tx& tx, const OrderCancelled& order, const Envelope& event) -> Result<void> {
                  tx.Exec(kTell, event.key, order.reason());
                  if (mended_) return kDone;
                  if (order.reason() == "refuse") {
                    return Refusal{Code::kFailedPrecondition, "not now"};
                  }
                  if (order.reason() == "throw") throw std::runtime_error("broken");
                  if (order.reason() == "away") return Refusal{Code::kUnavailable, "away"};
                  return kDone;
                })
            .Ignore<events::v1::OrderConfirmed>(),
        options);
  }
  static RetryPolicy Impatient() {
    return {.attempts = 3,
            .first_pause = std::chrono::milliseconds(1),
            .longest_pause = std::chrono::milliseconds(2)};
  }

  Record Cancelled(int64_t key, const std::string& reason) {
    OrderCancelled message;
    message.set_order_id(key);
    message.set_reason(reason);
    return {.event = MakeEvent(message, {.source = "test", .trace = TraceContext::New()}),
            .partition = 1,
            .position = next_position_++};
  }
  Record Unknown(int64_t key) {
    Record record = Cancelled(key, "unknown");
    record.event.type = "ORDER_FORGOTTEN";
    return record;
  }

  // One after the other, what is refused to the retry queue, as a consumer does.
  static void Receive(testing::TestGroup& group, const std::vector<Record>& records) {
    for (const Record& record : records) {
      std::string reason;
      try {
        const auto taken = group.inbox.Take({&record});
        if (taken) continue;
        reason = taken.refusal().message;
      } catch (const std::exception& error) {
        reason = error.what();
      }
      group.inbox.Enqueue(record, reason);
    }
  }
  void Mend() { mended_ = true; }

  std::vector<std::string> Told() {
    std::vector<std::string> told;
    for (const auto& row : Read(db_, [](Tx& tx) {
           return tx.Run("SELECT key || ' ' || reason FROM told ORDER BY id");
         })) {
      told.push_back(row[0].as<std::string>());
    }
    return told;
  }
  std::vector<std::string> Queue() {
    std::vector<std::string> events;
    for (const QueuedEvent& event : ListRetryQueue(db_)) {
      events.push_back(event.key + (event.dead ? " dead: " : " queued: ") + event.reason);
    }
    return events;
  }
  // Retries until nothing more is due.
  bool RetriesUntil(testing::TestGroup& group, const std::function<bool()>& condition) {
    return Eventually([&] {
      group.retrier.RetryDue();
      return condition();
    });
  }
  size_t OutboxRows() { return testing::PublishedEvents(db_).size(); }

  testing::TestDatabase database_;
  postgres::Pool db_{database_.settings()};
  std::atomic<bool> mended_ = false;
  int64_t next_position_ = 0;
  std::stop_source stop_;
};

TEST_F(InboxTest, EventsAreHandledInTheirOrder) {
  testing::TestGroup group = Group();
  const Record first = Cancelled(1, "a");
  const Record second = Cancelled(2, "b");
  const Record third = Cancelled(1, "c");
  EXPECT_TRUE(group.inbox.Take({&first, &second, &third}));
  EXPECT_THAT(Told(), ElementsAre("1 a", "2 b", "1 c"));
}

TEST_F(InboxTest, ASecondDeliveryChangesNothing) {
  testing::TestGroup group = Group();
  const Record record = Cancelled(1, "a");
  EXPECT_TRUE(group.inbox.Take({&record, &record}));
  EXPECT_TRUE(group.inbox.Take({&record}));
  EXPECT_THAT(Told(), ElementsAre("1 a"));
}

TEST_F(InboxTest, ARefusalKeepsNothingOfItsTransaction) {
  testing::TestGroup group = Group();
  const Record good = Cancelled(1, "a");
  const Record bad = Cancelled(2, "refuse");
  const auto taken = group.inbox.Take({&good, &bad});
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.refusal().code, Code::kFailedPrecondition);
  EXPECT_THAT(Told(), IsEmpty());
  EXPECT_TRUE(group.inbox.Take({&good})) << "was taken for seen";
  EXPECT_THAT(Told(), ElementsAre("1 a"));
}

TEST_F(InboxTest, ARefusedEventHoldsBackItsKeyAlone) {
  testing::TestGroup group = Group();
  Receive(group, {Cancelled(1, "refuse"), Cancelled(1, "later"), Cancelled(2, "other")});
  EXPECT_THAT(Told(), ElementsAre("2 other"));
  EXPECT_THAT(Queue(),
              ElementsAre("1 queued: not now", "1 queued: waits for an earlier event of its key"));
}

TEST_F(InboxTest, AQueuedKeyIsHandledInOrderOnceItCanBe) {
  testing::TestGroup group = Group();
  Receive(group, {Cancelled(1, "throw"), Cancelled(1, "b")});
  Mend();
  Receive(group, {Cancelled(1, "c")});
  EXPECT_THAT(Told(), IsEmpty()) << "overtook what is queued";
  EXPECT_TRUE(RetriesUntil(group, [&] { return Queue().empty(); }));
  Receive(group, {Cancelled(1, "d")});
  EXPECT_THAT(Told(), ElementsAre("1 throw", "1 b", "1 c", "1 d"));
}

TEST_F(InboxTest, AQueuedEventThatIsDeliveredAgainIsQueuedOnce) {
  testing::TestGroup group = Group();
  const Record record = Cancelled(1, "refuse");
  Receive(group, {record, record});
  EXPECT_THAT(Queue(), ElementsAre("1 queued: not now"));
}

TEST_F(InboxTest, AnEventThatWasHandledFromTheRetryQueueIsKnownWhenItComesAgain) {
  testing::TestGroup group = Group();
  const Record record = Cancelled(1, "refuse");
  Receive(group, {record});
  Mend();
  EXPECT_TRUE(RetriesUntil(group, [&] { return Queue().empty(); }));
  Receive(group, {record});
  EXPECT_THAT(Told(), ElementsAre("1 refuse"));
}

TEST_F(InboxTest, AfterItsLastAttemptAnEventIsADeadLetter) {
  testing::TestGroup group = Group();
  Receive(group, {Cancelled(1, "refuse"), Cancelled(1, "later")});
  EXPECT_TRUE(RetriesUntil(group, [&] { return ListRetryQueue(db_)[0].dead; }));
  EXPECT_EQ(ListRetryQueue(db_)[0].attempts, 3);
  EXPECT_FALSE(ListRetryQueue(db_)[1].dead);
  EXPECT_FALSE(group.retrier.RetryDue()) << "what stands behind a dead letter is not due";
  EXPECT_THAT(Told(), IsEmpty());
}

TEST_F(InboxTest, ADeadLetterIsPublishedWithTheReason) {
  testing::TestGroup group = Group();
  const Record record = Cancelled(7, "refuse");
  Receive(group, {record});
  EXPECT_TRUE(RetriesUntil(group, [&] { return ListRetryQueue(db_)[0].dead; }));
  const std::vector<Envelope> published = testing::PublishedEvents(db_);
  ASSERT_THAT(published, SizeIs(1));
  EXPECT_EQ(published[0].topic, "group.dead");
  EXPECT_EQ(published[0].key, "7");
  EXPECT_EQ(published[0].id, record.event.id);
  EXPECT_EQ(published[0].value, record.event.value);
  const std::map<std::string, std::string>& headers = published[0].headers;
  EXPECT_THAT(headers.at("dead_reason"), HasSubstr("not now"));
  EXPECT_EQ(headers.at("dead_topic"), "orders");
  EXPECT_EQ(headers.at("dead_attempts"), "3");
  EXPECT_EQ(headers.at("dead_letter_id"), std::to_string(ListRetryQueue(db_)[0].id));
}

TEST_F(InboxTest, ADeadLetterThatIsRedrivenIsHandledBeforeThoseBehindIt) {
  testing::TestGroup group = Group();
  Receive(group, {Cancelled(1, "refuse"), Cancelled(1, "later")});
  EXPECT_TRUE(RetriesUntil(group, [&] { return ListRetryQueue(db_)[0].dead; }));
  Mend();
  EXPECT_FALSE(group.retrier.RetryDue());
  EXPECT_TRUE(Redrive(db_, ListRetryQueue(db_)[0].id));
  EXPECT_TRUE(RetriesUntil(group, [&] { return Queue().empty(); }));
  EXPECT_THAT(Told(), ElementsAre("1 refuse", "1 later"));
}

TEST_F(InboxTest, ADiscardedEventLetsTheNextOnesGo) {
  testing::TestGroup group = Group();
  const Record record = Cancelled(1, "refuse");
  Receive(group, {record, Cancelled(1, "later")});
  EXPECT_TRUE(Discard(db_, ListRetryQueue(db_)[0].id));
  EXPECT_TRUE(RetriesUntil(group, [&] { return Queue().empty(); }));
  Mend();
  Receive(group, {record});
  EXPECT_THAT(Told(), ElementsAre("1 later"));
}

TEST_F(InboxTest, OnlyADeadLetterCanBeRedriven) {
  testing::TestGroup group = Group();
  Receive(group, {Cancelled(1, "refuse")});
  EXPECT_FALSE(Redrive(db_, ListRetryQueue(db_)[0].id));
  EXPECT_FALSE(Redrive(db_, 12345));
  EXPECT_FALSE(Discard(db_, 12345));
}

TEST_F(InboxTest, AnUnknownTypeIsADeadLetterAtOnce) {
  testing::TestGroup group = Group();
  const Record unknown = Unknown(1);
  const Record other = Cancelled(2, "other");
  const Record later = Cancelled(1, "later");
  EXPECT_TRUE(group.inbox.Take({&unknown, &other, &later}));
  EXPECT_THAT(Told(), ElementsAre("2 other"));
  EXPECT_THAT(Queue(), ElementsAre(HasSubstr("1 dead: is of a type that is neither"),
                                   "1 queued: waits for an earlier event of its key"));
  EXPECT_EQ(OutboxRows(), 1);
}

TEST_F(InboxTest, WhatComesBeforeADeadLetterOfItsKeyIsHandled) {
  testing::TestGroup group = Group();
  const Record before = Cancelled(1, "before");
  const Record unknown = Unknown(1);
  const Record later = Cancelled(1, "later");
  EXPECT_TRUE(group.inbox.Take({&before, &unknown, &later}));
  EXPECT_THAT(Told(), ElementsAre("1 before"));
  EXPECT_THAT(Queue(), ElementsAre(HasSubstr("1 dead: is of a type that is neither"),
                                   "1 queued: waits for an earlier event of its key"));
  ASSERT_TRUE(Discard(db_, ListRetryQueue(db_)[0].id));
  EXPECT_TRUE(RetriesUntil(group, [&] { return Queue().empty(); }));
  EXPECT_THAT(Told(), ElementsAre("1 before", "1 later"));
}

TEST_F(InboxTest, AnUnknownTypeThatWasDiscardedStaysGoneWhenItComesAgain) {
  testing::TestGroup group = Group();
  const Record unknown = Unknown(1);
  Receive(group, {unknown});
  ASSERT_TRUE(Discard(db_, ListRetryQueue(db_)[0].id));
  Receive(group, {unknown, Cancelled(1, "a")});
  EXPECT_THAT(Queue(), IsEmpty());
  EXPECT_THAT(Told(), ElementsAre("1 a"));
}

TEST_F(InboxTest, MalformedEventsAreDeadLettersAtOnce) {
  testing::TestGroup group = Group();
  Record no_json = Cancelled(1, "a");
  no_json.event.value = "{";
  Record empty = Cancelled(2, "a");
  empty.event.value = "";
  Record no_id = Cancelled(3, "a");
  no_id.event.id = "";
  Record no_type = Cancelled(4, "a");
  no_type.event.type = "";
  EXPECT_TRUE(group.inbox.Take({&no_json, &empty, &no_id, &no_type}));
  EXPECT_TRUE(group.inbox.Take({&no_id}));
  EXPECT_THAT(Told(), IsEmpty());
  EXPECT_THAT(Queue(),
              ElementsAre(HasSubstr("1 dead: is malformed"), HasSubstr("2 dead: is malformed"),
                          "3 dead: has no ce_id", "4 dead: has no ce_type"));
}

TEST_F(InboxTest, AnIgnoredTypeLeavesNothing) {
  testing::TestGroup group = Group();
  Record record = Cancelled(1, "a");
  record.event.type = "ORDER_CONFIRMED";
  EXPECT_TRUE(group.inbox.Take({&record}));
  EXPECT_THAT(Told(), IsEmpty());
  EXPECT_THAT(Queue(), IsEmpty());
}

TEST_F(InboxTest, ADependencyThatIsAwayCostsNoAttempt) {
  testing::TestGroup group = Group();
  const Record blocker = Cancelled(1, "refuse");
  Receive(group, {blocker, Cancelled(1, "away")});
  EXPECT_TRUE(Discard(db_, ListRetryQueue(db_)[0].id));
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(Eventually([&] { return group.retrier.RetryDue(); }));
  EXPECT_EQ(ListRetryQueue(db_)[0].attempts, 0);
  Mend();
  EXPECT_TRUE(RetriesUntil(group, [&] { return Queue().empty(); }));
  EXPECT_THAT(Told(), ElementsAre("1 away"));
}

TEST_F(InboxTest, LivePathAndRetriesOfAKeyNeverOvertakeEachOther) {
  RetryPolicy options = Impatient();
  options.attempts = 1'000'000;
  testing::TestGroup group = Group(options);
  std::atomic<bool> stop = false;
  std::thread retrying([&] {
    while (!stop) group.retrier.RetryDue();
  });
  std::vector<std::string> expected;
  for (int i = 0; i < 60; ++i) {
    // Every tenth fails until the next but two has come.
    if (i % 10 == 0) mended_ = false;
    if (i % 10 == 3) mended_ = true;
    const std::string reason = i % 10 == 0 ? "refuse" : std::to_string(i);
    Receive(group, {Cancelled(1, reason)});
    expected.push_back("1 " + reason);
  }
  EXPECT_TRUE(Eventually([&] { return Queue().empty(); }));
  stop = true;
  retrying.join();
  EXPECT_EQ(Told(), expected);
}

TEST_F(InboxTest, TwoConsumersOfTheSameEventsHaveOneEffect) {
  testing::TestGroup one = Group();
  testing::TestGroup other = Group();
  std::vector<Record> records;
  for (int i = 0; i < 50; ++i) records.push_back(Cancelled(i % 5, std::to_string(i)));
  std::vector<const Record*> all;
  for (const Record& record : records) all.push_back(&record);
  std::thread zombie([&] { EXPECT_TRUE(other.inbox.Take(all)); });
  EXPECT_TRUE(one.inbox.Take(all));
  zombie.join();
  EXPECT_EQ(Told().size(), 50u);
}

TEST_F(InboxTest, EventsOfOneKeyAreHandledOneAtATime) {
  std::atomic<int> inside = 0;
  std::atomic<int> most = 0;
  testing::TestGroup group(
      db_, "group",
      Handlers().On<OrderCancelled>(
          [&](Tx&, const OrderCancelled&, const Envelope&) -> Result<void> {
            most = std::max<int>(most, ++inside);
            // Gives the other one time to come in as well, should it be able to.
            if (Eventually([&] { return inside > 1; }, std::chrono::milliseconds(200))) {
              most = 2;
            }
            --inside;
            return kDone;
          }),
      Impatient());
  const Record one = Cancelled(1, "a");
  const Record other = Cancelled(1, "b");
  std::thread second([&] { EXPECT_TRUE(group.inbox.Take({&other})); });
  EXPECT_TRUE(group.inbox.Take({&one}));
  second.join();
  EXPECT_EQ(most, 1);
}

TEST_F(InboxTest, AReasonInAnyBytesIsKept) {
  testing::TestGroup group = Group();
  const Record record = Cancelled(1, "refuse");
  std::string reason(999, 'x');
  group.inbox.Enqueue(record, reason + "ä\xff");
  EXPECT_THAT(Queue(), ElementsAre(HasSubstr("xxx")));
}

TEST_F(InboxTest, EventsOfOneTypeAreHandedOverTogetherAndThoseOfAKeyInOrder) {
  std::vector<std::string> calls;
  const Handlers handlers =
      Handlers()
          .OnBatch<OrderCancelled>(
              [&](Tx& tx, const std::vector<Received<OrderCancelled>>& received) {
                std::string keys;
                std::vector<Envelope> published;
                for (const auto& [order, event] : received) {
                  keys += event.key + order.reason() + " ";
                  published.push_back(MakeEvent(order, {.source = "test", .trace = event.trace}));
                }
                calls.push_back(keys);
                Publish(tx, published);
                return Result<void>(kDone);
              })
          .On<events::v1::OrderShipped>(
              [&](Tx&, const events::v1::OrderShipped&, const Envelope& event) -> Result<void> {
                calls.push_back(event.key + " shipped");
                return kDone;
              })
          .Ignore<events::v1::OrderConfirmed>();
  const auto shipped = [](int64_t key) {
    events::v1::OrderShipped message;
    message.set_order_id(key);
    return MakeEvent(message, {.source = "test", .trace = TraceContext::New()});
  };
  Envelope confirmed = Cancelled(5, "").event;
  confirmed.type = "ORDER_CONFIRMED";
  const Envelope twice = Cancelled(2, R"("b\)").event;
  ASSERT_TRUE(testing::Deliver(
      db_, handlers, "group",
      {Cancelled(1, "a").event, confirmed, twice, twice, shipped(1), Cancelled(3, "c").event,
       Cancelled(1, "d").event, shipped(3), Cancelled(2, "e").event}));
  EXPECT_THAT(calls, ElementsAre(R"(1a 2"b\ 3c 2e )", "1 shipped", "3 shipped", "1d "));
  const pqxx::result published = Read(db_, [](Tx& tx) {
    return tx.Run(
        "SELECT string_agg(key || (value::json ->> 'reason'), ' ' ORDER BY id) FROM outbox");
  });
  EXPECT_EQ(published[0][0].as<std::string>(), R"(1a 2"b\ 3c 2e 1d)");
}

// Of one key alone: the others' retries go on beside a dead letter and beside one that never works.
TEST_F(InboxTest, ADeadLetterStopsNoRetryOfAnotherKey) {
  testing::TestGroup group = Group();
  Receive(group, {Unknown(1), Cancelled(2, "refuse")});
  Mend();
  EXPECT_TRUE(RetriesUntil(group, [&] { return Queue().size() == 1; }));
  EXPECT_THAT(Told(), ElementsAre("2 refuse"));
}

TEST_F(InboxTest, TheHeadOfAQueuedKeyStopsNoRetryOfAnotherKey) {
  RetryPolicy patient = Impatient();
  patient.attempts = 1'000'000;
  std::atomic<bool> mended = false;
  testing::TestGroup group(
      db_, "group",
      Handlers().On<OrderCancelled>(
          [&](Tx& tx, const OrderCancelled& order, const Envelope& event) -> Result<void> {
            tx.Exec(kTell, event.key, order.reason());
            if (order.reason() == "never" || !mended) {
              return Refusal{Code::kFailedPrecondition, "not now"};
            }
            return kDone;
          }),
      patient);
  Receive(group,
          {Cancelled(1, "never"), Cancelled(1, "b"), Cancelled(2, "soon"), Cancelled(2, "d")});
  mended = true;
  EXPECT_TRUE(RetriesUntil(group, [&] { return Queue().size() == 2; }));
  EXPECT_THAT(Told(), ElementsAre("2 soon", "2 d"));
}

// The relay repeats: the same event stands at two places of the topic.
TEST_F(InboxTest, ARetryOfAnEventThatWasHandledMeanwhileChangesNothing) {
  testing::TestGroup group = Group();
  const Record record = Cancelled(1, "refuse");
  Record repeat = record;
  repeat.position = next_position_++;
  Receive(group, {record, repeat});
  ASSERT_EQ(Queue().size(), 2u);
  Mend();
  EXPECT_TRUE(RetriesUntil(group, [&] { return Queue().empty(); }));
  EXPECT_THAT(Told(), ElementsAre("1 refuse"));
}

TEST_F(InboxTest, TheInboxForgetsOnlyWhatIsOlderThanItsRetention) {
  testing::TestGroup group = Group();
  const Record old = Cancelled(1, "old");
  const Record young = Cancelled(2, "young");
  const Record fresh = Cancelled(3, "fresh");
  ASSERT_TRUE(group.inbox.Take({&old, &young, &fresh}));
  const auto age = [&](const Record& record, const char* by) {
    InTransaction(db_, [&](Tx& tx) {
      tx.ExecOnce("UPDATE inbox SET seen_at = now() - $2::interval WHERE event_id = $1",
                  record.event.id, by);
    });
  };
  age(old, "1 year");
  age(young, "29 days");
  group.inbox.ForgetOld();
  Receive(group, {young, fresh, old});
  EXPECT_THAT(Told(), ElementsAre("1 old", "2 young", "3 fresh", "1 old"));
}

TEST_F(InboxTest, AStopEndsARoundOfRetries) {
  std::atomic<int> calls = 0;
  testing::TestGroup group(db_, "group",
                           Handlers().On<OrderCancelled>(
                               [&](Tx&, const OrderCancelled&, const Envelope&) -> Result<void> {
                                 if (++calls > 3) stop_.request_stop();
                                 return Refusal{Code::kFailedPrecondition, "not now"};
                               }),
                           Impatient());
  Receive(group, {Cancelled(1, "a"), Cancelled(2, "b"), Cancelled(3, "c")});
  ASSERT_TRUE(Eventually([&] {
    group.retrier.RetryDue(stop_.get_token());
    return calls > 3;
  }));
  EXPECT_EQ(calls, 4);
}

// A group whose handler asks before it writes down what it was told, with the answer.
class AskingTest : public InboxTest {
 protected:
  using Cancellations = std::vector<Received<OrderCancelled>>;

  testing::TestGroup Asking() {
    return testing::TestGroup(
        db_, "group",
        Handlers()
            .OnAsked<OrderCancelled, std::string>(
                [this](const Cancellations& received) -> Result<std::string> {
                  std::string keys;
                  for (const auto& [order, event] : received) {
                    keys += event.key + order.reason();
                  }
                  asked_.push_back(keys);
                  return ask_(received);
                },
                [this](Tx& tx, const Cancellations& received, const std::string& answer) {
                  for (const auto& [order, event] : received) {
                    tx.Exec(kTell, event.key, order.reason() + answer);
                  }
                  return apply_(tx);
                })
            .On<events::v1::OrderShipped>(
                [](Tx& tx, const events::v1::OrderShipped&, const Envelope& event) -> Result<void> {
                  tx.Exec(kTell, event.key, "shipped");
                  return kDone;
                })
            .Ignore<events::v1::OrderConfirmed>(),
        Impatient());
  }
  Record Shipped(int64_t key) {
    events::v1::OrderShipped message;
    message.set_order_id(key);
    return {.event = MakeEvent(message, {.source = "test", .trace = TraceContext::New()}),
            .partition = 1,
            .position = next_position_++};
  }
  static size_t Taken(testing::TestGroup& group, const std::vector<const Record*>& records) {
    const Result<size_t> taken = group.inbox.Take(records);
    EXPECT_TRUE(taken) << taken.refusal().message;
    return taken ? *taken : 0;
  }

  std::vector<std::string> asked_;  // the keys and reasons of each time
  std::function<Result<std::string>(const Cancellations&)> ask_ =
      [](const Cancellations&) -> Result<std::string> { return std::string("!"); };
  std::function<Result<void>(Tx&)> apply_ = [](Tx&) -> Result<void> { return kDone; };
};

TEST_F(AskingTest, EventsInARowAreAskedForTogetherAndAppliedWithTheAnswer) {
  testing::TestGroup group = Asking();
  Record ignored = Cancelled(5, "");
  ignored.event.type = "ORDER_CONFIRMED";
  const Record a = Cancelled(1, "a");
  const Record b = Cancelled(2, "b");
  EXPECT_EQ(Taken(group, {&a, &ignored, &b, &b}), 4u);
  EXPECT_THAT(asked_, ElementsAre("1a2b"));
  EXPECT_THAT(Told(), ElementsAre("1 a!", "2 b!"));
}

TEST_F(AskingTest, NoConnectionAndNoLockIsKeptWhileOthersAreAsked) {
  postgres::Settings one = database_.settings();
  one.connections = 1;
  one.application = "asker";
  one.acquire_timeout = std::chrono::milliseconds(100);
  postgres::Pool only(one);
  int locks = -1;
  testing::TestGroup group(
      only, "group",
      Handlers().OnAsked<OrderCancelled, Done>(
          [&](const Cancellations&) -> Result<Done> {
            locks = Read(only, [](Tx& tx) {
              return tx
                  .Run(
                      "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
                      " AND database = (SELECT oid FROM pg_database"
                      "                 WHERE datname = current_database())")[0][0]
                  .as<int>();
            });
            EXPECT_EQ(Read(db_,
                           [](Tx& tx) {
                             return tx
                                 .Run(
                                     "SELECT count(*) FROM pg_stat_activity WHERE"
                                     " application_name = 'asker' AND datname ="
                                     " current_database() AND state <> 'idle'")[0][0]
                                 .as<int>();
                           }),
                      0);
            return kDone;
          },
          [](Tx& tx, const Cancellations& received, const Done&) -> Result<void> {
            tx.Exec(kTell, received.front().event.key, "done");
            return kDone;
          }),
      Impatient());
  const Record live = Cancelled(1, "a");
  EXPECT_EQ(Taken(group, {&live}), 1u);
  EXPECT_EQ(locks, 0);
  locks = -1;
  group.inbox.Enqueue(Cancelled(2, "b"), "not now");
  EXPECT_TRUE(RetriesUntil(group, [&] { return Queue().empty(); }));
  EXPECT_EQ(locks, 0);
  EXPECT_THAT(Told(), ElementsAre("1 done", "2 done"));
}

TEST_F(AskingTest, ATransactionThatIsRepeatedDoesNotAskAgain) {
  testing::TestGroup group = Asking();
  std::atomic<int> runs = 0;
  apply_ = [&](Tx& tx) -> Result<void> {
    if (++runs == 1) {
      tx.Run("DO $$ BEGIN RAISE EXCEPTION 'conflict' USING ERRCODE = '40001'; END $$");
    }
    return kDone;
  };
  const Record live = Cancelled(1, "a");
  EXPECT_EQ(Taken(group, {&live}), 1u);
  EXPECT_EQ(runs, 2);
  runs = 0;
  group.inbox.Enqueue(Cancelled(2, "b"), "not now");
  EXPECT_TRUE(RetriesUntil(group, [&] { return Queue().empty(); }));
  EXPECT_EQ(runs, 2);
  EXPECT_THAT(asked_, ElementsAre("1a", "2b"));
  EXPECT_THAT(Told(), ElementsAre("1 a!", "2 b!"));
}

TEST_F(AskingTest, WhatWasHandledIsNotAskedForAgain) {
  testing::TestGroup group = Asking();
  const Record a = Cancelled(1, "a");
  const Record b = Cancelled(2, "b");
  Taken(group, {&a});
  Taken(group, {&a, &b});
  Taken(group, {&a, &b});
  group.inbox.Enqueue(a, "seems to be new");
  EXPECT_TRUE(RetriesUntil(group, [&] { return Queue().empty(); }));
  EXPECT_THAT(asked_, ElementsAre("1a", "2b"));
  EXPECT_THAT(Told(), ElementsAre("1 a!", "2 b!"));
}

TEST_F(AskingTest, WhatWaitsForAnEarlierEventIsAskedForAfterIt) {
  testing::TestGroup group = Asking();
  group.inbox.Enqueue(Cancelled(1, "a"), "not now");
  const Record b = Cancelled(1, "b");
  const Record other = Cancelled(2, "c");
  EXPECT_EQ(Taken(group, {&b, &other}), 2u);
  EXPECT_TRUE(RetriesUntil(group, [&] { return Queue().empty(); }));
  EXPECT_THAT(asked_, ElementsAre("2c", "1a", "1b"));
  EXPECT_THAT(Told(), ElementsAre("2 c!", "1 a!", "1 b!"));
}

TEST_F(AskingTest, WhatComesBeforeADeadLetterOfItsKeyIsAskedForAndHandled) {
  testing::TestGroup group = Asking();
  const Record before = Cancelled(1, "a");
  const Record unknown = Unknown(1);
  const Record later = Cancelled(1, "b");
  EXPECT_EQ(Taken(group, {&before, &unknown, &later}), 3u);
  EXPECT_THAT(asked_, ElementsAre("1a"));
  EXPECT_THAT(Told(), ElementsAre("1 a!"));
}

TEST_F(AskingTest, WhatComesBeforeAQuestionIsCommittedByThen) {
  testing::TestGroup group = Asking();
  ask_ = [&](const Cancellations&) -> Result<std::string> { return std::to_string(Told().size()); };
  const Record a = Cancelled(1, "a");
  const Record shipped = Shipped(1);
  const Record b = Cancelled(1, "b");
  const Record c = Cancelled(2, "c");
  EXPECT_EQ(Taken(group, {&a, &shipped, &b, &c}), 2u);
  EXPECT_EQ(Taken(group, {&b, &c}), 2u);
  EXPECT_THAT(Told(), ElementsAre("1 a0", "1 shipped", "1 b2", "2 c2"));
}

TEST_F(AskingTest, QuestionsOfSeveralTypesShareATransactionUnlessTheyAreOfOneKey) {
  using Shipments = std::vector<Received<events::v1::OrderShipped>>;
  const auto tell = [](Tx& tx, const auto& received, const std::string& answer) -> Result<void> {
    for (const auto& [order, event] : received) tx.Exec(kTell, event.key, answer);
    return kDone;
  };
  testing::TestGroup group(db_, "group",
                           Handlers()
                               .OnAsked<OrderCancelled, std::string>(
                                   [](const Cancellations& received) -> Result<std::string> {
                                     return "cancelled with " + std::to_string(received.size());
                                   },
                                   tell)
                               .OnAsked<events::v1::OrderShipped, std::string>(
                                   [this](const Shipments& received) -> Result<std::string> {
                                     return "shipped with " + std::to_string(received.size()) +
                                            " after " + std::to_string(Told().size());
                                   },
                                   tell),
                           Impatient());
  const Record first = Cancelled(1, "");
  const Record second = Shipped(2);
  const Record third = Cancelled(3, "");
  const Record fourth = Shipped(4);
  const Record fifth = Shipped(1);
  EXPECT_EQ(Taken(group, {&first, &second, &third, &fourth, &fifth}), 4u);
  EXPECT_EQ(Taken(group, {&fifth}), 1u);
  EXPECT_THAT(Told(),
              ElementsAre("1 cancelled with 2", "3 cancelled with 2", "2 shipped with 2 after 0",
                          "4 shipped with 2 after 0", "1 shipped with 1 after 4"));
}

TEST_F(AskingTest, WhatAnotherConsumerHandledMeanwhileIsAskedForAnewWithoutIt) {
  testing::TestGroup group = Asking();
  testing::TestGroup other = Asking();
  const Record a = Cancelled(1, "a");
  const Record b = Cancelled(2, "b");
  ask_ = [&](const Cancellations&) -> Result<std::string> {
    if (asked_.size() == 1) Taken(other, {&a});  // in the middle of the first question
    return std::to_string(asked_.size());
  };
  EXPECT_EQ(Taken(group, {&a, &b}), 2u);
  EXPECT_THAT(asked_, ElementsAre("1a2b", "1a", "2b"));
  EXPECT_THAT(Told(), ElementsAre("1 a2", "2 b3"));
}

TEST_F(AskingTest, ARefusedQuestionKeepsNothingAndIsAskedAgain) {
  testing::TestGroup group = Asking();
  ask_ = [&](const Cancellations&) -> Result<std::string> {
    if (asked_.size() == 1) return Refusal{Code::kNotFound, "not yet"};
    return std::string("!");
  };
  const Record a = Cancelled(1, "a");
  EXPECT_FALSE(group.inbox.Take({&a}));
  EXPECT_THAT(Told(), IsEmpty());
  EXPECT_EQ(Taken(group, {&a}), 1u);
  EXPECT_THAT(Told(), ElementsAre("1 a!"));
}

TEST_F(InboxTest, DeliverAnswersTheRefusal) {
  const Handlers handlers = Handlers().On<OrderCancelled>(
      [](Tx&, const OrderCancelled&, const Envelope&) -> Result<void> {
        return Refusal{Code::kNotFound, "no"};
      });
  const Result<void> outcome = testing::Deliver(db_, handlers, "group", Cancelled(1, "a").event);
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.refusal().code, Code::kNotFound);
  EXPECT_FALSE(testing::Deliver(db_, handlers, "group", Unknown(1).event));
  EXPECT_THAT(Queue(), IsEmpty());
}

// What a handler is given as the trace of its event, and publishes under.
TEST_F(InboxTest, WhatIsDoneForAnEventIsASpanOfItsTrace) {
  testing::RecordedSpans spans;
  TraceContext given;
  testing::TestGroup group(
      db_, "group",
      Handlers().On<OrderCancelled>(
          [&](Tx&, const OrderCancelled&, const Envelope& event) -> Result<void> {
            given = event.trace;
            return kDone;
          }));
  Record record = Cancelled(7, "fine");
  record.event.trace =
      TraceContext::FromHeader("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
  record.event.trace.request_id = "r-1";
  ASSERT_TRUE(group.inbox.Take({&record}));
  const SpanRecord process = spans.Find("process orders");
  EXPECT_EQ(process.context.trace_id, record.event.trace.trace_id);
  EXPECT_EQ(process.parent_span_id, record.event.trace.span_id);
  EXPECT_EQ(process.context.span_id, given.span_id);
  EXPECT_EQ(given.RequestId(), "r-1");
  EXPECT_EQ(testing::AttributeOf(process, "shop.event.type"), "ORDER_CANCELLED");
  EXPECT_EQ(testing::AttributeOf(process, "messaging.kafka.message.key"), "7");
  EXPECT_EQ(testing::AttributeOf(process, "shop.event.outcome"), "handled");
  EXPECT_EQ(spans.Find("COMMIT").parent_span_id, process.context.span_id);
}

TEST_F(InboxTest, ABatchIsASpanInEachTraceAndTheOthersLinkToTheFirst) {
  testing::RecordedSpans spans;
  testing::TestGroup group = Group();
  const std::vector<Record> records{Cancelled(1, "a"), Cancelled(2, "b"), Cancelled(3, "c")};
  ASSERT_TRUE(group.inbox.Take({&records[0], &records[1], &records[2]}));
  std::vector<SpanRecord> process = spans.All();
  std::erase_if(process, [](const SpanRecord& span) { return span.name != "process orders"; });
  ASSERT_THAT(process, SizeIs(3));
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(process[i].context.trace_id, records[i].event.trace.trace_id);
    EXPECT_EQ(testing::AttributeOf(process[i], "messaging.batch.message_count"), "3");
    if (i == 0) continue;
    ASSERT_THAT(process[i].links, SizeIs(1));
    EXPECT_EQ(process[i].links[0].span_id, process[0].context.span_id);
  }
  EXPECT_EQ(spans.Find("COMMIT").parent_span_id, process[0].context.span_id);
}

TEST_F(InboxTest, ARefusalInCompanyIsNoSpanAndAloneItIsAFailedOne) {
  testing::RecordedSpans spans;
  testing::TestGroup group = Group();
  const std::vector<Record> records{Cancelled(1, "fine"), Cancelled(2, "refuse")};
  EXPECT_FALSE(group.inbox.Take({&records[0], &records[1]}));
  EXPECT_THAT(spans.All(), IsEmpty());
  EXPECT_FALSE(group.inbox.Take({&records[1]}));
  EXPECT_TRUE(spans.Find("process orders").failed);
  EXPECT_THAT(spans.Find("process orders").error, HasSubstr("not now"));
}

}  // namespace
}  // namespace shop::messaging
