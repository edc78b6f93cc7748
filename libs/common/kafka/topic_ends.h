// Where topics end, for those who have to know that a group has consumed all that was published up to
// some moment: ask for the ends then, and compare them with messaging::Positions until these have
// reached them (messaging::HasReached).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/kafka/settings.h"
#include "common/messaging/positions.h"

namespace shop::kafka {

// Used by one thread.
class TopicEnds {
 public:
  // Connects in the background.
  TopicEnds(const KafkaSettings& kafka, std::vector<std::string> topics);
  ~TopicEnds();
  TopicEnds(const TopicEnds&) = delete;
  TopicEnds& operator=(const TopicEnds&) = delete;

  // For each partition the offset of the next record. Throws Unavailable when the brokers do not
  // say within a few seconds, do not know a topic, or have no leader for a partition, as for a moment
  // after the topic was made.
  std::map<messaging::Place, int64_t> Now();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shop::kafka
