// A consumer whose next record its topic no longer has, or never had.
#include <gmock/gmock.h>

#include <atomic>
#include <map>
#include <thread>

#include "common/kafka/consumer.h"
#include "common/messaging/handlers.h"
#include "common/messaging/positions.h"
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
using ::testing::IsEmpty;
using testing::MakeTopic;
using ::testing::SizeIs;
using testing::UniqueName;

class GapsTest : public testing::KafkaTest {
 protected:
  GapsTest() : KafkaTest(1) {}

  std::unique_ptr<Consumer> Consume() {
    return std::make_unique<Consumer>(brokers_, group_, std::vector{topic_}, db_,
                                      messaging::Handlers().On<OrderCancelled>(Tell));
  }
  void Publish(const std::vector<std::string>& reasons, const std::string& topic = "") {
    std::vector<messaging::Envelope> events;
    for (const std::string& reason : reasons) {
      events.push_back(Cancelled(1, reason));
      if (!topic.empty()) events.back().topic = topic;
    }
    KafkaTest::Publish(events);
  }
  // Consumes what is there, commits it, which a stop has little time for, and stops.
  void ConsumeAll(int count) {
    const auto consumer = Consume();
    ASSERT_TRUE(Eventually([&] { return Position() == count; }));
  }
  bool Noted() {
    return Eventually([&] { return !messaging::ListGaps(db_).empty(); });
  }
  // Waits until the noted gap says that the topic ends here.
  bool NotedUntil(int64_t until) {
    return Eventually([&] {
      const std::vector<messaging::Gap> gaps = messaging::ListGaps(db_);
      return gaps.size() == 1 && gaps[0].until == until;
    });
  }
  // The position that the database has of the partition, -1 without one.
  int64_t Position() {
    const auto positions = messaging::Positions(db_, group_);
    const auto found = positions.find({topic_, 0});
    return found == positions.end() ? -1 : found->second;
  }
  double Missing() {
    return prometheus::BuildGauge()
        .Name("consumer_missing_events")
        .Register(Metrics())
        .Add({{"group", group_}, {"topic", topic_}, {"partition", "0"}})
        .Value();
  }
};

TEST_F(GapsTest, AConsumerWhoseNextEventIsGoneSaysSoAndSkipsNothing) {
  Publish({"a", "b"});
  ConsumeAll(2);
  Publish({"c", "d", "e"});
  testing::DeleteRecords(topic_, 0, 4);

  auto consumer = Consume();
  ASSERT_TRUE(Noted());
  EXPECT_FALSE(consumer->ready());
  EXPECT_EQ(Missing(), 2);
  const std::vector<messaging::Gap> gaps = messaging::ListGaps(db_);
  ASSERT_THAT(gaps, SizeIs(1));
  EXPECT_EQ(gaps[0].group, group_);
  EXPECT_EQ(gaps[0].topic, topic_);
  EXPECT_EQ(gaps[0].next, 2);
  EXPECT_EQ(gaps[0].first, 4);
  EXPECT_EQ(gaps[0].until, 5);
  EXPECT_NE(gaps[0].consumed_at, "unknown");

  // Also after a restart, and however much comes.
  Publish({"f"});
  consumer = Consume();
  ASSERT_TRUE(Eventually([&] { return messaging::ListGaps(db_).front().until == 6; }));
  EXPECT_FALSE(consumer->ready());
  EXPECT_THAT(Told(), ElementsAre("a", "b"));
}

TEST_F(GapsTest, AnOperatorsWordLetsItGoOnWithTheFirstEventThereIs) {
  Publish({"a", "b", "c", "d"});
  testing::DeleteRecords(topic_, 0, 1);
  messaging::SavePositions(db_, group_, {{{topic_, 0}, 0}});
  auto consumer = Consume();
  ASSERT_TRUE(Noted());
  EXPECT_EQ(messaging::ResumeGaps(db_, group_, topic_, std::nullopt), 1);
  EXPECT_TRUE(Eventually([&] { return Told().size() == 3 && consumer->ready(); }));
  EXPECT_THAT(Told(), ElementsAre("b", "c", "d"));
  EXPECT_THAT(messaging::ListGaps(db_), IsEmpty());
  EXPECT_EQ(Missing(), 0);

  // The place is kept, not only the word.
  consumer.reset();
  Publish({"e"});
  consumer = Consume();
  EXPECT_TRUE(Eventually([&] { return Told().size() == 4; }));
}

