#include "common/kafka/intake.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

#include "common/kafka/record.h"
#include "common/kafka/retention.h"
#include "common/telemetry/log.h"
#include "common/telemetry/metrics.h"

namespace shop::kafka {
namespace {

using google::protobuf::Message;
using postgres::Array;
using postgres::InTransaction;
using postgres::Read;
using postgres::Statement;
using postgres::Tx;
using std::chrono::milliseconds;

// In the order of the hashes, so that two transactions never wait for each other.
constexpr Statement kLockKeys{
    "SELECT pg_advisory_xact_lock(hash) FROM ("
    "  SELECT DISTINCT hashtextextended(key, 0) AS hash FROM unnest($1::text[]) AS key ORDER BY 1"
    ") AS hashes"};
constexpr Statement kHeldKeys{
    "SELECT DISTINCT topic, key FROM held WHERE consumer = $1"
    "  AND (topic, key) IN (SELECT * FROM unnest($2::text[], $3::text[]))"};
constexpr Statement kSee{
    "INSERT INTO inbox (consumer, event_id) SELECT $1, unnest($2::text[])"
    " ON CONFLICT DO NOTHING RETURNING event_id"};
constexpr Statement kHold{
    "INSERT INTO held (consumer, topic, key, partition, position, event_id, type, headers, value,"
    "                  attempts, next_at, reason, dead)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8::jsonb, $9,"
    "         $10, now() + $11 * interval '1 millisecond', $12, $13)"
    " ON CONFLICT DO NOTHING RETURNING id"};
constexpr Statement kDueHeads{
    "SELECT id, topic, key, partition, position, headers::text, value, attempts FROM held"
    " WHERE consumer = $1 AND NOT dead AND next_at <= now()"
    "   AND NOT EXISTS (SELECT FROM held AS earlier WHERE earlier.consumer = held.consumer"
    "     AND earlier.topic = held.topic AND earlier.key = held.key AND earlier.id < held.id)"
    " ORDER BY next_at LIMIT 50"};
constexpr Statement kStillDue{
    "SELECT attempts FROM held WHERE id = $1 AND NOT dead AND next_at <= now() FOR UPDATE"};
constexpr Statement kRelease{"DELETE FROM held WHERE id = $1"};
constexpr Statement kFail{
    "UPDATE held SET attempts = attempts + 1, reason = $2, dead = $3,"
    " next_at = now() + $4 * interval '1 millisecond' WHERE id = $1"};
constexpr Statement kPostpone{
    "UPDATE held SET reason = $2, next_at = now() + $3 * interval '1 millisecond' WHERE id = $1"};
constexpr Statement kSeen{
    "SELECT event_id FROM inbox WHERE consumer = $1 AND event_id = ANY ($2::text[])"};
constexpr Statement kForget{
    "DELETE FROM inbox WHERE ctid = ANY (ARRAY(SELECT ctid FROM inbox"
    " WHERE seen_at < now() - $1 * interval '1 hour' LIMIT 1000))"};
constexpr Statement kCount{
    "SELECT count(*) FILTER (WHERE NOT dead), count(*) FILTER (WHERE dead) FROM held"
    " WHERE consumer = $1"};

constexpr size_t kLongestReason = 1'000;

using Key = std::pair<std::string, std::string>;  // topic, key

Key KeyOf(const Record& record) {
  return {record.event.topic, record.event.key};
}

// What an event is known by; one without an id by its place.
std::string Identity(const Record& record) {
  if (!record.event.id.empty()) return record.event.id;
  return record.event.topic + "/" + std::to_string(record.partition) + "/" +
         std::to_string(record.position);
}

std::string Reason(const Refusal& refusal) {
  std::string reason = std::string(Name(refusal.code)) + ": " + refusal.message;
  for (const FieldViolation& detail : refusal.details) {
    reason += "; " + detail.field + ": " + detail.message;
  }
  return reason;
}

// As much of a reason as is kept.
std::string Kept(std::string reason) {
  if (reason.size() > kLongestReason) {
    size_t end = kLongestReason;
    while (end > 0 && (static_cast<unsigned char>(reason[end]) & 0xc0) == 0x80) --end;
    reason.resize(end);
  }
  return AsText(reason);
}

// A record once it has been read.
struct Reading {
  const Record* record;
  std::unique_ptr<Message> message;
  bool ignored = false;
  std::string poison = {};  // why it can never be handled
};

}  // namespace

struct Intake::State {
  postgres::Pool& db;
  std::string group;
  Handlers handlers;
  ConsumerOptions options;

  prometheus::Family<prometheus::Counter>& events;
  prometheus::Family<prometheus::Histogram>& seconds;
  prometheus::Gauge& waiting;
  prometheus::Gauge& dead;

