#include "common/kafka/producer.h"

#include <librdkafka/rdkafka.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <set>
#include <stdexcept>
#include <utility>

#include "common/kafka/client.h"
#include "common/messaging/headers.h"

namespace shop::kafka {

namespace {

using std::chrono::steady_clock;

constexpr int kPollMs = 100;
// How long nothing may happen before it is asked whether a partition has lost its leader.
constexpr auto kStalled = std::chrono::seconds(1);

Outcome::Fault FaultOf(RdKafka::ErrorCode error) {
  switch (error) {
    case RdKafka::ERR_MSG_SIZE_TOO_LARGE:
    case RdKafka::ERR_INVALID_MSG_SIZE:
    case RdKafka::ERR_INVALID_RECORD:
      return Outcome::Fault::kEvent;
    case RdKafka::ERR__UNKNOWN_PARTITION:
      return Outcome::Fault::kPartition;
    default:
      return Outcome::Fault::kTopic;
  }
}

}  // namespace

struct Producer::State : RdKafka::DeliveryReportCb {
  State(const KafkaSettings& settings, std::string client_id)
      : settings(settings), client_id(std::move(client_id)) {}

  void dr_cb(RdKafka::Message& message) override {
    --outstanding;
    Outcome& outcome = *static_cast<Outcome*>(message.msg_opaque());
    if (message.status() != RdKafka::Message::MSG_STATUS_NOT_PERSISTED) {
      spent = spent || message.err() != RdKafka::ERR_NO_ERROR;
    }
    switch (message.err()) {
      case RdKafka::ERR_NO_ERROR:
        outcome.acknowledged = true;
        return;
      case RdKafka::ERR__PURGE_QUEUE:
      case RdKafka::ERR__PURGE_INFLIGHT:
      // Taken along by another one's failure.
      case RdKafka::ERR__FATAL:
      case RdKafka::ERR__GAPLESS_GUARANTEE:
        spent = true;
        return;
      default:
        Refuse(message.err(), message.errstr(), &outcome);
        // Brokers refuse a batch as a whole.
        if (outcome.fault == Outcome::Fault::kEvent) {
          spent = true;
          if (in_company) outcome.fault = Outcome::Fault::kBatch;
        }
    }
  }

  static void Refuse(RdKafka::ErrorCode error, std::string why, Outcome* outcome) {
    outcome->fault = FaultOf(error);
    outcome->refusal = std::move(why);
    if (outcome->fault == Outcome::Fault::kPartition) {
      outcome->refusal = "the partition has no leader";
    }
  }

  RdKafka::ErrorCode Send(const messaging::Envelope& event, Outcome* outcome) {
    RdKafka::Headers* headers = RdKafka::Headers::create();
    for (const auto& [name, value] : messaging::ToHeaders(event)) headers->add(name, value);
    const RdKafka::ErrorCode error =
        producer->produce(event.topic, RdKafka::Topic::PARTITION_UA, RdKafka::Producer::RK_MSG_COPY,
                          const_cast<char*>(event.value.data()), event.value.size(),
                          event.key.data(), event.key.size(), 0, headers, outcome);
    if (error != RdKafka::ERR_NO_ERROR) delete headers;
    return error;
  }

  // The partition of a key, or none (which is an error of that event) when it has no leader. Called
  // by this thread, and by one of librdkafka's.
  static int32_t Partition(const rd_kafka_topic_t* topic, const void* key, size_t size,
                           int32_t count, void* opaque, void* message_opaque) {
    State& state = *static_cast<State*>(opaque);
    // As the clients in Java choose it.
    const int32_t partition =
        rd_kafka_msg_partitioner_murmur2_random(topic, key, size, count, nullptr, message_opaque);
    const std::lock_guard lock(state.mutex);
    return state.leaderless.contains({rd_kafka_topic_name(topic), partition}) ? count : partition;
  }

  // Asks the brokers which partitions have no leader. False when none answers.
  bool LookForLeaders() {
    looked = steady_clock::now();
    RdKafka::Metadata* raw = nullptr;
    const RdKafka::ErrorCode error = producer->metadata(true, nullptr, &raw, 10 * kPollMs);
    const std::unique_ptr<RdKafka::Metadata> metadata(raw);
    if (error != RdKafka::ERR_NO_ERROR) return false;
    const std::lock_guard lock(mutex);
    leaderless.clear();
    for (const RdKafka::TopicMetadata* topic : *metadata->topics()) {
      for (const RdKafka::PartitionMetadata* partition : *topic->partitions()) {
        if (partition->leader() < 0) leaderless.emplace(topic->topic(), partition->id());
      }
    }
    return true;
  }

