// What is read of topics, on a real broker.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "common/kafka/producer.h"
#include "common/messaging/event.h"
#include "common/testing/servers.h"
#include "common/testing/topics.h"
#include "reconciler/databases.h"
#include "reconciler/topics.h"
#include "shop/events/v1/orders.pb.h"

namespace shop::reconciler {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int64_t kHour = 3600;
constexpr int64_t kNoLimit = 1'000'000;

class TopicsTest : public ::testing::Test {
 protected:
  TopicsTest() {
    testing::MakeTopic(topic_, 3);
    // A broker may take a moment to lead what was made.
    EXPECT_TRUE(testing::Eventually([&] {
      try {
        return KafkaTopics(brokers_, {topic_}).Ends().size() == 3;
      } catch (const Unreadable&) {
        return false;
      }
    }));
  }

  // Answers the event's id.
  std::string Publish(const std::string& topic, const std::string& key) {
    messaging::Envelope event = messaging::MakeEvent(
        events::v1::OrderCancelled(), {.source = "orders", .trace = TraceContext::New()});
    event.topic = topic;
    event.key = key;
    for (const kafka::Outcome& outcome : producer_.Publish({event}, [] { return true; })) {
      EXPECT_TRUE(outcome.acknowledged) << outcome.refusal;
    }
    return event.id;
  }
  TopicContents Read(int64_t seconds, int64_t most = kNoLimit) {
    return KafkaTopics(brokers_, {topic_}).Read({topic_}, seconds, most);
  }

  const kafka::KafkaSettings brokers_{.brokers = testing::Server("KAFKA_BOOTSTRAP_SERVERS")};
  const std::string topic_ = testing::UniqueName();
  kafka::Producer producer_{brokers_, "test"};
};

TEST_F(TopicsTest, ReadsTheEventsOfAllPartitionsOnceEach) {
  std::vector<std::string> ids;
  for (int key = 0; key < 50; ++key) ids.push_back(Publish(topic_, std::to_string(key)));
  const TopicContents contents = Read(kHour);
  EXPECT_EQ(contents.records, 50);
  EXPECT_THAT(contents.events, SizeIs(50));
  for (const std::string& id : ids) EXPECT_TRUE(contents.Has(id));
  EXPECT_FALSE(contents.Has("another"));
  EXPECT_THAT(contents.orders, IsEmpty()) << "only topic orders tells of orders";
}

TEST_F(TopicsTest, AnEmptyTopicHasNone) {
  EXPECT_EQ(Read(kHour).records, 0);
}

TEST_F(TopicsTest, ReadsNothingFromBeforeTheWindow) {
  Publish(topic_, "1");
  EXPECT_EQ(Read(-kHour).records, 0) << "a window that begins in an hour";
}

TEST_F(TopicsTest, MoreThanTheMostShortensTheWindow) {
  for (int key = 0; key < 5; ++key) Publish(topic_, std::to_string(key));
  EXPECT_EQ(Read(kHour, 5).seconds, kHour);
  EXPECT_LT(Read(kHour, 4).seconds, kHour);
}

TEST_F(TopicsTest, KnowsTheOrdersThatTheTopicOfOrdersTellsOf) {
  testing::MakeTopic("orders", 6);
  const int64_t order = 1'000'000'000'000 + std::hash<std::string>()(topic_) % 1'000'000'000;
  Publish("orders", std::to_string(order));
  Publish("orders", std::to_string(order));
  Publish("orders", topic_);  // no number
  const TopicContents contents =
      KafkaTopics(brokers_, {"orders"}).Read({"orders"}, kHour, kNoLimit);
  EXPECT_EQ(std::ranges::count(contents.orders, order), 1);
}

TEST_F(TopicsTest, SaysWhereTheyEnd) {
  Publish(topic_, "1");
  int64_t sum = 0;
  const auto ends = KafkaTopics(brokers_, {topic_}).Ends();
  for (const auto& [place, end] : ends) sum += end;
  EXPECT_THAT(ends, SizeIs(3));
  EXPECT_EQ(sum, 1);
}

TEST_F(TopicsTest, ABrokerThatIsAwayIsNamed) {
  KafkaTopics away({.brokers = "127.0.0.1:1"}, {topic_});
  EXPECT_THROW(away.Ends(), Unreadable);
}

}  // namespace
}  // namespace shop::reconciler
