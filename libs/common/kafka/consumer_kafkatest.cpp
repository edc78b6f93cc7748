#include "common/kafka/consumer.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <thread>

#include "common/core/deadline.h"
#include "common/kafka/client.h"
#include "common/kafka/relay.h"
#include "common/messaging/handlers.h"
#include "common/messaging/retry_queue.h"
#include "common/telemetry/metrics.h"
#include "common/testing/kafka_test.h"
#include "common/testing/mock_kafka.h"

namespace shop::kafka {
namespace {

using events::v1::OrderCancelled;
using postgres::Tx;
using ::testing::ElementsAre;
using testing::Eventually;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::MakeTopic;
using testing::UniqueName;

// A group that writes down what it is told, in order. A reason of "refuse" is refused, and "away"
// finds a dependency away, until Mend is called.
class ConsumerTest : public testing::KafkaTest {
 protected:
  ConsumerTest() : KafkaTest(6) {}

  std::unique_ptr<Consumer> StartConsumer(
      std::atomic<int>* calls = nullptr,
      std::chrono::milliseconds interval = ConsumerOptions().interval) {
    return std::make_unique<Consumer>(
        brokers_, group_, std::vector{topic_}, db_,
        messaging::Handlers().On<OrderCancelled>(
            [this, calls](Tx& tx, const OrderCancelled& order,
                          const messaging::Envelope& event) -> Result<void> {
              ++(calls ? *calls : calls_);
              (void)Tell(tx, order, event);
              if (mended_) return kDone;
              if (order.reason() == "refuse") return Refusal{Code::kInternal, "not now"};
              if (order.reason() == "throw") throw std::runtime_error("broken");
              if (order.reason() == "away") return Refusal{Code::kUnavailable, "away"};
              if (order.reason() == "gone") throw Unavailable("gone");
              return kDone;
            }),
        ConsumerOptions{.retry = {.attempts = 3,
                                  .first_pause = std::chrono::milliseconds(1),
                                  .longest_pause = std::chrono::milliseconds(20)},
                        .poll = std::chrono::milliseconds(20),
                        .interval = interval});
  }
  int CountTransactions() {
    return Read(db_, [](Tx& tx) {
      return tx.Run("SELECT count(DISTINCT xmin::text) FROM told")[0][0].as<int>();
    });
  }
  void Mend() { mended_ = true; }

  size_t CountTold() { return Told().size(); }
  std::vector<messaging::QueuedEvent> Queue() { return messaging::ListRetryQueue(db_); }