  // Whether one of these topics has a partition without a leader, as far as is known.
  bool SomeHaveNoLeader(const std::vector<messaging::Envelope>& events) {
    const std::lock_guard lock(mutex);
    return std::ranges::any_of(leaderless, [&](const auto& place) {
      return std::ranges::any_of(
          events, [&](const messaging::Envelope& event) { return event.topic == place.first; });
    });
  }

  void Open();

  const KafkaSettings settings;
  const std::string client_id;
  ClientLog client_log;
  std::mutex mutex;
  // Partitions that have no leader. What is found while events are on their way counts from the
  // next ones on, so that no later event of a key overtakes an earlier one.
  std::set<std::pair<std::string, int32_t>> leaderless;
  steady_clock::time_point looked{};
  size_t outstanding = 0;
  bool in_company = false;  // whether several events are on their way
  bool spent = false;
  std::unique_ptr<RdKafka::Producer> producer;
};

Producer::Producer(const KafkaSettings& settings, const std::string& client_id)
    : state_(std::make_unique<State>(settings, client_id)) {
  state_->Open();
}

void Producer::State::Open() {
  producer.reset();
  spent = false;
  const Conf conf =
      MakeConf(settings, &client_log,
               {{"client.id", client_id},
                {"enable.idempotence", "true"},
                // A batch refused for good takes those behind it along.
                {"enable.gapless.guarantee", "true"},
                {"acks", "all"},
                // No end: what waits for brokers is not lost, and the caller can stop.
                {"message.timeout.ms", "0"},
                {"linger.ms", "1"},
                {"compression.codec", "lz4"},
                {"topic.metadata.propagation.max.ms", "3000"}});
  std::string error;
  if (conf->set("dr_cb", static_cast<RdKafka::DeliveryReportCb*>(this), error) !=
      RdKafka::Conf::CONF_OK) {
    throw std::logic_error(error);
  }
  // The C++ interface has no partitioner for topics that are named by their events. The settings of
  // topics among those above have made this.
  rd_kafka_topic_conf_t* topics = rd_kafka_conf_get_default_topic_conf(conf->c_ptr_global());
  rd_kafka_topic_conf_set_opaque(topics, this);
  rd_kafka_topic_conf_set_partitioner_cb(topics, &State::Partition);
  producer.reset(RdKafka::Producer::create(conf.get(), error));
  if (!producer) throw std::runtime_error("cannot make a Kafka producer: " + error);
}

Producer::~Producer() = default;

std::vector<Outcome> Producer::Publish(const std::vector<messaging::Envelope>& events,
                                       const std::function<bool()>& go_on) {
  State& state = *state_;
  std::string fatal;
  if (state.spent || state.producer->fatal_error(fatal) != RdKafka::ERR_NO_ERROR) state.Open();
  if (!state.leaderless.empty() && steady_clock::now() - state.looked > kStalled) {
    state.LookForLeaders();
  }
  state.in_company = events.size() > 1;
  // Each message refers to its element, so this must not move before all have come back.
  std::vector<Outcome> outcomes(events.size());
  std::set<std::pair<std::string, std::string>> refused;  // topics and keys
  bool given_up = false;
  for (size_t i = 0; i < events.size() && !given_up; ++i) {
    const std::pair key(events[i].topic, events[i].key);
    if (refused.contains(key)) continue;
    RdKafka::ErrorCode error = state.Send(events[i], &outcomes[i]);
    while (error == RdKafka::ERR__QUEUE_FULL && !given_up) {
      state.producer->poll(kPollMs);
      given_up = !go_on();
      error = state.Send(events[i], &outcomes[i]);
    }
    if (error == RdKafka::ERR_NO_ERROR) {
      ++state.outstanding;
    } else if (error != RdKafka::ERR__QUEUE_FULL) {
      State::Refuse(error, RdKafka::err2str(error), &outcomes[i]);
      refused.insert(key);
    }
  }
  auto moved = steady_clock::now();
  while (state.outstanding > 0 && !given_up) {
    const size_t before = state.outstanding;
    state.producer->poll(kPollMs);
    given_up = !go_on() || state.producer->fatal_error(fatal) != RdKafka::ERR_NO_ERROR;
    if (state.outstanding < before) {
      moved = steady_clock::now();
    } else if (!given_up && steady_clock::now() - moved > kStalled) {
      given_up = state.LookForLeaders() && state.SomeHaveNoLeader(events);
      moved = steady_clock::now();
    }
  }
  if (state.outstanding > 0) {
    state.spent = true;
    state.producer->purge(RdKafka::Producer::PURGE_QUEUE | RdKafka::Producer::PURGE_INFLIGHT);
    while (state.outstanding > 0) state.producer->poll(kPollMs);
  }
  return outcomes;
}

}  // namespace shop::kafka
