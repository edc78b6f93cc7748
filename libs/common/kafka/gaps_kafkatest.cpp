// A consumer whose next record its topic no longer has, or never had.
#include <gmock/gmock.h>

#include <atomic>

#include "common/kafka/consumer.h"
#include "common/kafka/held.h"
#include "common/kafka/positions.h"
#include "common/kafka/producer.h"
#include "common/telemetry/metrics.h"
#include "common/testing/database.h"
#include "common/testing/servers.h"
#include "common/testing/topics.h"
#include "messaging_migrations.h"
#include "shop/events/v1/orders.pb.h"

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

constexpr postgres::Statement kTell{"INSERT INTO told (reason) VALUES ($1)"};

KafkaSettings Brokers() {
  return {.brokers = testing::Server("KAFKA_BOOTSTRAP_SERVERS")};
}

class GapsTest : public ::testing::Test {
 protected:
  GapsTest() {
    postgres::Migrate(db_, {kMessagingMigrations});
    InTransaction(
        db_, [](Tx& tx) { tx.Run("CREATE TABLE told (id bigserial PRIMARY KEY, reason text)"); });
    MakeTopic(topic_, 1);
  }

  std::unique_ptr<Consumer> Consume() {
    return std::make_unique<Consumer>(
        Brokers(), group_, std::vector{topic_}, db_,
        Handlers().On<OrderCancelled>(
            [](Tx& tx, const OrderCancelled& order, const Event&) -> Result<void> {
              tx.Exec(kTell, order.reason());
              return kDone;
            }));
  }
  void Publish(const std::vector<std::string>& reasons, const std::string& topic = "") {
    std::vector<Event> events;
    for (const std::string& reason : reasons) {
      OrderCancelled message;
      message.set_order_id(1);
      message.set_reason(reason);
      events.push_back(Compose(message, {.source = "orders", .trace = {}}));
      events.back().topic = topic.empty() ? topic_ : topic;
    }
    for (const Outcome& outcome : producer_.Publish(events, [] { return true; })) {
      ASSERT_TRUE(outcome.acknowledged) << outcome.refusal;
    }
  }
  // Consumes what is there, and stops.
  void ConsumeAll(size_t count) {
    const auto consumer = Consume();
    ASSERT_TRUE(Eventually([&] { return Told().size() == count; }));
  }
  std::vector<std::string> Told() {
    std::vector<std::string> told;
    for (const auto& row :
         Read(db_, [](Tx& tx) { return tx.Run("SELECT reason FROM told ORDER BY id"); })) {
      told.push_back(row[0].as<std::string>());
    }
    return told;
  }
  bool Noted() {
    return Eventually([&] { return !ListGaps(db_).empty(); });
  }
  double Missing() {
    return prometheus::BuildGauge()
        .Name("consumer_missing_events")
        .Register(Metrics())
        .Add({{"group", group_}, {"topic", topic_}, {"partition", "0"}})
        .Value();
  }

  const std::string topic_ = UniqueName();
  const std::string group_ = UniqueName();
  testing::TestDatabase database_;
  postgres::Pool db_{database_.settings()};
  Producer producer_{Brokers(), "test"};
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
  const std::vector<Gap> gaps = ListGaps(db_);
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
  ASSERT_TRUE(Eventually([&] { return ListGaps(db_).front().until == 6; }));
  EXPECT_FALSE(consumer->ready());
  EXPECT_THAT(Told(), ElementsAre("a", "b"));
}

TEST_F(GapsTest, AnOperatorsWordLetsItGoOnWithTheFirstEventThereIs) {
  Publish({"a", "b", "c", "d"});
  testing::DeleteRecords(topic_, 0, 1);
  SavePositions(db_, group_, {{{topic_, 0}, 0}});
  auto consumer = Consume();
  ASSERT_TRUE(Noted());
  EXPECT_EQ(ResumeGaps(db_, group_, topic_, std::nullopt), 1);
  EXPECT_TRUE(Eventually([&] { return Told().size() == 3 && consumer->ready(); }));
  EXPECT_THAT(Told(), ElementsAre("b", "c", "d"));
  EXPECT_THAT(ListGaps(db_), IsEmpty());
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
  SavePositions(db_, group_, {{{topic_, 0}, 0}});
  const auto consumer = Consume();
  ASSERT_TRUE(Noted());
  const std::string now = Read(
      db_, [](Tx& tx) { return tx.Run("SELECT clock_timestamp()::text")[0][0].as<std::string>(); });
  Publish({"a again", "cancelled again"});
  EXPECT_EQ(ResumeGaps(db_, group_, topic_, now), 1);
  EXPECT_TRUE(Eventually([&] { return Told().size() == 2 && consumer->ready(); }));
  EXPECT_THAT(Told(), ElementsAre("a again", "cancelled again"));
}

