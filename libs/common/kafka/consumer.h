// Hears the events of some topics for one consumer group and hands them to handlers, with a durable
// effect exactly once each.
//
// An event's effect and its row in the inbox are one transaction; the offset is committed after
// that. A second delivery finds the row and changes nothing. Events of one key are handled in the
// order of the topic, also through failures:
//   handled        the offset moves on; up to `batch` events share a transaction
//   refused        the event is held in the database, with every later one of its key, and
//                  tried again from there with growing pauses; the other keys go on
//   dead           after `attempts` tries, or at once when it is malformed or of a type that is
//                  neither handled nor ignored: it waits, blocking its key alone, until a person
//                  sends it back or discards it (held.h). A copy goes to the topic `<group>.dead`
//                  with the reason in its headers
//   unavailable    a dependency is away: the whole consumer pauses, stays in its group, and
//                  tries the same event again until it works
//
// The copies of dead events leave through the outbox: a process with a Consumer also runs an
// OutboxRelay.
//
// Metrics: consumer_events_total{group,topic,type,outcome}, consumer_handle_seconds{group,type},
// consumer_ask_seconds{group,type}, consumer_lag{group,topic,partition},
// consumer_held{group,state}.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/kafka/events.h"
#include "common/kafka/settings.h"
#include "common/postgres/pool.h"

namespace shop::kafka {

struct ConsumerOptions {
  // Called after each transaction that handled something, such as an OutboxRelay's Wake.
  std::function<void()> after_commit = [] {};
  int batch = 100;
  int attempts = 10;
  // The pause after the first refusal; it doubles with each further one up to the longest.
  std::chrono::milliseconds first_pause{1'000};
  std::chrono::milliseconds longest_pause{300'000};
  // How often held events that are due are looked for.
  std::chrono::milliseconds poll{500};
};

class Consumer {
 public:
  // Starts at once, in two threads: one hears, one retries what is held. Handlers run in both. The
  // pool, and what the handlers refer to, must outlive the consumer.
  Consumer(const KafkaSettings& kafka, std::string group, std::vector<std::string> topics,
           postgres::Pool& db, Handlers handlers, ConsumerOptions options = {});
  ~Consumer();
  Consumer(const Consumer&) = delete;
  Consumer& operator=(const Consumer&) = delete;

  // Begins nothing more, commits the offsets and leaves the group. A transaction under way has half
  // a second to finish; then what it waits for ends (DeadlineScope), it is rolled back, and its
  // events come again after the next start. So this takes a second, or as long as a handler waits
  // for something that does not know of the scope. From one thread; again does nothing.
  void Stop();

  // Whether the group has given this consumer its share, which may be nothing, and no dependency is
  // away.
  bool ready() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shop::kafka
