// What the Inbox and the Retrier of one consumer group share: its handlers, its rows in the database
// and its metrics. Both may use it at once.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/messaging/event.h"
#include "common/messaging/handlers.h"
#include "common/postgres/pool.h"
#include "common/telemetry/metrics.h"
#include "common/telemetry/span.h"

namespace shop::messaging {

// An event and where on its topic it stands.
struct Record {
  Envelope event;
  int partition = 0;
  int64_t position = 0;
};

// How often an event that a handler refuses is tried, and when.
struct RetryPolicy {
  int attempts = 10;
  // The pause after the first refusal; it doubles with each further one up to the longest.
  std::chrono::milliseconds first_pause{1'000};
  std::chrono::milliseconds longest_pause{300'000};

  // The pause after that many refusals.
  std::chrono::milliseconds PauseAfter(int refusals) const;
};

// Events of one key are handled in their order.
using Key = std::pair<std::string, std::string>;  // topic, key
Key KeyOf(const Record& record);

// What an event is known by in the inbox: its id; without one, its place on the topic.
std::string IdentityOf(const Record& record);

std::string Reason(const Refusal& refusal);
// As much of a reason as the database keeps.
std::string Shortened(std::string reason);

// A record, and what it says to the group's handlers.
struct ReadRecord {
  // The event as handlers get it.
  const Envelope& event() const { return traced ? *traced : record->event; }

  const Record* record;
  std::optional<Envelope> traced = {};  // with what is done for it in its trace
  std::unique_ptr<google::protobuf::Message> message = nullptr;
  bool ignored = false;
  std::string poison = {};  // why it can never be handled
};

class ConsumerGroup {
 public:
  ConsumerGroup(postgres::Pool& db, std::string name, Handlers handlers,
                const RetryPolicy& retry = {});

  postgres::Pool& db() { return db_; }
  const std::string& name() const { return name_; }
  const Handlers& handlers() const { return handlers_; }
  const RetryPolicy& retry() const { return retry_; }

  ReadRecord Read(const Record& record) const;
  // Calls the handler of events of one type, or the question that it has for others. Within the
  // log's scope of the first event, and measured.
  Result<void> Handle(postgres::Tx& tx, const Handlers::AnyReceived& received,
                      const Handlers::AnyAnswer& answer);
  Result<Handlers::AnyAnswer> Ask(const Handlers::AnyReceived& received);

  // Keeps other consumers of the group from these keys until the transaction ends.
  void Lock(postgres::Tx& tx, const std::set<Key>& keys);
  // Records events as seen; answers which of them were new.
  std::set<std::string> MarkSeen(postgres::Tx& tx, const std::vector<std::string>& ids);
  std::set<std::string> SeenAmong(postgres::Tx& tx, const std::vector<std::string>& ids);

  // Appends an event to the retry queue, behind those of its key. As a dead letter it is published
  // to `<group>.dead` as well.
  void Enqueue(postgres::Tx& tx, const Record& record, int attempts, const std::string& reason,
               bool dead);
  // Publishes the copy of a dead letter; `id` is its row's.
  void PublishDeadLetter(postgres::Tx& tx, const Record& record, int64_t id, int attempts,
                         const std::string& reason);

  // Describes what is done for a record. Where spans are recorded, the handlers get its event within that span.
  void Trace(ReadRecord& read, Span& span) const;
  // Counts what became of an event: handled, repeated, ignored, refused, queued or dead_letter.
  void Count(const Envelope& event, const char* outcome);

 private:
  template <typename Work>
  auto Measured(prometheus::Family<prometheus::Histogram>& seconds, const Envelope& event,
                const Work& work);

  postgres::Pool& db_;
  const std::string name_;
  const Handlers handlers_;
  const RetryPolicy retry_;
  prometheus::Family<prometheus::Counter>& events_;
  prometheus::Family<prometheus::Histogram>& handle_seconds_;
  prometheus::Family<prometheus::Histogram>& ask_seconds_;
};

}  // namespace shop::messaging
