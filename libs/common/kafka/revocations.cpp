#include "common/kafka/revocations.h"

#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <stop_token>
#include <string_view>
#include <thread>
#include <utility>

#include "common/core/result.h"
#include "common/kafka/client.h"
#include "common/messaging/event.h"
#include "common/telemetry/log.h"
#include "common/telemetry/metrics.h"
#include "shop/events/v1/sessions.pb.h"

namespace shop::kafka {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using std::chrono::system_clock;

constexpr int kBrokerLimitMs = 2'000;
constexpr std::chrono::seconds kPause{1};      // after a failure
constexpr std::chrono::seconds kLookEvery{5};  // at the brokers, whether they answer
constexpr std::chrono::seconds kStartPatience{10};
// An event is published after its session has ended; clocks differ, and so do those of the brokers.
constexpr std::chrono::minutes kMargin{10};

void Check(RdKafka::ErrorCode code) {
  if (code != RdKafka::ERR_NO_ERROR) throw Unavailable("kafka: " + RdKafka::err2str(code));
}

std::string Header(RdKafka::Message& message, const std::string& name) {
  RdKafka::Headers* headers = message.headers();
  if (headers == nullptr) return {};
  const RdKafka::Headers::Header header = headers->get_last(name);
  if (header.err() != RdKafka::ERR_NO_ERROR || header.value() == nullptr) return {};
  return {static_cast<const char*>(header.value()),
          header.value_size()};  // which ends with `header`
}

}  // namespace

struct Revocations::State {
  State(KafkaSettings kafka_settings, auth::TokenVerifier& verifier, std::string name)
      : settings(std::move(kafka_settings)),
        tokens(verifier),
        topic_name(std::move(name)),
        thread([this](const std::stop_token& stop) { Run(stop); }) {}

