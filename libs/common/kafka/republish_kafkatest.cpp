// From the outbox to the topic once more, and to a group that missed it.
#include "common/messaging/outbox.h"
#include "common/messaging/republish.h"

#include <gmock/gmock.h>

#include "common/kafka/consumer.h"
#include "common/kafka/relay.h"
#include "common/messaging/handlers.h"
#include "common/messaging/positions.h"
#include "common/testing/kafka_test.h"

namespace shop::kafka {
namespace {

using events::v1::OrderCancelled;
using postgres::Tx;
using ::testing::ElementsAre;
using testing::Eventually;
using ::testing::SizeIs;
using testing::TopicRecord;
using testing::UniqueName;

class RepublishTest : public testing::KafkaTest {
 protected:
  RepublishTest() : KafkaTest(1) {}

  void Write(const std::vector<std::string>& reasons) {
    InTransaction(db_, [&](Tx& tx) {
      for (const std::string& reason : reasons) messaging::Publish(tx, Cancelled(1, reason));
    });
  }
  bool AllPublished() {
    return Eventually([&] {
      return Read(db_, [](Tx& tx) {
        return tx.Run("SELECT count(*) = 0 FROM outbox WHERE published_at IS NULL")[0][0]
            .as<bool>();
      });
    });
  }
  std::vector<std::string> Ids() {
    std::vector<std::string> ids;
    for (const TopicRecord& record : testing::ReadTopic(topic_, 6, std::chrono::seconds(10))) {
      ids.push_back(record.headers.at("ce_id"));
    }
    return ids;
  }
};

TEST_F(RepublishTest, WhatWasPublishedComesAgainInItsOrderWithTheSameIds) {
  const OutboxRelay relay(brokers_, db_);
  Write({"a", "b", "c"});
  ASSERT_TRUE(AllPublished());
  EXPECT_EQ(messaging::Republish(db_, topic_, std::nullopt).events, 3);
  ASSERT_TRUE(AllPublished());
  const std::vector<std::string> ids = Ids();
  ASSERT_THAT(ids, SizeIs(6));
  EXPECT_THAT(std::vector(ids.begin() + 3, ids.end()), ElementsAre(ids[0], ids[1], ids[2]));
}

// The whole way of the runbook: away for too long, published again, told to go on.
TEST_F(RepublishTest, AGroupThatMissedEventsConsumesThemInOrderAfterwards) {
  const OutboxRelay relay(brokers_, db_);
  Write({"a"});
  const auto consume = [&] {
    return std::make_unique<Consumer>(brokers_, group_, std::vector{topic_}, db_,
                                      messaging::Handlers().On<OrderCancelled>(Tell));
  };
  auto consumer = consume();
  ASSERT_TRUE(Eventually([&] { return Told().size() == 1; }));
  consumer.reset();

  Write({"b", "c", "d"});
  ASSERT_TRUE(AllPublished());
  testing::DeleteRecords(topic_, 0, 3);  // d is still there: consumed now, it would pass b and c
  consumer = consume();
  ASSERT_TRUE(Eventually([&] { return messaging::ListGaps(db_).size() == 1; }));

  // In a test all of it happens within the minute that clocks may differ by.
  const std::string now = Read(
      db_, [](Tx& tx) { return tx.Run("SELECT clock_timestamp()::text")[0][0].as<std::string>(); });
  EXPECT_EQ(messaging::Republish(db_, topic_, std::nullopt).events, 4);
  EXPECT_EQ(messaging::ResumeGaps(db_, group_, topic_, now), 1);
  ASSERT_TRUE(Eventually([&] { return Told().size() == 4 && consumer->ready(); }));
  EXPECT_THAT(Told(), ElementsAre("a", "b", "c", "d")) << "what was consumed before is a repeat";
}

}  // namespace
}  // namespace shop::kafka
