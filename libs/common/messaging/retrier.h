// Tries the events in a consumer group's retry queue again: the first of each key once it is due,
// with growing pauses (RetryPolicy), until it works or becomes a dead letter. What people do with
// them is in retry_queue.h.
#pragma once

#include <stop_token>
#include <string>

#include "common/messaging/consumer_group.h"

namespace shop::messaging {

// Thread-safe; several at once, in one process or in several, never handle an event twice.
//
// Metrics: consumer_retry_queue{group}, consumer_dead_letters{group}.
class Retrier {
 public:
  // `group` must outlive this.
  explicit Retrier(ConsumerGroup& group);

  // Tries the events that are due, until told to stop. Whether there were any.
  bool RetryDue(const std::stop_token& stop = {});

  // Sets the gauges.
  void CountQueue();

 private:
  void Retry(int64_t id, const Record& record, int attempts);
  Result<const char*> RetryOnce(int64_t id, const ReadRecord& read);
  void Refused(int64_t id, const Record& record, const std::string& reason, bool at_once);

  ConsumerGroup& group_;
  prometheus::Gauge& queued_;
  prometheus::Gauge& dead_letters_;
};

}  // namespace shop::messaging
