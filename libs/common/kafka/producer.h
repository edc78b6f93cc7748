// Publishes events: idempotent, acknowledged by all in-sync replicas, in order.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/kafka/events.h"
#include "common/kafka/settings.h"

namespace shop::kafka {

// What became of an event: acknowledged, refused for a reason, or (neither) given up on the way, so
// that it may still arrive.
struct Outcome {
  bool acknowledged = false;
  std::string refusal = {};
};

// Used by one thread.
class Producer {
 public:
  // Connects in the background at once, so that the first event need not wait.
  Producer(const KafkaSettings& settings, const std::string& client_id);
  ~Producer();
  Producer(const Producer&) = delete;
  Producer& operator=(const Producer&) = delete;

  // Publishes the events in their order and waits for all outcomes; brokers that are away are
  // waited for. `go_on`, which must not throw, is asked some ten times a second: once it says no,
  // what has no outcome yet is given up. After anything but acknowledgements use a fresh producer:
  // the order of what this one would publish is no longer sure.
  std::vector<Outcome> Publish(const std::vector<Event>& events,
                               const std::function<bool()>& go_on);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shop::kafka