  using Outcomes = std::vector<std::pair<const Event*, const char*>>;

  void Count(const Outcomes& outcomes) {
    for (const auto& [event, outcome] : outcomes) {
      const bool known = handlers.Handles(event->type) || handlers.Ignores(event->type);
      events
          .Add({{"group", group},
                {"topic", event->topic},
                {"type", known ? event->type : "unknown"},
                {"outcome", outcome}})
          .Increment();
    }
  }

  Reading ReadRecord(const Record& record) const {
    Reading reading{.record = &record, .message = nullptr};
    const Event& event = record.event;
    if (event.type.empty()) {
      reading.poison = "has no ce_type";
    } else if (handlers.Ignores(event.type)) {
      reading.ignored = true;
    } else if (!handlers.Handles(event.type)) {
      reading.poison = "is of a type that is neither handled nor ignored: " + event.type;
    } else if (event.id.empty()) {
      reading.poison = "has no ce_id";
    } else {
      Result<std::unique_ptr<Message>> message = handlers.Read(event);
      if (message) {
        reading.message = *std::move(message);
      } else {
        reading.poison = "is malformed: " + Reason(message.refusal());
      }
    }
    return reading;
  }

  // Hands over events of one type. The log names the first of several.
  Result<void> Handle(Tx& tx, const Handlers::AnyHeard& heard) {
    const Event& event = heard.front().event;
    const log::Scope scope{{"traceId", event.trace.trace_id},
                           {"eventId", event.id},
                           {"eventType", event.type},
                           {"eventKey", event.key}};
    const auto begin = std::chrono::steady_clock::now();
    Result<void> outcome = handlers.Handle(tx, heard);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    seconds.Add({{"group", group}, {"type", event.type}}, DurationBuckets()).Observe(took.count());
    return outcome;
  }

  void Lock(Tx& tx, const std::set<Key>& keys) {
    std::vector<std::string> names;
    for (const auto& [topic, key] : keys) names.push_back(group + "/" + topic + "/" + key);
    tx.Exec(kLockKeys, Array(names));
  }

  std::set<Key> HeldAmong(Tx& tx, const std::set<Key>& keys) {
    std::vector<std::string> topics;
    std::vector<std::string> names;
    for (const auto& [topic, key] : keys) {
      topics.push_back(topic);
      names.push_back(key);
    }
    std::set<Key> held;
    for (const auto& row : tx.Exec(kHeldKeys, group, Array(topics), Array(names))) {
      held.emplace(row[0].as<std::string>(), row[1].as<std::string>());
    }
    return held;
  }

  // Notes events as seen; answers which of them were new.
  std::set<std::string> See(Tx& tx, const std::vector<std::string>& ids) {
    std::set<std::string> fresh;
    if (ids.empty()) return fresh;
    for (const auto& row : tx.Exec(kSee, group, Array(ids))) {
      fresh.insert(row[0].as<std::string>());
    }
    return fresh;
  }

  // Those of the unreadable events that a person has discarded, and that come again.
  std::set<std::string> SeenPoison(Tx& tx, const std::vector<Reading>& readings) {
    std::vector<std::string> ids;
    for (const Reading& reading : readings) {
      if (!reading.poison.empty()) ids.push_back(Identity(*reading.record));
    }
    std::set<std::string> seen;
    if (ids.empty()) return seen;
    for (const auto& row : tx.Exec(kSeen, group, Array(ids))) seen.insert(row[0].as<std::string>());
    return seen;
  }

  void AppendHeld(Tx& tx, const Record& record, int attempts, milliseconds pause,
                  const std::string& reason, bool is_dead) {
    const Event& event = record.event;
    const pqxx::result added =
        tx.Exec(kHold, group, event.topic, event.key, record.partition, record.position,
                Identity(record), event.type, ToJson(ToHeaders(event)), event.value, attempts,
                pause.count(), Kept(reason), is_dead);
    if (is_dead && !added.empty()) {
      AnnounceDead(tx, record, added[0][0].as<int64_t>(), attempts, reason);
    }
  }

  void AnnounceDead(Tx& tx, const Record& record, int64_t id, int attempts,
                    const std::string& reason) {
    Event copy = record.event;
    copy.topic = group + ".dead";
    copy.headers["dead_reason"] = Kept(reason);
    copy.headers["dead_topic"] = record.event.topic;
    copy.headers["dead_partition"] = std::to_string(record.partition);
    copy.headers["dead_position"] = std::to_string(record.position);
    copy.headers["dead_attempts"] = std::to_string(attempts);
    copy.headers["dead_held_id"] = std::to_string(id);
    Announce(tx, copy);
    log::Error("event is dead: its key waits for a person", {{"group", group},
                                                             {"topic", record.event.topic},
                                                             {"key", record.event.key},
                                                             {"eventId", record.event.id},
                                                             {"eventType", record.event.type},
                                                             {"heldId", id},
                                                             {"reason", Kept(reason)}});
  }