  // The sum of the group's offsets.
  int64_t CountCommitted() { return CountCommitted(brokers_); }
  int64_t CountCommitted(const KafkaSettings& brokers) {
    ClientLog log;
    std::string error;
    const std::unique_ptr<RdKafka::KafkaConsumer> observer(RdKafka::KafkaConsumer::create(
        MakeConf(brokers, &log, {{"group.id", group_}}).get(), error));
    std::vector<RdKafka::TopicPartition*> places;
    for (int i = 0; i < 6; ++i) places.push_back(RdKafka::TopicPartition::create(topic_, i));
    int64_t sum = 0;
    if (observer->committed(places, 5'000) == RdKafka::ERR_NO_ERROR) {
      for (const RdKafka::TopicPartition* place : places) {
        sum += std::max<int64_t>(place->offset(), 0);
      }
    }
    RdKafka::TopicPartition::destroy(places);
    observer->close();
    return sum;
  }

  std::atomic<bool> mended_ = false;
  std::atomic<int> calls_ = 0;
};

TEST_F(ConsumerTest, EventsFromBeforeTheGroupLivedAreConsumed) {
  Publish({Cancelled(1, "a"), Cancelled(1, "b")});
  const auto consumer = StartConsumer();
  EXPECT_TRUE(Eventually([&] { return CountTold() == 2; }));
  EXPECT_THAT(Told(), ElementsAre("a", "b"));
}

TEST_F(ConsumerTest, ASecondDeliveryChangesNothing) {
  const auto consumer = StartConsumer();
  const messaging::Envelope event = Cancelled(1, "a");
  Publish({event, event, Cancelled(1, "b")});
  Publish({event, Cancelled(1, "c")});
  EXPECT_TRUE(Eventually([&] { return CountTold() == 3; }));
  EXPECT_THAT(Told(), ElementsAre("a", "b", "c"));
}

TEST_F(ConsumerTest, AStoppedConsumerGoesOnWhereItWas) {
  auto consumer = StartConsumer();
  Publish({Cancelled(1, "a"), Cancelled(2, "b")});
  ASSERT_TRUE(Eventually([&] { return CountTold() == 2; }));
  consumer.reset();
  Publish({Cancelled(1, "c")});
  consumer = StartConsumer();
  ASSERT_TRUE(Eventually([&] { return CountTold() == 3; }));
  EXPECT_EQ(calls_, 3) << "the offsets were not committed";
}

// Also those of a consumer that is never stopped in order.
TEST_F(ConsumerTest, OffsetsAreCommittedAsEventsAreHandled) {
  const auto consumer = StartConsumer();
  Publish({Cancelled(1, "a"), Cancelled(2, "b"), Cancelled(3, "refuse")});
  EXPECT_TRUE(Eventually([&] { return CountCommitted() == 3; }));
}

TEST_F(ConsumerTest, ARefusedEventBlocksItsKeyAlone) {
  const auto consumer = StartConsumer();
  Publish({Cancelled(1, "refuse"), Cancelled(1, "b"), Cancelled(2, "x"), Cancelled(3, "y")});
  EXPECT_TRUE(Eventually([&] { return CountTold() == 2 && Queue().size() == 2; }));
  Publish({Cancelled(1, "c"), Cancelled(2, "z")});
  EXPECT_TRUE(Eventually([&] { return CountTold() == 3 && Queue().size() == 3; }));
  EXPECT_THAT(Told("1"), IsEmpty());
  EXPECT_THAT(Told("2"), ElementsAre("x", "z"));
}

TEST_F(ConsumerTest, ABlockedKeyIsHandledInOrderAfterwards) {
  const auto consumer = StartConsumer();
  Publish({Cancelled(1, "throw"), Cancelled(1, "b")});
  ASSERT_TRUE(Eventually([&] { return Queue().size() == 2; }));
  Mend();
  Publish({Cancelled(1, "c")});
  // It may have died meanwhile, and is then a person's to send back.
  EXPECT_TRUE(Eventually([&] {
    for (const messaging::QueuedEvent& event : Queue()) messaging::Redrive(db_, event.id);
    return CountTold() == 3;
  }));
  EXPECT_THAT(Told("1"), ElementsAre("throw", "b", "c"));
}

TEST_F(ConsumerTest, ADependencyThatIsAwayPausesEverythingAndLosesNothing) {
  const auto consumer = StartConsumer();
  ASSERT_TRUE(Eventually([&] { return consumer->ready(); }));
  Publish({Cancelled(1, "a")});
  ASSERT_TRUE(Eventually([&] { return CountTold() == 1; }));
  Publish({Cancelled(1, "away"), Cancelled(1, "c")});
  ASSERT_TRUE(Eventually([&] { return !consumer->ready() && calls_ >= 5; }));
  EXPECT_THAT(Told(), ElementsAre("a"));
  EXPECT_THAT(Queue(), IsEmpty());
  Mend();
  EXPECT_TRUE(Eventually([&] { return CountTold() == 3 && consumer->ready(); }));
  Publish({Cancelled(1, "d")});
  EXPECT_TRUE(Eventually([&] { return CountTold() == 4; })) << "the partitions stayed paused";
  EXPECT_THAT(Told(), ElementsAre("a", "away", "c", "d"));
}

TEST_F(ConsumerTest, AnUnavailableThatIsThrownPausesToo) {
  const auto consumer = StartConsumer();
  std::vector<messaging::Envelope> events{Cancelled(1, "gone")};
  std::vector<std::string> reasons{"gone"};
  for (int i = 0; i < 300; ++i) {
    reasons.push_back(std::to_string(i));
    events.push_back(Cancelled(1, reasons.back()));
  }
  Publish(events);
  ASSERT_TRUE(Eventually([&] { return calls_ >= 4; }));
  EXPECT_THAT(Queue(), IsEmpty());
  Mend();
  EXPECT_TRUE(Eventually([&] { return CountTold() == 301; }));
  EXPECT_EQ(Told(), reasons);
}

TEST_F(ConsumerTest, ADatabaseThatIsAwayLosesNothing) {
  const auto consumer = StartConsumer();
  Publish({Cancelled(1, "a")});
  ASSERT_TRUE(Eventually([&] { return CountTold() == 1; }));
  postgres::Settings elsewhere = database_.settings();
  elsewhere.database = "postgres";
  postgres::Pool server(elsewhere);
  const auto allow = [&](const std::string& answer) {
    Read(server, [&](Tx& tx) {
      return tx.Run("ALTER DATABASE " + database_.settings().database + " ALLOW_CONNECTIONS " +
                    answer);
    });
  };
  allow("false");
  Read(server, [&](Tx& tx) {
    return tx.Run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '" +
                  database_.settings().database + "'");
  });
  Publish({Cancelled(1, "b"), Cancelled(2, "c")});
  EXPECT_TRUE(Eventually([&] { return !consumer->ready(); }));
  allow("true");
  EXPECT_TRUE(Eventually([&] { return CountTold() == 3; }));
  EXPECT_THAT(Queue(), IsEmpty());
}

TEST_F(ConsumerTest, AnUnknownTypeIsADeadLetterAndNotSkipped) {
  const auto consumer = StartConsumer();
  messaging::Envelope unknown = Cancelled(1, "a");
  unknown.type = "ORDER_FORGOTTEN";
  Publish({unknown, Cancelled(1, "b"), Cancelled(2, "c")});
  EXPECT_TRUE(Eventually([&] { return Queue().size() == 2 && CountTold() == 1; }));
  EXPECT_TRUE(Queue()[0].dead);
  EXPECT_THAT(Queue()[0].reason, HasSubstr("ORDER_FORGOTTEN"));
  EXPECT_THAT(Told(), ElementsAre("c"));
}

TEST_F(ConsumerTest, BytesThatAreNoEventAreADeadLetter) {
  const auto consumer = StartConsumer();
  messaging::Envelope noise;
  noise.topic = topic_;
  noise.key = "\xff";
  noise.value = std::string("\0\xfe", 2);
  Publish({noise, Cancelled(2, "c")});
  EXPECT_TRUE(Eventually([&] { return Queue().size() == 1 && CountTold() == 1; }));
  EXPECT_EQ(Queue()[0].value, "\\x00fe");
}

TEST_F(ConsumerTest, ADeadLetterGoesToTheDeadTopic) {
  MakeTopic(group_ + ".dead", 1);
  const OutboxRelay relay(brokers_, db_);
  const auto consumer = StartConsumer();
  const messaging::Envelope event = Cancelled(1, "refuse");
  Publish({event});
  const std::vector<testing::TopicRecord> dead = testing::ReadTopic(group_ + ".dead", 1);
  ASSERT_EQ(dead.size(), 1u);
  EXPECT_EQ(dead[0].headers.at("ce_id"), event.id);
  EXPECT_EQ(dead[0].value, event.value);
  EXPECT_THAT(dead[0].headers.at("dead_reason"), HasSubstr("not now"));
  EXPECT_EQ(dead[0].headers.at("dead_topic"), topic_);
}

TEST_F(ConsumerTest, ADeadLetterThatIsRedrivenIsHandled) {
  const auto consumer = StartConsumer();
  Publish({Cancelled(1, "refuse"), Cancelled(1, "b")});
  ASSERT_TRUE(Eventually([&] { return Queue().size() == 2 && Queue()[0].dead; }));
  Mend();
  EXPECT_TRUE(messaging::Redrive(db_, Queue()[0].id));
  EXPECT_TRUE(Eventually([&] { return Queue().empty(); }));
  EXPECT_THAT(Told(), ElementsAre("refuse", "b"));
}

TEST_F(ConsumerTest, ManyEventsShareATransaction) {
  std::vector<messaging::Envelope> events;
  for (int i = 0; i < 500; ++i) events.push_back(Cancelled(i % 7, std::to_string(i)));
  Publish(events);
  const auto consumer = StartConsumer();
  ASSERT_TRUE(Eventually([&] { return CountTold() == 500; }));
  EXPECT_LT(CountTransactions(), 250);
}

TEST_F(ConsumerTest, ALoneEventIsHandledAtOnceAndWhatComesSoonAfterItWaits) {
  {
    const auto consumer = StartConsumer(nullptr, std::chrono::minutes(10));
    Publish({Cancelled(1, "a")});
    ASSERT_TRUE(Eventually([&] { return CountTold() == 1; })) << "nothing was handled before";
    Publish({Cancelled(2, "b")});
    Publish({Cancelled(3, "c")});
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    EXPECT_EQ(CountTold(), 1u);
  }
  const auto consumer = StartConsumer();
  EXPECT_TRUE(Eventually([&] { return CountTold() == 3; })) << "a stop loses what waited";
}

TEST_F(ConsumerTest, EventsThatTrickleInTakeFewTransactions) {
  constexpr std::chrono::seconds kInterval{1};
  const auto consumer = StartConsumer(nullptr, kInterval);
  const auto begun = std::chrono::steady_clock::now();
  for (int i = 0; i < 100; ++i) Publish({Cancelled(i, std::to_string(i))});
  ASSERT_TRUE(Eventually([&] { return CountTold() == 100; }));
  EXPECT_LE(CountTransactions(), (std::chrono::steady_clock::now() - begun) / kInterval + 2);
}

// Consumers come and go while events are published; each event has its effect once, in its key's
// order.
TEST_F(ConsumerTest, RebalancesLoseAndRepeatNothing) {
  constexpr int kEvents = 600;
  constexpr int kKeys = 12;
  auto one = StartConsumer();
  std::thread publishing([&] {
    for (int i = 0; i < kEvents; i += 6) {
      std::vector<messaging::Envelope> some;
      for (int j = i; j < i + 6; ++j) some.push_back(Cancelled(j % kKeys, std::to_string(j)));
      Publish(some);
    }
  });
  ASSERT_TRUE(Eventually([&] { return CountTold() > kEvents / 10; }));
  auto two = StartConsumer();
  ASSERT_TRUE(Eventually([&] { return two->ready() && CountTold() > kEvents / 4; }));
  one.reset();
  auto three = StartConsumer();
  publishing.join();
  EXPECT_TRUE(Eventually([&] { return CountTold() >= kEvents; }));
  two.reset();
  three.reset();
  EXPECT_EQ(CountTold(), static_cast<size_t>(kEvents));
  for (int key = 0; key < kKeys; ++key) {
    std::vector<std::string> expected;
    for (int i = key; i < kEvents; i += kKeys) expected.push_back(std::to_string(i));
    EXPECT_EQ(Told(std::to_string(key)), expected);
  }
}

TEST_F(ConsumerTest, OneBadEventAmongManyIsQueuedAlone) {
  std::vector<messaging::Envelope> events;
  for (int i = 0; i < 60; ++i) events.push_back(Cancelled(i, i == 30 ? "refuse" : "good"));
  Publish(events);
  const auto consumer = StartConsumer();
  EXPECT_TRUE(Eventually([&] { return CountTold() == 59; }));
  ASSERT_EQ(Queue().size(), 1u);
  EXPECT_EQ(Queue()[0].key, "30");
  EXPECT_EQ(Queue()[0].id, 1) << "others were queued meanwhile";
}

TEST_F(ConsumerTest, AWaitingConsumerLetsGoOfWhatItHasNotFinished) {
  std::vector<messaging::Envelope> events;
  for (int i = 0; i < 30; ++i) events.push_back(Cancelled(i, "away"));
  Publish(events);
  std::atomic<int> calls_of_one = 0;
  std::atomic<int> calls_of_two = 0;
  const auto one = StartConsumer(&calls_of_one);
  ASSERT_TRUE(Eventually([&] { return calls_of_one >= 3; }));
  const auto two = StartConsumer(&calls_of_two);
  ASSERT_TRUE(Eventually([&] { return calls_of_two >= 1; }));
  Mend();
  EXPECT_TRUE(Eventually([&] { return CountTold() == 30; }));
  EXPECT_TRUE(Eventually([&] { return CountCommitted() == 30; }));
  const prometheus::Counter& repeated = CounterFamily("consumer_events_total", "")
                                            .Add({{"group", group_},
                                                  {"topic", topic_},
                                                  {"type", "ORDER_CANCELLED"},
                                                  {"outcome", "repeated"}});
  EXPECT_EQ(repeated.Value(), 0);
}

TEST_F(ConsumerTest, StopsWithinSecondsWhileWaiting) {
  auto consumer = StartConsumer();
  Publish({Cancelled(1, "away")});
  ASSERT_TRUE(Eventually([&] { return calls_ >= 3; }));
  const auto begin = std::chrono::steady_clock::now();
  consumer->Stop();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
}

// messaging::Handlers that know nothing of the stop: it waits for the one that runs and begins no other.
TEST_F(ConsumerTest, AStopBeginsNoFurtherRetry) {
  std::atomic<int> calls = 0;
  const auto group = [&] {
    return std::make_unique<Consumer>(
        brokers_, group_, std::vector{topic_}, db_,
        messaging::Handlers().On<OrderCancelled>(
            [&](Tx&, const OrderCancelled&, const messaging::Envelope&) {
              // The first time into the retry queue; there it takes as long as it likes.
              if (++calls > 3) {
                EXPECT_TRUE(Eventually([] { return DeadlineScope::HasPassed(); }));
              }
              return Result<void>(Refusal{Code::kInternal, "not now"});
            }),
        ConsumerOptions{.retry = {.attempts = 1'000,
                                  .first_pause = std::chrono::milliseconds(1),
                                  .longest_pause = std::chrono::milliseconds(2)},
                        .poll = std::chrono::milliseconds(5)});
  };
  auto consumer = group();
  Publish({Cancelled(1, "a"), Cancelled(2, "b"), Cancelled(3, "c")});
  ASSERT_TRUE(Eventually([&] { return calls > 3; }));
  const auto begin = std::chrono::steady_clock::now();
  consumer->Stop();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
  // The live path may have been in the middle of one as well.
  EXPECT_LE(calls, 5);
}

TEST_F(ConsumerTest, AStopEndsWhatAHandlerWaitsFor) {
  std::atomic<int> inside = 0;
  Consumer consumer(brokers_, group_, {topic_}, db_,
                    messaging::Handlers().On<OrderCancelled>(
                        [&](Tx& tx, const OrderCancelled& order, const messaging::Envelope&) {
                          if (order.reason() == "refuse" && !mended_) {
                            return Result<void>(Refusal{Code::kInternal, "not now"});
                          }
                          ++inside;
                          tx.Run("SELECT pg_sleep(100)");
                          return Result<void>(kDone);
                        }),
                    {.retry = {.attempts = 1'000,
                               .first_pause = std::chrono::milliseconds(1),
                               .longest_pause = std::chrono::milliseconds(2)},
                     .poll = std::chrono::milliseconds(5)});
  Publish({Cancelled(1, "refuse")});
  ASSERT_TRUE(Eventually([&] { return Queue().size() == 1; }));
  Mend();
  Publish({Cancelled(2, "live")});
  ASSERT_TRUE(Eventually([&] { return inside == 2; })) << "one live, one in the retry queue";
  const auto begin = std::chrono::steady_clock::now();
  consumer.Stop();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
  EXPECT_EQ(Queue().size(), 1u) << "the stop was taken for the event's fault";
  EXPECT_FALSE(Queue()[0].dead);
}

// With nothing more to come: nobody else would commit it.
TEST_F(ConsumerTest, OffsetsThatKafkaDoesNotTakeAreCommittedAgain) {
  testing::MockKafka kafka;
  kafka.MakeTopic(topic_, 6);
  const KafkaSettings brokers{.brokers = kafka.addresses()};
  Producer producer(brokers, "test");
  const Consumer consumer(brokers, group_, {topic_}, db_,
                          messaging::Handlers().On<OrderCancelled>(Tell), {});
  kafka.RefuseCommits(2);
  ASSERT_TRUE(producer.Publish({Cancelled(1, "a")}, [] { return true; })[0].acknowledged);
  ASSERT_TRUE(Eventually([&] { return CountTold() == 1; }));
  EXPECT_TRUE(Eventually([&] { return CountCommitted(brokers) == 1; }));
}

TEST_F(ConsumerTest, StopsWithinSecondsWhileTheBrokersAreAway) {
  testing::MockKafka kafka;
  kafka.MakeTopic(topic_, 6);
  Producer producer({.brokers = kafka.addresses()}, "test");
  Consumer consumer({.brokers = kafka.addresses()}, group_, {topic_}, db_,
                    messaging::Handlers().On<OrderCancelled>(Tell), {});
  ASSERT_TRUE(producer.Publish({Cancelled(1, "a")}, [] { return true; })[0].acknowledged);
  ASSERT_TRUE(Eventually([&] { return CountTold() == 1; }));
  kafka.Down();
  const auto begin = std::chrono::steady_clock::now();
  consumer.Stop();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
}

}  // namespace
}  // namespace shop::kafka