TEST_F(GapsTest, AWordOnAnotherGapIsNoWord) {
  Publish({"a", "b", "c", "d"});
  testing::DeleteRecords(topic_, 0, 1);
  NoteGap(db_,
          {.group = group_, .topic = topic_, .partition = 0, .next = 0, .first = 1, .until = 4});
  ResumeGaps(db_, group_, topic_, std::nullopt);
  testing::DeleteRecords(topic_, 0, 3);
  SavePositions(db_, group_, {{{topic_, 0}, 0}});
  const auto consumer = Consume();
  ASSERT_TRUE(Eventually([&] { return ListGaps(db_).front().first == 3; }));
  EXPECT_FALSE(ListGaps(db_).front().resume);
  EXPECT_THAT(Told(), IsEmpty());
}

// Kafka forgets the offsets of a group that was away for long; the database does not.
TEST_F(GapsTest, AGroupThatKafkaHasForgottenGoesOnWhereItWas) {
  Publish({"a", "b", "c"});
  SavePositions(db_, group_, {{{topic_, 0}, 2}});
  const auto consumer = Consume();
  EXPECT_TRUE(Eventually([&] { return Told().size() == 1; }));
  EXPECT_THAT(Told(), ElementsAre("c"));
}

TEST_F(GapsTest, WhatIsConsumedIsKeptAsPositions) {
  Publish({"a", "b", "c"});
  const auto consumer = Consume();
  EXPECT_TRUE(Eventually([&] {
    const auto positions = Positions(db_, group_);
    return positions.contains({topic_, 0}) && positions.at({topic_, 0}) == 3;
  }));
}

TEST_F(GapsTest, ANewGroupStartsWithTheFirstEventThereIs) {
  Publish({"a", "b", "c"});
  testing::DeleteRecords(topic_, 0, 2);
  const auto consumer = Consume();
  EXPECT_TRUE(Eventually([&] { return Told().size() == 1 && consumer->ready(); }));
  EXPECT_THAT(Told(), ElementsAre("c"));
  EXPECT_THAT(ListGaps(db_), IsEmpty());
}

// A topic that was made again, or a broker that lost its last records.
TEST_F(GapsTest, ATopicThatEndsBeforeTheNextEventIsAGapToo) {
  Publish({"a"});
  SavePositions(db_, group_, {{{topic_, 0}, 100}});
  const auto consumer = Consume();
  ASSERT_TRUE(Noted());
  EXPECT_FALSE(consumer->ready());
  EXPECT_THAT(Told(), IsEmpty());
  ResumeGaps(db_, group_, topic_, std::nullopt);
  EXPECT_TRUE(Eventually([&] { return Told().size() == 1 && consumer->ready(); }));
}

TEST_F(GapsTest, OtherTopicsGoOn) {
  const std::string other = UniqueName();
  MakeTopic(other, 1);
  Publish({"a", "b"});
  testing::DeleteRecords(topic_, 0, 1);
  SavePositions(db_, group_, {{{topic_, 0}, 0}});
  const Consumer consumer(Brokers(), group_, {topic_, other}, db_,
                          Handlers().On<OrderCancelled>([](Tx& tx, const OrderCancelled& order,
                                                           const Event&) -> Result<void> {
                            tx.Exec(kTell, order.reason());
                            return kDone;
                          }));
  ASSERT_TRUE(Noted());
  Publish({"x"}, other);
  EXPECT_TRUE(Eventually([&] { return Told().size() == 1; }));
  EXPECT_THAT(Told(), ElementsAre("x"));
  EXPECT_FALSE(consumer.ready());
}

}  // namespace
}  // namespace shop::kafka