  milliseconds Pause(int attempts) const {
    const int doublings = std::min(std::max(attempts - 1, 0), 20);
    return std::min(options.first_pause * (int64_t{1} << doublings), options.longest_pause);
  }

  void Retry(int64_t id, const Record& record, int attempts);
  void Fail(int64_t id, const Record& record, const std::string& reason, bool at_once);
};

Intake::Intake(postgres::Pool& db, std::string group, Handlers handlers,
               const ConsumerOptions& options) {
  auto& held = prometheus::BuildGauge()
                   .Name("consumer_held")
                   .Help("Events that wait to be tried again, or for a person")
                   .Register(Metrics());
  state_ =
      std::make_unique<State>(State{.db = db,
                                    .group = group,
                                    .handlers = std::move(handlers),
                                    .options = options,
                                    .events = prometheus::BuildCounter()
                                                  .Name("consumer_events_total")
                                                  .Help("Events by what became of them")
                                                  .Register(Metrics()),
                                    .seconds = prometheus::BuildHistogram()
                                                   .Name("consumer_handle_seconds")
                                                   .Help("How long handlers take")
                                                   .Register(Metrics()),
                                    .waiting = held.Add({{"group", group}, {"state", "waiting"}}),
                                    .dead = held.Add({{"group", group}, {"state", "dead"}})});
}

Intake::~Intake() = default;

Result<void> Intake::Take(const std::vector<const Record*>& records) {
  State& state = *state_;
  std::vector<Reading> readings;
  std::set<Key> keys;
  State::Outcomes outcomes;
  State::Outcomes ignored;
  for (const Record* record : records) {
    Reading reading = state.ReadRecord(*record);
    if (reading.ignored) {
      ignored.emplace_back(&record->event, "ignored");
      continue;
    }
    keys.insert(KeyOf(*record));
    readings.push_back(std::move(reading));
  }
  if (!readings.empty()) {
    const Result<void> taken = InTransaction(state.db, [&](Tx& tx) -> Result<void> {
      outcomes.clear();
      state.Lock(tx, keys);
      std::set<Key> held = state.HeldAmong(tx, keys);
      const std::set<std::string> discarded = state.SeenPoison(tx, readings);
      std::vector<std::string> ids;
      std::vector<bool> waits;
      for (const Reading& reading : readings) {
        const bool gone = discarded.contains(Identity(*reading.record));
        const bool wait =
            !gone && (!reading.poison.empty() || held.contains(KeyOf(*reading.record)));
        waits.push_back(wait);
        if (gone) continue;
        if (wait) {
          held.insert(KeyOf(*reading.record));
        } else {
          ids.push_back(reading.record->event.id);
        }
      }
      std::set<std::string> fresh = state.See(tx, ids);
      Handlers::AnyHeard run;  // of one type, not handed over yet
      const auto hand_over = [&]() -> Result<void> {
        if (run.empty()) return kDone;
        Result<void> handled = state.Handle(tx, run);
        run.clear();
        return handled;
      };
      for (size_t i = 0; i < readings.size(); ++i) {
        const Reading& reading = readings[i];
        const Event& event = reading.record->event;
        if (!waits[i] && !reading.poison.empty()) {
          outcomes.emplace_back(&event, "repeated");
        } else if (!reading.poison.empty()) {
          state.AppendHeld(tx, *reading.record, 0, milliseconds(0), reading.poison, true);
          outcomes.emplace_back(&event, "dead");
        } else if (waits[i]) {
          state.AppendHeld(tx, *reading.record, 0, milliseconds(0),
                           "waits for an earlier event of its key", false);
          outcomes.emplace_back(&event, "held");
        } else if (fresh.erase(event.id) == 0) {
          outcomes.emplace_back(&event, "repeated");
        } else {
          if (!run.empty() && run.front().event.type != event.type) {
            const Result<void> handled = hand_over();
            if (!handled) return handled;
          }
          run.push_back({*reading.message, event});
          outcomes.emplace_back(&event, "handled");
        }
      }
      return hand_over();
    });
    if (!taken) return taken;
  }
  state.Count(outcomes);
  state.Count(ignored);
  if (!outcomes.empty()) state.options.after_commit();
  return kDone;
}

void Intake::Hold(const Record& record, const std::string& reason) {
  State& state = *state_;
  const bool dead = state.options.attempts <= 1;
  InTransaction(state.db, [&](Tx& tx) {
    state.Lock(tx, {KeyOf(record)});
    state.AppendHeld(tx, record, 1, state.Pause(1), reason, dead);
  });
  log::Warning("event is held", {{"group", state.group},
                                 {"topic", record.event.topic},
                                 {"key", record.event.key},
                                 {"eventId", record.event.id},
                                 {"eventType", record.event.type},
                                 {"traceId", record.event.trace.trace_id},
                                 {"reason", Kept(reason)}});
  state.Count({{&record.event, dead ? "dead" : "held"}});
  if (dead) state.options.after_commit();
}

bool Intake::RetryDue() {
  const pqxx::result due =
      Read(state_->db, [&](Tx& tx) { return tx.Exec(kDueHeads, state_->group); });
  for (const auto& row : due) {
    Record record;
    record.event = FromRecord(row["topic"].as<std::string>(), row["key"].as<std::string>(),
                              HeadersFromJson(row["headers"].as<std::string>()),
                              row["value"].as<std::string>());
    record.partition = row["partition"].as<int>();
    record.position = row["position"].as<int64_t>();
    state_->Retry(row["id"].as<int64_t>(), record, row["attempts"].as<int>());
  }
  return !due.empty();
}

void Intake::State::Retry(int64_t id, const Record& record, int attempts) {
  const Reading reading = ReadRecord(record);
  if (!reading.poison.empty()) return Fail(id, record, reading.poison, true);
  const char* outcome = nullptr;
  const auto unavailable = [&](const std::string& why) {
    InTransaction(db,
                  [&](Tx& tx) { tx.Exec(kPostpone, id, Kept(why), Pause(attempts + 1).count()); });
  };
  try {
    const Result<void> handled = InTransaction(db, [&](Tx& tx) -> Result<void> {
      outcome = nullptr;
      Lock(tx, {KeyOf(record)});
      // Another replica may have been here.
      if (tx.Exec(kStillDue, id).empty()) return kDone;
      tx.Exec(kRelease, id);
      if (reading.ignored) {
        outcome = "ignored";
        return kDone;
      }
      outcome = "repeated";
      if (See(tx, {record.event.id}).empty()) return kDone;
      outcome = "handled";
      return Handle(tx, {{*reading.message, record.event}});
    });
    if (handled) {
      if (outcome != nullptr) {
        Count({{&record.event, outcome}});
        options.after_commit();
      }
    } else if (handled.refusal().code == Code::kUnavailable) {
      unavailable(Reason(handled.refusal()));
    } else {
      Fail(id, record, Reason(handled.refusal()), false);
    }
  } catch (const Unavailable& error) {
    unavailable(error.what());
  } catch (const std::exception& error) {
    Fail(id, record, error.what(), false);
  }
}

void Intake::State::Fail(int64_t id, const Record& record, const std::string& reason,
                         bool at_once) {
  bool died = false;
  InTransaction(db, [&](Tx& tx) {
    Lock(tx, {KeyOf(record)});
    const pqxx::result current = tx.Exec(kStillDue, id);
    died = false;
    if (current.empty()) return;
    const int made = current[0][0].as<int>() + 1;
    died = at_once || made >= options.attempts;
    tx.Exec(kFail, id, Kept(reason), died, Pause(made).count());
    if (died) AnnounceDead(tx, record, id, made, reason);
  });
  Count({{&record.event, died ? "dead" : "refused"}});
  if (died) options.after_commit();
}

void Intake::ForgetOld() {
  const auto forget_some = [](Tx& tx) {
    return tx.Exec(kForget, kInboxRetention.count()).affected_rows();
  };
  while (InTransaction(state_->db, forget_some) > 0) {
  }
}

void Intake::CountHeld() {
  const pqxx::result counts =
      Read(state_->db, [&](Tx& tx) { return tx.Exec(kCount, state_->group); });
  state_->waiting.Set(counts[0][0].as<double>());
  state_->dead.Set(counts[0][1].as<double>());
}

Result<void> Deliver(postgres::Pool& db, const Handlers& handlers, const std::string& group,
                     const std::vector<Event>& events) {
  std::vector<Record> records;
  for (const Event& event : events) {
    if (handlers.Ignores(event.type)) continue;
    if (!handlers.Handles(event.type)) {
      return Refusal{Code::kUnimplemented, "no handler for " + event.type};
    }
    const auto message = handlers.Read(event);
    if (!message) return message.refusal();
    records.push_back({.event = event});
  }
  std::vector<const Record*> taken;
  for (const Record& record : records) taken.push_back(&record);
  return Intake(db, group, handlers, {}).Take(taken);
}

}  // namespace shop::kafka
