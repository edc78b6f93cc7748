// How a consumer group takes events in, whoever delivers them: the part of a Consumer that knows
// PostgreSQL and not Kafka.
//
// An event's effect and its row in the table `inbox` are one transaction, so that an event that is
// delivered again changes nothing.
#pragma once

#include <deque>
#include <map>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "common/messaging/consumer_group.h"

namespace shop::messaging {

// Thread-safe.
class Inbox {
 public:
  // `group` must outlive this.
  explicit Inbox(ConsumerGroup& group) : group_(group) {}

  // Handles the first of the records in one transaction, and answers how many these are: all, or those
  // before an event whose handler asks others (Handlers::OnAsked) and that needs an earlier one of its
  // key to be committed first. Events of one key are handled in their order; beyond that those of one
  // type are handled together, as far as possible. What is malformed or unknown becomes a dead letter, and
  // an event whose key has others in the retry queue is appended to them. A refusal or an exception
  // of any handler is answered, and nothing was kept.
  Result<size_t> Take(const std::vector<const Record*>& records);

  // Puts a record that its handler refused into the retry queue.
  void Enqueue(const Record& record, const std::string& reason);

  // Forgets the ids of events that were seen long ago (retention.h).
  void ForgetOld(const std::stop_token& stop = {});

 private:
  // What becomes of an event that is not ignored.
  enum class Fate { kHandled, kRepeated, kQueued, kDeadLetter };
  struct Batch {
    std::vector<ReadRecord> events;
    std::vector<const Record*> ignored;
    std::set<Key> keys;
    // One an event, where they are recorded. SQL and calls belong to the first, which the others are linked to.
    std::deque<Span> spans;
  };
  using Places = std::vector<size_t>;  // of events in their batch
  using ByType = std::map<std::string, Places>;
  // What others were asked before a transaction, and their answers by type.
  struct Asked {
    ByType events = {};
    std::map<std::string, Handlers::AnyAnswer> answers = {};
  };

  size_t ShareTransaction(const std::vector<const Record*>& records) const;
  Batch ReadFirst(const std::vector<const Record*>& records, size_t count) const;
  void BeginSpans(Batch& batch) const;
  Result<std::vector<Fate>> HandleBatch(const Batch& batch);
  std::vector<Fate> DecideFates(postgres::Tx& tx, const Batch& batch, bool mark_seen);
  ByType ToBeAsked(const Batch& batch, const std::vector<Fate>& fates) const;
  Result<Asked> AskFor(const Batch& batch);
  static Handlers::AnyReceived ReceivedAt(const Batch& batch, const Places& places);
  Result<void> Apply(postgres::Tx& tx, const Batch& batch, const std::vector<Fate>& fates,
                     const Asked& asked);

  ConsumerGroup& group_;
};

}  // namespace shop::messaging
