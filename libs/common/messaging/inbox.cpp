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

// Of the keys $3 and $4 those that have events in the retry queue, and of the ids $2 those that were
// seen. The ids by = ANY, other than columns.h says: of an inbox of one page PostgreSQL would plan to go through all
// rows of the consumer, with which the index begins, and compare each.
constexpr Statement kLook{R"(
    SELECT DISTINCT topic, key, NULL FROM retry_queue WHERE consumer = $1
      AND (topic, key) IN (SELECT * FROM unnest($3::text[], $4::text[]) LIMIT cardinality($3))
    UNION ALL
    SELECT NULL, NULL, event_id FROM inbox WHERE consumer = $1 AND event_id = ANY ($2::text[]))"};
// Of the events with the ids $2 and the keys $3 and $4 records those as seen whose key has none in the
// retry queue. Answers the keys that have, and of the ids those that were new.
constexpr Statement kMarkSeen{R"(
    WITH event AS MATERIALIZED (
      SELECT * FROM unnest($2::text[], $3::text[], $4::text[]) AS e (id, topic, key)
      LIMIT cardinality($2)),
    queued AS MATERIALIZED (
      SELECT DISTINCT topic, key FROM retry_queue WHERE consumer = $1
        AND (topic, key) IN (SELECT topic, key FROM event)),
    fresh AS (
      INSERT INTO inbox (consumer, event_id)
      SELECT $1, id FROM event WHERE NOT EXISTS (
        SELECT FROM queued WHERE queued.topic = event.topic AND queued.key = event.key)
      ON CONFLICT DO NOTHING RETURNING event_id)
    SELECT topic, key, NULL FROM queued
    UNION ALL
    SELECT NULL, NULL, event_id FROM fresh)"};
constexpr Statement kForget{R"(
    DELETE FROM inbox WHERE ctid = ANY (ARRAY(SELECT ctid FROM inbox
      WHERE seen_at < now() - $1 * interval '1 hour' LIMIT 1000)))"};

// How often a batch is tried when other consumers of the group handle the same events meanwhile.
constexpr int kTries = 3;

