// Publishes events: idempotent, acknowledged by all in-sync replicas, in order.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/kafka/settings.h"
#include "common/messaging/event.h"

namespace shop::kafka {

// What became of an event: acknowledged, refused for a reason, or (neither) given up on the way, so
// that it may still arrive.
struct Outcome {
  // Whose fault a refusal is: the event's own, as it is too large, say; that of an event it
  // travelled with, or its own; its partition's, which has no leader; its topic's, which does not
  // exist, say.
  enum class Fault { kNone, kEvent, kBatch, kPartition, kTopic };

  bool acknowledged = false;
  Fault fault = Fault::kNone;
  std::string refusal = {};
};

// Used by one thread. After a failure that leaves the order of what it would publish unsure it
// connects anew by itself.
class Producer {
 public:
  // Connects in the background at once, so that the first event need not wait.
  Producer(const KafkaSettings& settings, const std::string& client_id);
  ~Producer();
  Producer(const Producer&) = delete;
  Producer& operator=(const Producer&) = delete;

  // Publishes the events in their order and waits for all outcomes; brokers that are away are
  // waited for. What its own size or a partition without a leader refuses is refused at once, the
  // later ones of its key are given up, and the others go on; what was on its way to a partition
  // that lost its leader is given up after a second or two. `go_on`, which must not throw, is asked
  // some ten times a second: once it says no, what has no outcome yet is given up.
  std::vector<Outcome> Publish(const std::vector<messaging::Envelope>& events,
                               const std::function<bool()>& go_on);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shop::kafka