// What was published again comes after events that would otherwise be consumed before it.
TEST_F(GapsTest, ItGoesOnFromATimeWhereThatIsTheWord) {
  Publish({"a", "cancelled too early"});
  testing::DeleteRecords(topic_, 0, 1);
  messaging::SavePositions(db_, group_, {{{topic_, 0}, 0}});
  const auto consumer = Consume();
  ASSERT_TRUE(Noted());
  const std::string now = Read(
      db_, [](Tx& tx) { return tx.Run("SELECT clock_timestamp()::text")[0][0].as<std::string>(); });
  Publish({"a again", "cancelled again"});
  EXPECT_EQ(messaging::ResumeGaps(db_, group_, topic_, now), 1);
  EXPECT_TRUE(Eventually([&] { return Told().size() == 2 && consumer->ready(); }));
  EXPECT_THAT(Told(), ElementsAre("a again", "cancelled again"));
}

TEST_F(GapsTest, AWordOnAnotherGapIsNoWord) {
  Publish({"a", "b", "c", "d"});
  testing::DeleteRecords(topic_, 0, 1);
  messaging::NoteGap(
      db_, {.group = group_, .topic = topic_, .partition = 0, .next = 0, .first = 1, .until = 4});
  messaging::ResumeGaps(db_, group_, topic_, std::nullopt);
  testing::DeleteRecords(topic_, 0, 3);
  messaging::SavePositions(db_, group_, {{{topic_, 0}, 0}});
  const auto consumer = Consume();
  ASSERT_TRUE(Eventually([&] { return messaging::ListGaps(db_).front().first == 3; }));
  EXPECT_FALSE(messaging::ListGaps(db_).front().resume);
  EXPECT_THAT(Told(), IsEmpty());
}

// Kafka forgets the offsets of a group that was away for long; the database does not.
TEST_F(GapsTest, AGroupThatKafkaHasForgottenGoesOnWhereItWas) {
  Publish({"a", "b", "c"});
  messaging::SavePositions(db_, group_, {{{topic_, 0}, 2}});
  const auto consumer = Consume();
  EXPECT_TRUE(Eventually([&] { return Told().size() == 1; }));
  EXPECT_THAT(Told(), ElementsAre("c"));
}

TEST_F(GapsTest, WhatIsConsumedIsKeptAsPositions) {
  Publish({"a", "b", "c"});
  const auto consumer = Consume();
  EXPECT_TRUE(Eventually([&] { return Position() == 3; }));
}

// Of an operator's SINCE: what the group consumed last, not when it was started last.
TEST_F(GapsTest, APositionThatIsKeptAgainIsAsOldAsBefore) {
  const auto saved_at = [&] {
    return Read(db_, [](Tx& tx) {
      return tx.Run("SELECT saved_at::text FROM consumer_positions")[0][0].as<std::string>();
    });
  };
  messaging::SavePositions(db_, group_, {{{topic_, 0}, 1}});
  const std::string first = saved_at();
  messaging::SavePositions(db_, group_, {{{topic_, 0}, 1}});
  EXPECT_EQ(saved_at(), first);
  messaging::SavePositions(db_, group_, {{{topic_, 0}, 2}});
  EXPECT_NE(saved_at(), first);
}

// A partition may be quiet for longer than Kafka keeps the offsets of a group that is away.
TEST_F(GapsTest, AGroupThatHasConsumedNothingYetIsNoNewOneLater) {
  {
    const auto consumer = Consume();
    ASSERT_TRUE(Eventually([&] { return Position() == 0; }));
  }
  // Kafka knows nothing of this group.
  const std::string forgotten = UniqueName();
  messaging::SavePositions(db_, forgotten, messaging::Positions(db_, group_));
  group_ = forgotten;
  Publish({"a", "b", "c"});
  testing::DeleteRecords(topic_, 0, 2);
  const auto consumer = Consume();
  ASSERT_TRUE(Noted());
  EXPECT_EQ(messaging::ListGaps(db_)[0].next, 0);
  EXPECT_EQ(Missing(), 2);
  EXPECT_THAT(Told(), IsEmpty());
}