// Puts events that are handled together, by their places, into as few runs of one type as the order
// within each key allows; within a run they keep their order.
std::vector<std::vector<size_t>> RunsOf(const std::vector<ReadRecord>& events,
                                        const std::vector<size_t>& places) {
  std::vector<std::vector<size_t>> runs;
  std::map<Key, size_t> latest;  // the run of each key's latest event
  for (const size_t place : places) {
    const Record& record = *events[place].record;
    size_t& run = latest.try_emplace(KeyOf(record), 0).first->second;
    while (run < runs.size() && events[runs[run].front()].record->event.type != record.event.type) {
      ++run;
    }
    if (run == runs.size()) runs.emplace_back();
    runs[run].push_back(place);
  }
  return runs;
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
// does so before the transaction begins, so what came before of its key, if that is of another type,
// is to be committed by then.
size_t Inbox::ShareTransaction(const std::vector<const Record*>& records) const {
  const Handlers& handlers = group_.handlers();
  std::map<Key, const std::string*> latest;  // the type of each key's latest event
  for (size_t i = 0; i < records.size(); ++i) {
    const std::string& type = records[i]->event.type;
    if (!handlers.Handles(type)) continue;
    const std::string*& before = latest[KeyOf(*records[i])];
    if (before != nullptr && *before != type && handlers.Asks(type)) return i;
    before = &type;
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
      return Apply(tx, batch, fates, *asked);
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

  std::vector<Fate> fates;
  std::set<Key> held;                     // by a dead letter of this batch: the later ones alone
  std::vector<const Record*> candidates;  // to be handled, as far as the batch tells
  for (const ReadRecord& event : batch.events) {
    const Key key = KeyOf(*event.record);
    Fate fate = held.contains(key) ? Fate::kQueued : Fate::kHandled;
    if (!event.poison.empty()) {
      fate = discarded.contains(IdentityOf(*event.record)) ? Fate::kRepeated : Fate::kDeadLetter;
    }
    if (fate == Fate::kDeadLetter) held.insert(key);
    if (fate == Fate::kHandled) candidates.push_back(event.record);
    fates.push_back(fate);
  }
  if (candidates.empty()) return fates;

  std::set<Key> queued;  // the keys that have events in the retry queue
  std::set<std::string> fresh;
  if (!mark_seen) {
    for (const Record* record : candidates) fresh.insert(record->event.id);
  }
  const pqxx::result rows =
      tx.Exec(mark_seen ? kMarkSeen : kLook, group_.name(),
              Array(candidates, [](const Record* record) { return record->event.id; }),
              Array(candidates, [](const Record* record) { return record->event.topic; }),
              Array(candidates, [](const Record* record) { return record->event.key; }));
  for (const auto& row : rows) {
    if (row[2].is_null()) {
      queued.emplace(row[0].as<std::string>(), row[1].as<std::string>());
    } else if (mark_seen) {
      fresh.insert(row[2].as<std::string>());
    } else {
      fresh.erase(row[2].as<std::string>());
    }
  }
  for (size_t i = 0; i < fates.size(); ++i) {
    const Record& record = *batch.events[i].record;
    if (fates[i] != Fate::kHandled) continue;
    if (queued.contains(KeyOf(record))) {
      fates[i] = Fate::kQueued;
    } else if (fresh.erase(record.event.id) == 0) {
      fates[i] = Fate::kRepeated;
    }
  }
  return fates;
}

// The places of the events to be handled whose handler asks others.
Inbox::ByType Inbox::ToBeAsked(const Batch& batch, const std::vector<Fate>& fates) const {
  ByType places;
  for (size_t i = 0; i < fates.size(); ++i) {
    const std::string& type = batch.events[i].record->event.type;
    if (fates[i] == Fate::kHandled && group_.handlers().Asks(type)) places[type].push_back(i);
  }
  return places;
}

// Finds the events that will be handled, most likely, and asks for them, type by type. Nothing is
// locked: the transaction decides again.
Result<Inbox::Asked> Inbox::AskFor(const Batch& batch) {
  const auto asks = [&](const ReadRecord& event) {
    return event.poison.empty() && group_.handlers().Asks(event.record->event.type);
  };
  if (std::ranges::none_of(batch.events, asks)) return Asked{};
  const std::vector<Fate> likely =
      postgres::Read(group_.db(), [&](Tx& tx) { return DecideFates(tx, batch, false); });
  Asked asked{.events = ToBeAsked(batch, likely)};
  for (const auto& [type, places] : asked.events) {
    Result<Handlers::AnyAnswer> answer = group_.Ask(ReceivedAt(batch, places));
    if (!answer) return answer.refusal();
    asked.answers[type] = *std::move(answer);
  }
  return asked;
}

Handlers::AnyReceived Inbox::ReceivedAt(const Batch& batch, const Places& places) {
  Handlers::AnyReceived received;
  for (const size_t place : places) {
    received.push_back({*batch.events[place].message, batch.events[place].event()});
  }
  return received;
}

Result<void> Inbox::Apply(Tx& tx, const Batch& batch, const std::vector<Fate>& fates,
                          const Asked& asked) {
  Places handled;
  for (size_t i = 0; i < fates.size(); ++i) {
    const ReadRecord& read = batch.events[i];
    switch (fates[i]) {
      case Fate::kRepeated:
        break;
      case Fate::kDeadLetter:
        group_.Enqueue(tx, *read.record, 0, read.poison, true);
        break;
      case Fate::kQueued:
        group_.Enqueue(tx, *read.record, 0, "waits for an earlier event of its key", false);
        break;
      case Fate::kHandled:
        handled.push_back(i);
        break;
    }
  }
  for (const Places& run : RunsOf(batch.events, handled)) {
    // Those of a type that asks are one run: nothing of another type comes before them in their keys.
    const auto answer = asked.answers.find(batch.events[run.front()].record->event.type);
    const Result<void> done =
        group_.Handle(tx, ReceivedAt(batch, run),
                      answer == asked.answers.end() ? Handlers::AnyAnswer() : answer->second);
    if (!done) return done;
  }
  return kDone;
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
