// What the topics have: which events are on them, and where they end. It reads as nobody's member
// and commits nothing.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "common/kafka/settings.h"
#include "common/messaging/positions.h"

namespace shop::reconciler {

// The events of the topics since some time. Of each event there are 8 bytes here, of each order of
// topic `orders` 8 more.
struct TopicContents {
  int64_t seconds = 0;  // how far back they reach
  int64_t records = 0;
  std::vector<uint64_t> events = {};  // DigestOf their ids, ascending
  std::vector<int64_t> orders = {};   // that topic `orders` tells of, ascending
  bool Has(const std::string& event_id) const;
};

// Of an id, such that two of a run do not have the same one but once in millions of years.
uint64_t DigestOf(const std::string& id);

class Topics {
 public:
  virtual ~Topics() = default;

  // What the topics have of the last `seconds`, up to where they end now. Where that is more than
  // `most_records`, of the half of that time, or of its half.
  virtual TopicContents Read(const std::vector<std::string>& topics, int64_t seconds,
                             int64_t most_records) = 0;
  // For each partition the offset of the next record.
  virtual std::map<messaging::Place, int64_t> Ends() = 0;
};

class KafkaTopics : public Topics {
 public:
  // Ends() is about these topics.
  KafkaTopics(const kafka::KafkaSettings& kafka, std::vector<std::string> topics);
  ~KafkaTopics() override;

  // Throw Unreadable when the brokers do not answer within some seconds, or a DeadlineScope ends.
  TopicContents Read(const std::vector<std::string>& topics, int64_t seconds,
                     int64_t most_records) override;
  std::map<messaging::Place, int64_t> Ends() override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shop::reconciler