  void Run(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      try {
        Read(stop);
      } catch (const std::exception& error) {
        Lose(error.what());
      }
      std::unique_lock lock(mutex);
      wake.wait_for(lock, stop, kPause, [] { return false; });
    }
  }

  // Reads on until the stop, or until it has to begin again.
  void Read(const std::stop_token& stop) {
    const Conf conf = MakeConsumerConf(
        settings, &log,
        {{"client.id", "revocations"},
         {"enable.partition.eof", "true"},
         // A fetch is answered as soon as there is something. Other questions wait for it: it has
         // to be shorter than their limit.
         {"fetch.wait.max.ms", "1000"}});
    std::string error;
    const std::unique_ptr<RdKafka::Consumer> client(RdKafka::Consumer::create(conf.get(), error));
    if (!client) throw std::logic_error(error);
    const Conf topic_conf(RdKafka::Conf::create(RdKafka::Conf::CONF_TOPIC));
    // What is gone from the topic was revoked too long ago to matter.
    if (topic_conf->set("auto.offset.reset", "earliest", error) != RdKafka::Conf::CONF_OK) {
      throw std::logic_error(error);
    }
    const std::unique_ptr<RdKafka::Topic> topic(
        RdKafka::Topic::create(client.get(), topic_name, topic_conf.get(), error));
    if (!topic) throw Unavailable("kafka: " + error);

    const std::vector<int32_t> partitions = PartitionsOf(*client, *topic);
    std::map<int32_t, int64_t> behind;  // by partition, what comes after what was there
    const std::unique_ptr<RdKafka::Queue> queue(RdKafka::Queue::create(client.get()));
    Reading reading{*client, *topic};
    std::map<int32_t, int64_t> starts;
    for (const int32_t partition : partitions) {
      const auto [start, end] = RangeOf(*client, partition);
      if (start < end) behind[partition] = end;
      starts[partition] = start;
    }
    for (const auto& [partition, start] : starts) {
      Check(client->start(topic.get(), partition, start, queue.get()));
      reading.started.push_back(partition);
    }
    if (behind.empty()) Catch();
    steady_clock::time_point looked = steady_clock::now();
    while (!stop.stop_requested()) {
      const std::unique_ptr<RdKafka::Message> message(client->consume(queue.get(), 250));
      switch (message->err()) {
        case RdKafka::ERR_NO_ERROR:
          Take(*message);
          if (const auto last = behind.find(message->partition());
              last != behind.end() && message->offset() + 1 >= last->second) {
            behind.erase(last);
            if (behind.empty()) Catch();
          }
          break;
        case RdKafka::ERR__PARTITION_EOF:
          behind.erase(message->partition());
          if (behind.empty()) Catch();
          break;
        case RdKafka::ERR__UNKNOWN_PARTITION:
        case RdKafka::ERR__UNKNOWN_TOPIC:
        case RdKafka::ERR_UNKNOWN_TOPIC_OR_PART:
        case RdKafka::ERR_TOPIC_AUTHORIZATION_FAILED:
          Check(message->err());
          break;
        default:
          break;  // a time-out; or librdkafka tries again by itself
      }
      client->poll(0);  // for its log
      if (steady_clock::now() - looked < kLookEvery) continue;
      try {
        if (PartitionsOf(*client, *topic) != partitions) return;  // to read the new ones as well
        if (behind.empty()) Catch();
      } catch (const Unavailable& error) {
        Lose(error.what());  // and goes on where it is once they are back
      }
      looked = steady_clock::now();
    }
  }

  // Ends what was started, also after an exception.
  struct Reading {
    RdKafka::Consumer& client;
    RdKafka::Topic& topic;
    std::vector<int32_t> started = {};

    ~Reading() {
      for (const int32_t partition : started) client.stop(&topic, partition);
    }
  };

  static std::vector<int32_t> PartitionsOf(RdKafka::Consumer& client, RdKafka::Topic& topic) {
    RdKafka::Metadata* told = nullptr;
    Check(client.metadata(false, &topic, &told, kBrokerLimitMs));
    const std::unique_ptr<RdKafka::Metadata> metadata(told);
    std::vector<int32_t> partitions;
    for (const RdKafka::TopicMetadata* described : *metadata->topics()) {
      Check(described->err());
      for (const RdKafka::PartitionMetadata* partition : *described->partitions()) {
        Check(partition->err());
        partitions.push_back(partition->id());
      }
    }
    if (partitions.empty()) throw Unavailable("kafka: the topic has no partitions");
    std::sort(partitions.begin(), partitions.end());
    return partitions;
  }

  // The first record that can still matter, and the end of what is there.
  std::pair<int64_t, int64_t> RangeOf(RdKafka::Consumer& client, int32_t partition) const {
    // The end first: what is published between the two questions comes after it.
    int64_t low = 0;
    int64_t end = 0;
    Check(client.query_watermark_offsets(topic_name, partition, &low, &end, kBrokerLimitMs));
    const auto from = system_clock::now() - auth::kLongestTokenLife - kMargin;
    const int64_t time = std::chrono::duration_cast<milliseconds>(from.time_since_epoch()).count();
    const std::unique_ptr<RdKafka::TopicPartition> asked(
        RdKafka::TopicPartition::create(topic_name, partition, time));
    std::vector<RdKafka::TopicPartition*> all = {asked.get()};
    Check(client.offsetsForTimes(all, kBrokerLimitMs));
    Check(asked->err());
    return {asked->offset() < 0 ? end : asked->offset(), end};
  }

  void Take(RdKafka::Message& message) {
    if (Header(message, "ce_type") != "SESSION_REVOKED") return;  // of a newer version
    events::v1::SessionRevoked event;
    const std::string_view value(static_cast<const char*>(message.payload()), message.len());
    const Result<void> read = messaging::ReadValue(value, &event);
    if (!read || event.session_id().empty()) {
      log::Error("a malformed event about a session",
                 {{"partition", message.partition()}, {"position", message.offset()}});
      return;
    }
    using google::protobuf::util::TimeUtil;
    const auto told = system_clock::from_time_t(TimeUtil::TimestampToTimeT(event.expires_at()));
    const auto until = std::min(told, system_clock::now() + auth::kLongestTokenLife + kMargin);
    if (!tokens.Revoke(event.session_id(), until)) forgotten.Increment();
    count.Set(static_cast<double>(tokens.revoked()));
  }

  void Catch() {
    caught_up = true;
    if (!current.exchange(true)) log::Info("hearing which sessions end");
    current_gauge.Set(1);
  }
  void Lose(const std::string& why) {
    if (current.exchange(false) || !lost) {
      log::Warning("not hearing which sessions end: their tokens are taken until they expire",
                   {{"error", why}});
    }
    lost = true;
    current_gauge.Set(0);
  }

  const KafkaSettings settings;
  auth::TokenVerifier& tokens;
  const std::string topic_name;
  ClientLog log;
  const steady_clock::time_point started = steady_clock::now();
  std::atomic<bool> caught_up = false;
  std::atomic<bool> current = false;
  bool lost = false;  // of the thread
  prometheus::Gauge& count = prometheus::BuildGauge()
                                 .Name("revoked_sessions")
                                 .Help("Sessions whose access tokens are refused")
                                 .Register(Metrics())
                                 .Add({});
  prometheus::Counter& forgotten = prometheus::BuildCounter()
                                       .Name("revoked_sessions_forgotten_total")
                                       .Help("Sessions forgotten as there were too many")
                                       .Register(Metrics())
                                       .Add({});
  prometheus::Gauge& current_gauge = prometheus::BuildGauge()
                                         .Name("revocations_current")
                                         .Help("1 while it is heard which sessions end")
                                         .Register(Metrics())
                                         .Add({});
  std::mutex mutex;
  std::condition_variable_any wake;
  std::jthread thread;  // the last: it uses the others
};

Revocations::Revocations(const KafkaSettings& kafka, auth::TokenVerifier& tokens, std::string topic)
    : state_(std::make_unique<State>(kafka, tokens, std::move(topic))) {}

Revocations::Revocations(const KafkaSettings& kafka, auth::TokenVerifier& tokens, Process& process)
    : Revocations(kafka, tokens) {
  process.AddReadiness("which sessions have ended", [this] { return ready(); });
  process.AddDegradation("news of ended sessions", [this] { return current(); });
}

Revocations::~Revocations() = default;

bool Revocations::caught_up() const {
  return state_->caught_up;
}

bool Revocations::ready() const {
  return caught_up() || steady_clock::now() - state_->started > kStartPatience;
}

bool Revocations::current() const {
  return state_->current;
}

}  // namespace shop::kafka
