#include "common/messaging/inbox.h"

#include <algorithm>
#include <optional>

#include "common/messaging/retention.h"
#include "common/postgres/columns.h"
#include "common/telemetry/log.h"

namespace shop::messaging {
namespace {

using postgres::Array;
using postgres::InTransaction;
using postgres::Statement;
using postgres::Tx;

constexpr Statement kQueuedKeys{R"(
    SELECT DISTINCT topic, key FROM retry_queue WHERE consumer = $1
      AND (topic, key) IN (SELECT * FROM unnest($2::text[], $3::text[])))"};
constexpr Statement kForget{R"(
    DELETE FROM inbox WHERE ctid = ANY (ARRAY(SELECT ctid FROM inbox
      WHERE seen_at < now() - $1 * interval '1 hour' LIMIT 1000)))"};

// How often a batch is tried when other consumers of the group handle the same events meanwhile.
constexpr int kTries = 3;

// Which of the keys have events in the retry queue.
std::set<Key> QueuedAmong(Tx& tx, const std::string& group, const std::set<Key>& keys) {
  std::set<Key> queued;
  for (const auto& row :
       tx.Exec(kQueuedKeys, group, Array(keys, &Key::first), Array(keys, &Key::second))) {
    queued.emplace(row[0].as<std::string>(), row[1].as<std::string>());
  }
  return queued;
}

}  // namespace

Result<size_t> Inbox::Take(const std::vector<const Record*>& records) {
  const size_t count = ShareTransaction(records);
  Batch batch = ReadFirst(records, count);
  if (!batch.events.empty()) {
    BeginSpans(batch);
    std::optional<Span::Scope> current;
    if (!batch.spans.empty()) current.emplace(batch.spans.front());
    const auto fail = [&](const std::string& why) {
      for (Span& span : batch.spans) {
        // In company they are tried again one by one, and it is then seen which of them is refused.
        batch.spans.size() == 1 ? span.Fail(why) : span.Discard();
      }
    };
    const Result<std::vector<Fate>> fates = [&] {
      try {
        return HandleBatch(batch);
      } catch (const std::exception& error) {
        fail(error.what());
        throw;
      }
    }();
    if (!fates) {
      fail(Reason(fates.refusal()));
      return fates.refusal();
    }
    static constexpr const char* kOutcomes[] = {"handled", "repeated", "queued", "dead_letter"};
    for (size_t i = 0; i < batch.events.size(); ++i) {
      const char* outcome = kOutcomes[static_cast<size_t>((*fates)[i])];
      group_.Count(batch.events[i].record->event, outcome);
      if (!batch.spans.empty()) batch.spans[i].Set("shop.event.outcome", outcome);
    }
  }
  for (const Record* record : batch.ignored) group_.Count(record->event, "ignored");
  return count;
}

void Inbox::BeginSpans(Batch& batch) const {
  if (!traces::On()) return;
  const auto count = static_cast<int64_t>(batch.events.size());
  for (ReadRecord& read : batch.events) {
    const Envelope& event = read.record->event;
    Span& span =
        batch.spans.emplace_back(SpanKind::kConsumer, "process " + event.topic, event.trace);
    group_.Trace(read, span);
    if (count > 1) span.Set("messaging.batch.message_count", count);
    if (batch.spans.size() > 1) span.LinkTo(batch.spans.front().ContextOr({}));
  }
}

// How many records from the front may share one transaction. A handler that asks another service
// does so before the transaction begins, so its events, all of one type, have to come first in it.
size_t Inbox::ShareTransaction(const std::vector<const Record*>& records) const {
  const Handlers& handlers = group_.handlers();
  const std::string* last = nullptr;
  for (size_t i = 0; i < records.size(); ++i) {
    const std::string& type = records[i]->event.type;
    if (!handlers.Handles(type)) continue;
    if (last != nullptr && type != *last && handlers.Asks(type)) return i;
    last = &type;
  }
  return records.size();
}

Inbox::Batch Inbox::ReadFirst(const std::vector<const Record*>& records, size_t count) const {
  Batch batch;
  for (size_t i = 0; i < count; ++i) {
    ReadRecord read = group_.Read(*records[i]);
    if (read.ignored) {
      batch.ignored.push_back(records[i]);
      continue;
    }
    batch.keys.insert(KeyOf(*records[i]));
    batch.events.push_back(std::move(read));
  }
  return batch;
}

Result<std::vector<Inbox::Fate>> Inbox::HandleBatch(const Batch& batch) {
  for (int attempt = 0; attempt < kTries; ++attempt) {
    const Result<Asked> asked = AskFor(batch);
    if (!asked) return asked.refusal();
    std::vector<Fate> fates;
    bool overtaken = false;
    const Result<void> applied = InTransaction(group_.db(), [&](Tx& tx) -> Result<void> {
      group_.Lock(tx, batch.keys);
      fates = DecideFates(tx, batch, true);
      overtaken = ToBeAsked(batch, fates) != asked->events;
      if (overtaken) return Refusal{Code::kAborted, "was overtaken"};
      return Apply(tx, batch, fates, asked->answer);
    });
    if (applied) return fates;
    if (!overtaken) return applied.refusal();
  }
  throw Unavailable("other consumers of the group are at the same events");
}

// What becomes of each event, as the database stands. With `mark_seen` those to be handled are
// recorded as seen; without, this only looks.
std::vector<Inbox::Fate> Inbox::DecideFates(Tx& tx, const Batch& batch, bool mark_seen) {
  std::vector<std::string> poison_ids;
  for (const ReadRecord& event : batch.events) {
    if (!event.poison.empty()) poison_ids.push_back(IdentityOf(*event.record));
  }
  // Dead letters that a person has discarded, and that are delivered again.
  const std::set<std::string> discarded = group_.SeenAmong(tx, poison_ids);
  std::set<Key> queued = QueuedAmong(tx, group_.name(), batch.keys);

  std::vector<Fate> fates;
  std::vector<std::string> ids;  // of those to be handled
  for (const ReadRecord& event : batch.events) {
    const Key key = KeyOf(*event.record);
    Fate fate = queued.contains(key) ? Fate::kQueued : Fate::kHandled;
    if (!event.poison.empty()) {
      fate = discarded.contains(IdentityOf(*event.record)) ? Fate::kRepeated : Fate::kDeadLetter;
    }
    if (fate == Fate::kDeadLetter) queued.insert(key);
    if (fate == Fate::kHandled) ids.push_back(event.record->event.id);
    fates.push_back(fate);
  }

  std::set<std::string> fresh;
  if (mark_seen) {
    fresh = group_.MarkSeen(tx, ids);
  } else {
    fresh.insert(ids.begin(), ids.end());
    for (const std::string& seen : group_.SeenAmong(tx, ids)) fresh.erase(seen);
  }
  for (size_t i = 0; i < fates.size(); ++i) {
    const std::string& id = batch.events[i].record->event.id;
    if (fates[i] == Fate::kHandled && fresh.erase(id) == 0) fates[i] = Fate::kRepeated;
  }
  return fates;
}

// The places of the events to be handled whose handler asks others. All of one type.
std::vector<size_t> Inbox::ToBeAsked(const Batch& batch, const std::vector<Fate>& fates) const {
  std::vector<size_t> places;
  for (size_t i = 0; i < fates.size(); ++i) {
    const std::string& type = batch.events[i].record->event.type;
    if (fates[i] == Fate::kHandled && group_.handlers().Asks(type)) places.push_back(i);
  }
  return places;
}

// Finds the events that will be handled, most likely, and asks for them. Nothing is locked: the
// transaction decides again.
Result<Inbox::Asked> Inbox::AskFor(const Batch& batch) {
  const auto asks = [&](const ReadRecord& event) {
    return event.poison.empty() && group_.handlers().Asks(event.record->event.type);
  };
  if (std::ranges::none_of(batch.events, asks)) return Asked{};
  const std::vector<Fate> likely =
      postgres::Read(group_.db(), [&](Tx& tx) { return DecideFates(tx, batch, false); });
  Asked asked{.events = ToBeAsked(batch, likely)};
  if (asked.events.empty()) return asked;
  Handlers::AnyReceived received;
  for (const size_t i : asked.events) {
    received.push_back({*batch.events[i].message, batch.events[i].event()});
  }
  Result<Handlers::AnyAnswer> answer = group_.Ask(received);
  if (!answer) return answer.refusal();
  asked.answer = *std::move(answer);
  return asked;
}

Result<void> Inbox::Apply(Tx& tx, const Batch& batch, const std::vector<Fate>& fates,
                          const Handlers::AnyAnswer& answer) {
  Handlers::AnyReceived run;  // of one type, not handled yet
  const auto handle_run = [&]() -> Result<void> {
    if (run.empty()) return kDone;
    Result<void> handled = group_.Handle(tx, run, answer);
    run.clear();
    return handled;
  };
  for (size_t i = 0; i < fates.size(); ++i) {
    const ReadRecord& read = batch.events[i];
    const Record& record = *read.record;
    switch (fates[i]) {
      case Fate::kRepeated:
        break;
      case Fate::kDeadLetter:
        group_.Enqueue(tx, record, 0, read.poison, true);
        break;
      case Fate::kQueued:
        group_.Enqueue(tx, record, 0, "waits for an earlier event of its key", false);
        break;
      case Fate::kHandled:
        if (!run.empty() && run.front().event.type != record.event.type) {
          Result<void> handled = handle_run();
          if (!handled) return handled;
        }
        run.push_back({*read.message, read.event()});
        break;
    }
  }
  return handle_run();
}

void Inbox::Enqueue(const Record& record, const std::string& reason) {
  const bool dead = group_.retry().attempts <= 1;
  InTransaction(group_.db(), [&](Tx& tx) {
    group_.Lock(tx, {KeyOf(record)});
    group_.Enqueue(tx, record, 1, reason, dead);
  });
  log::Warning("event goes to the retry queue", {{"group", group_.name()},
                                                 {"topic", record.event.topic},
                                                 {"key", record.event.key},
                                                 {"eventId", record.event.id},
                                                 {"eventType", record.event.type},
                                                 {"traceId", record.event.trace.trace_id},
                                                 {"requestId", record.event.trace.RequestId()},
                                                 {"reason", Shortened(reason)}});
  group_.Count(record.event, dead ? "dead_letter" : "queued");
}

void Inbox::ForgetOld(const std::stop_token& stop) {
  const auto forget_some = [](Tx& tx) {
    return tx.Exec(kForget, kInboxRetention.count()).affected_rows();
  };
  while (!stop.stop_requested() && InTransaction(group_.db(), forget_some) > 0) {
  }
}

}  // namespace shop::messaging