TEST_F(GapsTest, WhereKafkaSaysThatAGroupStandsIsKeptBeforeItConsumesAnything) {
  Publish({"a", "b"});
  ConsumeAll(2);
  InTransaction(db_, [](Tx& tx) { tx.Run("DELETE FROM consumer_positions"); });
  const auto consumer = Consume();
  EXPECT_TRUE(Eventually([&] { return Position() == 2; }));
}

TEST_F(GapsTest, ANewGroupStartsWithTheFirstEventThereIs) {
  Publish({"a", "b", "c"});
  testing::DeleteRecords(topic_, 0, 2);
  const auto consumer = Consume();
  EXPECT_TRUE(Eventually([&] { return Told().size() == 1 && consumer->ready(); }));
  EXPECT_THAT(Told(), ElementsAre("c"));
  EXPECT_THAT(messaging::ListGaps(db_), IsEmpty());
}

// A topic that was made again, or a broker that lost its last records.
TEST_F(GapsTest, ATopicThatEndsBeforeTheNextEventIsAGapToo) {
  Publish({"a"});
  messaging::SavePositions(db_, group_, {{{topic_, 0}, 100}});
  const auto consumer = Consume();
  ASSERT_TRUE(Noted());
  EXPECT_FALSE(consumer->ready());
  EXPECT_THAT(Told(), IsEmpty());
  messaging::ResumeGaps(db_, group_, topic_, std::nullopt);
  EXPECT_TRUE(Eventually([&] { return Told().size() == 1 && consumer->ready(); }));
}

// The group would go on behind records that it has not consumed: those in the places of the lost.
TEST_F(GapsTest, AGapAtTheEndOfATopicStaysWhenTheTopicGrowsPastIt) {
  Publish({"a"});
  messaging::SavePositions(db_, group_, {{{topic_, 0}, 2}});
  const auto consumer = Consume();
  ASSERT_TRUE(NotedUntil(1));
  Publish({"b", "c", "d"});
  ASSERT_TRUE(NotedUntil(4));
  EXPECT_FALSE(consumer->ready());
  EXPECT_EQ(Missing(), 1);
  EXPECT_THAT(Told(), IsEmpty());

  EXPECT_EQ(messaging::ResumeGaps(db_, group_, topic_, std::nullopt), 1);
  EXPECT_TRUE(Eventually([&] { return Told().size() == 4 && consumer->ready(); }));
  EXPECT_THAT(Told(), ElementsAre("a", "b", "c", "d"));
}

TEST_F(GapsTest, AGapAtTheEndOfATopicStaysWhenTheTopicGrowsPastItDuringARestart) {
  Publish({"a"});
  messaging::SavePositions(db_, group_, {{{topic_, 0}, 2}});
  auto consumer = Consume();
  ASSERT_TRUE(NotedUntil(1));
  consumer.reset();
  Publish({"b", "c", "d"});
  consumer = Consume();
  ASSERT_TRUE(NotedUntil(4));
  EXPECT_FALSE(consumer->ready());
  EXPECT_THAT(Told(), IsEmpty());

  EXPECT_EQ(messaging::ResumeGaps(db_, group_, topic_, std::nullopt), 1);
  EXPECT_TRUE(Eventually([&] { return Told().size() == 4 && consumer->ready(); }));
}

// As a consumer leaves it that ends after it has committed where it goes on.
TEST_F(GapsTest, AGapThatWasLeftBehindIsForgottenAtTheNextStart) {
  Publish({"a", "b"});
  ConsumeAll(2);
  for (const int64_t next : {1, 100}) {
    messaging::NoteGap(
        db_,
        {.group = group_, .topic = topic_, .partition = 0, .next = next, .first = 2, .until = 2});
    messaging::ResumeGaps(db_, group_, topic_, std::nullopt);
    const auto consumer = Consume();
    EXPECT_TRUE(Eventually([&] { return messaging::ListGaps(db_).empty() && consumer->ready(); }))
        << next;
  }
  EXPECT_THAT(Told(), ElementsAre("a", "b"));
}

