// Consumes the events of some topics for one consumer group and hands them to handlers; each has
// its durable effect exactly once.
//
// An event's effect and its row in the inbox are one transaction; the offset is committed after
// that. A second delivery finds the row and changes nothing. Events of one key are handled in the
// order of the topic, also through failures:
//   handled        the offset moves on; up to `batch` events share a transaction
//   refused        the event goes to the retry queue in the database, as does every later one of
//                  its key, and is tried again from there with growing pauses; the other keys
//                  go on
//   dead letter    after `attempts` tries, or at once when it is malformed or of a type that is
//                  neither handled nor ignored: it waits, blocking its key alone, until a person
//                  redrives or discards it (retry_queue.h). A copy goes to the topic `<group>.dead`
//                  with the reason in its headers
//   unavailable    a dependency is away: the whole consumer pauses, stays in its group, and
//                  tries the same event again until it works
//
// Where the group stands on a partition is kept in Kafka and in the database, from its start on; a
// group that neither knows starts with the first event there is. An event that is gone from the
// topic before the group has consumed it, or that the topic never had, is a gap (positions.h): the
// partition stops, across restarts, until an operator says where to go on; the others go on.
//
// The copies of dead letters leave through the outbox: a process with a Consumer also runs an
// OutboxRelay (Messaging has both).
//
// Metrics: consumer_events_total{group,topic,type,outcome}, consumer_handle_seconds{group,type},
// consumer_ask_seconds{group,type}, consumer_lag{group,topic,partition},
// consumer_missing_events{group,topic,partition} (above 0: a gap), consumer_retry_queue{group},
// consumer_dead_letters{group}.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "common/kafka/settings.h"
#include "common/messaging/consumer_group.h"
#include "common/messaging/handlers.h"
#include "common/postgres/pool.h"

namespace shop::kafka {

struct ConsumerOptions {
  int batch = 100;
  messaging::RetryPolicy retry = {};
  // How often the retry queue is looked at for events that are due.
  std::chrono::milliseconds poll{500};
  // How far apart transactions with what has just arrived begin at least, unless a full batch is
  // there already: what arrives until then shares the next one. What arrives longer than that after
  // the last one began is handled at once.
  std::chrono::milliseconds interval{10};
};

class Consumer {
 public:
  // Starts at once, in two threads: one consumes, one works on the retry queue. Handlers run in
  // both. The pool, and what the handlers refer to, must outlive the consumer.
  Consumer(const KafkaSettings& kafka, std::string group, std::vector<std::string> topics,
           postgres::Pool& db, messaging::Handlers handlers, ConsumerOptions options = {});
  ~Consumer();
  Consumer(const Consumer&) = delete;
  Consumer& operator=(const Consumer&) = delete;

  // Begins nothing more, commits the offsets and leaves the group. A transaction under way has half
  // a second to finish; then what it waits for ends (DeadlineScope), it is rolled back, and its
  // events come again after the next start. So this takes a second, a few when the brokers are away
  // (each question to them that is under way ends after one), or as long as a handler waits for
  // something that does not know of the scope. From one thread; again does nothing.
  void Stop();

  // Whether the group has given this consumer its share, which may be nothing, no dependency is
  // away, and no partition of the share stands at a gap.
  bool ready() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shop::kafka
