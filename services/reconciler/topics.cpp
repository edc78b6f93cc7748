#include "reconciler/topics.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <functional>
#include <utility>

#include "common/core/deadline.h"
#include "common/kafka/client.h"
#include "common/kafka/topic_ends.h"
#include "reconciler/databases.h"

namespace shop::reconciler {
namespace {

using messaging::Place;
using std::chrono::steady_clock;

constexpr int kBrokerLimitMs = 5'000;
constexpr std::chrono::seconds kLongestSilence{15};
constexpr char kTopicOfOrders[] = "orders";

[[noreturn]] void Fail(const std::string& why) {
  throw Unreadable("the topics: " + why);
}
void Check(RdKafka::ErrorCode code) {
  if (code != RdKafka::ERR_NO_ERROR) Fail(RdKafka::err2str(code));
}

// Owns what librdkafka wants as pointers.
class Partitions {
 public:
  Partitions() = default;
  ~Partitions() { RdKafka::TopicPartition::destroy(list_); }
  Partitions(const Partitions&) = delete;
  Partitions& operator=(const Partitions&) = delete;

  void Add(const Place& place, int64_t offset) {
    list_.push_back(RdKafka::TopicPartition::create(place.first, place.second, offset));
  }
  std::vector<RdKafka::TopicPartition*>& list() { return list_; }

 private:
  std::vector<RdKafka::TopicPartition*> list_;
};

std::string HeaderOf(RdKafka::Message& message, const char* name) {
  RdKafka::Headers* headers = message.headers();
  if (headers == nullptr) return {};
  const RdKafka::Headers::Header found = headers->get_last(name);
  const char* bytes = static_cast<const char*>(found.value());
  return found.err() == RdKafka::ERR_NO_ERROR && bytes != nullptr
             ? std::string(bytes, found.value_size())
             : std::string();
}

void Take(RdKafka::Message& message, TopicContents* contents) {
  ++contents->records;
  if (const std::string id = HeaderOf(message, "ce_id"); !id.empty()) {
    contents->events.push_back(DigestOf(id));
  }
  if (message.topic_name() != kTopicOfOrders || message.key() == nullptr) return;
  const std::string& key = *message.key();
  int64_t order = 0;
  const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), order);
  // An order has some events: most repeats stand next to each other.
  if (error == std::errc() && end == key.data() + key.size() &&
      (contents->orders.empty() || contents->orders.back() != order)) {
    contents->orders.push_back(order);
  }
}

template <typename T>
void SortWithoutRepeats(std::vector<T>* values) {
  std::ranges::sort(*values);
  values->erase(std::unique(values->begin(), values->end()), values->end());
}

}  // namespace

uint64_t DigestOf(const std::string& id) {
  return std::hash<std::string>()(id);
}

bool TopicContents::Has(const std::string& event_id) const {
  return std::ranges::binary_search(events, DigestOf(event_id));
}

struct KafkaTopics::State {
  State(const kafka::KafkaSettings& settings, std::vector<std::string> topics)
      : kafka(settings), ends(settings, std::move(topics)) {}

  // The first record of each partition that is not older than `seconds`.
  std::map<Place, int64_t> Starts(const std::map<Place, int64_t>& until, int64_t seconds) {
    const auto since = std::chrono::duration_cast<std::chrono::milliseconds>(
                           std::chrono::system_clock::now().time_since_epoch())
                           .count() -
                       seconds * 1000;
    Partitions asked;
    for (const auto& [place, end] : until) asked.Add(place, since);
    Check(consumer->offsetsForTimes(asked.list(), kBrokerLimitMs));
    std::map<Place, int64_t> starts;
    for (const RdKafka::TopicPartition* partition : asked.list()) {
      Check(partition->err());
      const Place place{partition->topic(), partition->partition()};
      // Without such a record the offset is that of the end.
      starts[place] = partition->offset() < 0 ? until.at(place) : partition->offset();
    }
    return starts;
  }

  void Connect() {
    const kafka::Conf conf = kafka::MakeConsumerConf(kafka, &log,
                                                     {{"client.id", "reconciler"},
                                                      {"group.id", "reconciler"},
                                                      {"enable.auto.commit", "false"},
                                                      {"enable.auto.offset.store", "false"},
                                                      {"auto.offset.reset", "earliest"}});
    std::string error;
    consumer.reset(RdKafka::KafkaConsumer::create(conf.get(), error));
    if (!consumer) throw std::logic_error(error);
  }

  // Reads from these offsets up to the ends.
  void ReadAll(const std::map<Place, int64_t>& starts, const std::map<Place, int64_t>& until,
               TopicContents* contents) {
    std::set<Place> left;
    Partitions assigned;
    for (const auto& [place, start] : starts) {
      if (start >= until.at(place)) continue;
      left.insert(place);
      assigned.Add(place, start);
    }
    Check(consumer->assign(assigned.list()));
    auto heard = steady_clock::now();
    while (!left.empty()) {
      if (DeadlineScope::HasPassed()) Fail("told to stop");
      const std::unique_ptr<RdKafka::Message> message(consumer->consume(100));
      if (message->err() == RdKafka::ERR_NO_ERROR) {
        heard = steady_clock::now();
        const Place place{message->topic_name(), message->partition()};
        if (message->offset() < until.at(place)) Take(*message, contents);
        if (message->offset() + 1 >= until.at(place)) left.erase(place);
      } else if (steady_clock::now() - heard > kLongestSilence) {
        Fail(message->errstr());
      }
    }
  }

  const kafka::KafkaSettings kafka;
  kafka::TopicEnds ends;
  kafka::ClientLog log;
  std::unique_ptr<RdKafka::KafkaConsumer> consumer;
};

KafkaTopics::KafkaTopics(const kafka::KafkaSettings& kafka, std::vector<std::string> topics)
    : state_(std::make_unique<State>(kafka, std::move(topics))) {}

KafkaTopics::~KafkaTopics() = default;

std::map<Place, int64_t> KafkaTopics::Ends() {
  try {
    return state_->ends.Now();
  } catch (const std::exception& error) {
    Fail(error.what());
  }
}

TopicContents KafkaTopics::Read(const std::vector<std::string>& topics, int64_t seconds,
                                int64_t most_records) {
  std::map<Place, int64_t> until = Ends();
  std::erase_if(until, [&](const auto& end) {
    return std::ranges::find(topics, end.first.first) == topics.end();
  });
  state_->Connect();
  TopicContents contents{.seconds = seconds};
  std::map<Place, int64_t> starts;
  for (;; contents.seconds /= 2) {
    starts = state_->Starts(until, contents.seconds);
    int64_t records = 0;
    for (const auto& [place, end] : until) records += end - starts.at(place);
    if (records <= most_records || contents.seconds == 0) break;
  }
  state_->ReadAll(starts, until, &contents);
  state_->consumer->close();
  state_->consumer.reset();
  SortWithoutRepeats(&contents.events);
  SortWithoutRepeats(&contents.orders);
  return contents;
}

}  // namespace shop::reconciler