// The group has received two records, which wait for a dependency, when those behind them go.
TEST_F(GapsTest, WhatWasReceivedBeforeAGapIsConsumedBeforeItIsLeft) {
  std::atomic<int> calls = 0;
  std::atomic<int> calls_of_b = 0;
  std::atomic<bool> a_works = false;
  std::atomic<bool> b_works = false;
  Publish({"a", "b"});
  const Consumer consumer(brokers_, group_, {topic_}, db_,
                          messaging::Handlers().On<OrderCancelled>(
                              [&](Tx& tx, const OrderCancelled& order,
                                  const messaging::Envelope& event) -> Result<void> {
                                ++calls;
                                if (!a_works) throw Unavailable("away");
                                if (order.reason() == "b" && !b_works) {
                                  // The first time for as long as the next fetch takes to find the gap.
                                  if (++calls_of_b == 1)
                                    std::this_thread::sleep_for(std::chrono::seconds(2));
                                  throw Unavailable("away");
                                }
                                return Tell(tx, order, event);
                              }),
                          {.batch = 2});
  ASSERT_TRUE(Eventually([&] { return calls >= 2; }));
  Publish({"c", "d"});
  testing::DeleteRecords(topic_, 0, 4);
  messaging::NoteGap(
      db_, {.group = group_, .topic = topic_, .partition = 0, .next = 2, .first = 4, .until = 4});
  messaging::ResumeGaps(db_, group_, topic_, std::nullopt);
  a_works = true;
  ASSERT_TRUE(Eventually([&] { return calls_of_b >= 4 || messaging::ListGaps(db_).empty(); }));
  EXPECT_THAT(messaging::ListGaps(db_), SizeIs(1));
  b_works = true;
  EXPECT_TRUE(Eventually([&] { return messaging::ListGaps(db_).empty() && consumer.ready(); }));
  EXPECT_THAT(Told(), ElementsAre("a", "b"));
}

TEST_F(GapsTest, StopsWithinSecondsWithManyGapsWhileTheBrokersAreAway) {
  constexpr int kPartitions = 20;
  testing::MockKafka kafka;
  kafka.MakeTopic(topic_, kPartitions);
  std::map<messaging::Place, int64_t> positions;
  for (int i = 0; i < kPartitions; ++i) positions[{topic_, i}] = 100;
  messaging::SavePositions(db_, group_, positions);
  Consumer consumer({.brokers = kafka.addresses()}, group_, {topic_}, db_,
                    messaging::Handlers().On<OrderCancelled>(
                        [](Tx&, const OrderCancelled&, const messaging::Envelope&) {
                          return Result<void>(kDone);
                        }),
                    {});
  ASSERT_TRUE(Eventually([&] { return messaging::ListGaps(db_).size() == kPartitions; }));
  kafka.Down();
  // By then it looks at the gaps again, and waits for the brokers at each.
  std::this_thread::sleep_for(std::chrono::seconds(2));
  const auto begin = std::chrono::steady_clock::now();
  consumer.Stop();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(7));
}

TEST_F(GapsTest, OtherTopicsGoOn) {
  const std::string other = UniqueName();
  MakeTopic(other, 1);
  Publish({"a", "b"});
  testing::DeleteRecords(topic_, 0, 1);
  messaging::SavePositions(db_, group_, {{{topic_, 0}, 0}});
  const Consumer consumer(brokers_, group_, {topic_, other}, db_,
                          messaging::Handlers().On<OrderCancelled>(Tell));
  ASSERT_TRUE(Noted());
  Publish({"x"}, other);
  EXPECT_TRUE(Eventually([&] { return Told().size() == 1; }));
  EXPECT_THAT(Told(), ElementsAre("x"));
  EXPECT_FALSE(consumer.ready());
}

}  // namespace
}  // namespace shop::kafka
