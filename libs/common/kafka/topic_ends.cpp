#include "common/kafka/topic_ends.h"

#include <utility>

#include "common/core/result.h"
#include "common/kafka/client.h"

namespace shop::kafka {
namespace {

constexpr int kBrokerLimitMs = 2'000;

}  // namespace

struct TopicEnds::State {
  ClientLog log;
  std::vector<std::string> topics;
  std::unique_ptr<RdKafka::Producer> client;  // of all clients the one that consumes nothing
};

TopicEnds::TopicEnds(const KafkaSettings& kafka, std::vector<std::string> topics)
    : state_(std::make_unique<State>()) {
  state_->topics = std::move(topics);
  const Conf conf = MakeConf(kafka, &state_->log, {{"client.id", "topic-ends"}});
  std::string error;
  state_->client.reset(RdKafka::Producer::create(conf.get(), error));
  if (!state_->client) throw std::logic_error(error);
}

TopicEnds::~TopicEnds() = default;

std::map<messaging::Place, int64_t> TopicEnds::Now() {
  const auto check = [](RdKafka::ErrorCode code) {
    if (code != RdKafka::ERR_NO_ERROR) throw Unavailable("kafka: " + RdKafka::err2str(code));
  };
  state_->client->poll(0);  // for its log
  std::map<messaging::Place, int64_t> ends;
  for (const std::string& name : state_->topics) {
    std::string error;
    const std::unique_ptr<RdKafka::Topic> topic(
        RdKafka::Topic::create(state_->client.get(), name, nullptr, error));
    if (!topic) throw Unavailable("kafka: " + error);
    RdKafka::Metadata* told = nullptr;
    check(state_->client->metadata(false, topic.get(), &told, kBrokerLimitMs));
    const std::unique_ptr<RdKafka::Metadata> metadata(told);

    std::vector<RdKafka::TopicPartition*> asked;
    for (const RdKafka::TopicMetadata* described : *metadata->topics()) {
      check(described->err());
      for (const RdKafka::PartitionMetadata* partition : *described->partitions()) {
        asked.push_back(
            RdKafka::TopicPartition::create(name, partition->id(), RdKafka::Topic::OFFSET_END));
      }
    }
    // Kafka counts the end among the times.
    RdKafka::ErrorCode code = state_->client->offsetsForTimes(asked, kBrokerLimitMs);
    for (const RdKafka::TopicPartition* partition : asked) {
      if (code == RdKafka::ERR_NO_ERROR) code = partition->err();
      ends[{partition->topic(), partition->partition()}] = partition->offset();
    }
    RdKafka::TopicPartition::destroy(asked);
    check(code);
  }
  return ends;
}

}  // namespace shop::kafka
