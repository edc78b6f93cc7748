// What librdkafka is told, on a real broker.
#include "common/kafka/client.h"

#include <gtest/gtest.h>

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "common/kafka/producer.h"
#include "common/messaging/event.h"
#include "common/testing/servers.h"
#include "common/testing/topics.h"

namespace shop::kafka {
namespace {

constexpr int kPartitions = 12;

int64_t MostMegabytesSoFar() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  return used.ru_maxrss / 1024;
}

// Three hundred megabytes that shrink to a twentieth.
void PublishABacklog(const KafkaSettings& brokers, const std::string& topic) {
  Producer producer(brokers, "test");
  std::independent_bits_engine<std::mt19937, 8, unsigned> random(1);
  std::string value(8'000, 'a');
  for (int round = 0; round < 300; ++round) {
    std::vector<messaging::Envelope> events;
    for (int i = 0; i < 125; ++i) {
      std::generate_n(value.begin(), 400, std::ref(random));
      const std::string id = std::to_string(round * 125 + i);
      events.push_back({.topic = topic,
                        .key = id,
                        .id = id,
                        .type = "ORDER_CREATED",
                        .source = "orders",
                        .time = "2026-12-01T00:00:00Z",
                        .trace = {},
                        .value = value});
    }
    ASSERT_TRUE(
        std::ranges::all_of(producer.Publish(events, [] { return true; }), &Outcome::acknowledged));
  }
}

// It asks for more while it has less than 16 MB, for 64 KB of each partition as compressed, which is
// another 16 MB here. With librdkafka's own megabyte it would be 240.
TEST(ClientTest, OfABacklogAConsumerHasLessThanEightyMegabytes) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "what was freed is kept back";
#endif
  const KafkaSettings brokers{.brokers = testing::Server("KAFKA_BOOTSTRAP_SERVERS")};
  const std::string topic = testing::UniqueName();
  testing::MakeTopic(topic, kPartitions);
  ASSERT_NO_FATAL_FAILURE(PublishABacklog(brokers, topic));

  const int64_t before = MostMegabytesSoFar();
  ClientLog log;
  std::string error;
  const std::unique_ptr<RdKafka::KafkaConsumer> consumer(RdKafka::KafkaConsumer::create(
      MakeConsumerConf(brokers, &log, {{"group.id", topic}}).get(), error));
  ASSERT_TRUE(consumer) << error;
  std::vector<RdKafka::TopicPartition*> all;
  for (int i = 0; i < kPartitions; ++i) {
    all.push_back(RdKafka::TopicPartition::create(topic, i, RdKafka::Topic::OFFSET_BEGINNING));
  }
  consumer->assign(all);
  RdKafka::TopicPartition::destroy(all);
  for (int i = 0; i < 5'000; ++i) {
    const std::unique_ptr<RdKafka::Message> message(consumer->consume(20'000));
    ASSERT_EQ(message->err(), RdKafka::ERR_NO_ERROR) << message->errstr();
    // A handler that is slower than the broker: what is read ahead piles up.
    std::this_thread::sleep_for(std::chrono::microseconds(300));
  }
  EXPECT_LT(MostMegabytesSoFar() - before, 80);
  consumer->close();
}

}  // namespace
}  // namespace shop::kafka
