#include "common/kafka/topic_ends.h"

#include "common/core/result.h"
#include "common/testing/kafka_test.h"
#include "common/testing/servers.h"

namespace shop::kafka {
namespace {

using testing::Eventually;

class TopicEndsTest : public testing::KafkaTest {
 protected:
  TopicEndsTest() : KafkaTest(2) {}
};

TEST_F(TopicEndsTest, HaveEveryPartitionAndGrowWithWhatIsPublished) {
  TopicEnds ends(brokers_, {topic_});
  const std::map<messaging::Place, int64_t> empty = {{{topic_, 0}, 0}, {{topic_, 1}, 0}};
  // The brokers may not have found a leader for a new topic yet; then it throws.
  std::map<messaging::Place, int64_t> now;
  ASSERT_TRUE(Eventually([&] {
    try {
      now = ends.Now();
      return true;
    } catch (const Unavailable&) {
      return false;
    }
  }));
  EXPECT_EQ(now, empty);
  Publish({Cancelled(1, "a"), Cancelled(1, "b"), Cancelled(1, "c")});
  int64_t records = 0;
  for (const auto& [place, end] : ends.Now()) records += end;
  EXPECT_EQ(records, 3);
}

TEST_F(TopicEndsTest, ATopicThatIsNotThereHasNone) {
  TopicEnds ends(brokers_, {topic_, topic_ + "-missing"});
  EXPECT_THROW((void)ends.Now(), Unavailable);
}

}  // namespace
}  // namespace shop::kafka
