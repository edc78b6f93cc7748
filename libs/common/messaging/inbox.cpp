#include "common/messaging/inbox.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

#include "common/messaging/headers.h"
#include "common/messaging/outbox.h"
#include "common/messaging/retention.h"
#include "common/telemetry/log.h"
#include "common/telemetry/metrics.h"

namespace shop::messaging {
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
// How often a batch is asked for when other consumers of the group are at the same events.
constexpr int kPlans = 3;

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

// What becomes of a record that is not ignored.
enum class Fate { kHandled, kRepeated, kWaits, kDead };

// `waiting`: keys with held events. `discarded`: the unreadable ones that a person has discarded.
std::vector<Fate> Decide(const std::vector<Reading>& readings, std::set<Key> waiting,
                         const std::set<std::string>& discarded) {
  std::vector<Fate> fates;
  for (const Reading& reading : readings) {
    if (!reading.poison.empty() && discarded.contains(Identity(*reading.record))) {
      fates.push_back(Fate::kRepeated);
    } else if (!reading.poison.empty()) {
      fates.push_back(Fate::kDead);
      waiting.insert(KeyOf(*reading.record));
    } else {
      fates.push_back(waiting.contains(KeyOf(*reading.record)) ? Fate::kWaits : Fate::kHandled);
    }
  }
  return fates;
}

std::vector<std::string> ToBeHandled(const std::vector<Reading>& readings,
                                     const std::vector<Fate>& fates) {
  std::vector<std::string> ids;
  for (size_t i = 0; i < readings.size(); ++i) {
    if (fates[i] == Fate::kHandled) ids.push_back(readings[i].record->event.id);
  }
  return ids;
}

// Leaves of those to be handled the first of each id that is new.
void DropRepeated(const std::vector<Reading>& readings, std::set<std::string> fresh,
                  std::vector<Fate>* fates) {
  for (size_t i = 0; i < readings.size(); ++i) {
    Fate& fate = (*fates)[i];
    if (fate == Fate::kHandled && fresh.erase(readings[i].record->event.id) == 0) {
      fate = Fate::kRepeated;
    }
  }
}

// What was asked for before a transaction, and the answer.
struct Asked {
  std::vector<size_t> events = {};  // places among the readings
  Handlers::AnyAnswer answer = nullptr;
};

}  // namespace

struct Inbox::State {
  postgres::Pool& db;
  std::string group;
  Handlers handlers;
  RetryPolicy retry;

  prometheus::Family<prometheus::Counter>& events;
  prometheus::Family<prometheus::Histogram>& seconds;
  prometheus::Family<prometheus::Histogram>& ask_seconds;
  prometheus::Gauge& waiting;
  prometheus::Gauge& dead;

  using Outcomes = std::vector<std::pair<const Envelope*, const char*>>;

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

  void Count(const std::vector<Reading>& readings, const std::vector<Fate>& fates) {
    static constexpr const char* kNames[] = {"handled", "repeated", "held", "dead"};  // as Fate
    Outcomes outcomes;
    for (size_t i = 0; i < readings.size(); ++i) {
      outcomes.emplace_back(&readings[i].record->event, kNames[static_cast<size_t>(fates[i])]);
    }
    Count(outcomes);
  }

  Reading ReadRecord(const Record& record) const {
    Reading reading{.record = &record, .message = nullptr};
    const Envelope& event = record.event;
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

  // Does the work of a handler, within the log's scope and measured. The log names the first event
  // of several.
  template <typename Work>
  auto Measured(prometheus::Family<prometheus::Histogram>& into, const Envelope& event,
                const Work& work) {
    const log::Scope scope{{"traceId", event.trace.trace_id},
                           {"eventId", event.id},
                           {"eventType", event.type},
                           {"eventKey", event.key}};
    const auto begin = std::chrono::steady_clock::now();
    auto outcome = work();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    into.Add({{"group", group}, {"type", event.type}}, DurationBuckets()).Observe(took.count());
    return outcome;
  }

  // Hands over events of one type.
  Result<void> Handle(Tx& tx, const Handlers::AnyReceived& received,
                      const Handlers::AnyAnswer& answer) {
    return Measured(seconds, received.front().event,
                    [&] { return handlers.Handle(tx, received, answer); });
  }
  Result<Handlers::AnyAnswer> Ask(const Handlers::AnyReceived& received) {
    return Measured(ask_seconds, received.front().event, [&] { return handlers.Ask(received); });
  }

  // How many of the records, from the first on, may share a transaction, as far as asking goes: a
  // run of one type that is asked for stands at its beginning.
  size_t Together(const std::vector<const Record*>& records) const {
    const std::string* last = nullptr;
    for (size_t i = 0; i < records.size(); ++i) {
      const std::string& type = records[i]->event.type;
      if (!handlers.Handles(type)) continue;
      if (last != nullptr && type != *last && handlers.Asks(type)) return i;
      last = &type;
    }
    return records.size();
  }

  // The places of those to be handled that are to be asked for. All of one type.
  std::vector<size_t> ToBeAsked(const std::vector<Reading>& readings,
                                const std::vector<Fate>& fates) const {
    std::vector<size_t> places;
    for (size_t i = 0; i < readings.size(); ++i) {
      if (fates[i] == Fate::kHandled && handlers.Asks(readings[i].record->event.type)) {
        places.push_back(i);
      }
    }
    return places;
  }

  Result<std::vector<Fate>> TakeTogether(const std::vector<Reading>& readings,
                                         const std::set<Key>& keys);
  Result<Asked> AskFor(const std::vector<Reading>& readings, const std::set<Key>& keys);
  Result<void> Apply(Tx& tx, const std::vector<Reading>& readings, const std::vector<Fate>& fates,
                     const Handlers::AnyAnswer& answer);

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

  std::set<std::string> SeenAmong(Tx& tx, const std::vector<std::string>& ids) {
    std::set<std::string> seen;
    if (ids.empty()) return seen;
    for (const auto& row : tx.Exec(kSeen, group, Array(ids))) seen.insert(row[0].as<std::string>());
    return seen;
  }

  // Those of the unreadable events that a person has discarded, and that come again.
  std::set<std::string> SeenPoison(Tx& tx, const std::vector<Reading>& readings) {
    std::vector<std::string> ids;
    for (const Reading& reading : readings) {
      if (!reading.poison.empty()) ids.push_back(Identity(*reading.record));
    }
    return SeenAmong(tx, ids);
  }

  void AppendHeld(Tx& tx, const Record& record, int attempts, milliseconds pause,
                  const std::string& reason, bool is_dead) {
    const Envelope& event = record.event;
    const pqxx::result added =
        tx.Exec(kHold, group, event.topic, event.key, record.partition, record.position,
                Identity(record), event.type, ToJson(ToHeaders(event)), event.value, attempts,
                pause.count(), Kept(reason), is_dead);
    if (is_dead && !added.empty()) {
      PublishDeadLetter(tx, record, added[0][0].as<int64_t>(), attempts, reason);
    }
  }

  void PublishDeadLetter(Tx& tx, const Record& record, int64_t id, int attempts,
                         const std::string& reason) {
    Envelope copy = record.event;
    copy.topic = group + ".dead";
    copy.headers["dead_reason"] = Kept(reason);
    copy.headers["dead_topic"] = record.event.topic;
    copy.headers["dead_partition"] = std::to_string(record.partition);
    copy.headers["dead_position"] = std::to_string(record.position);
    copy.headers["dead_attempts"] = std::to_string(attempts);
    copy.headers["dead_held_id"] = std::to_string(id);
    Publish(tx, copy);
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
    return std::min(retry.first_pause * (int64_t{1} << doublings), retry.longest_pause);
  }

  void Retry(int64_t id, const Record& record, int attempts);
  Result<const char*> RetryOnce(int64_t id, const Reading& reading);
  void Fail(int64_t id, const Record& record, const std::string& reason, bool at_once);
};

Inbox::Inbox(postgres::Pool& db, std::string group, Handlers handlers, const RetryPolicy& retry) {
  auto& held = prometheus::BuildGauge()
                   .Name("consumer_held")
                   .Help("Events that wait to be tried again, or for a person")
                   .Register(Metrics());
  state_ =
      std::make_unique<State>(State{.db = db,
                                    .group = group,
                                    .handlers = std::move(handlers),
                                    .retry = retry,
                                    .events = prometheus::BuildCounter()
                                                  .Name("consumer_events_total")
                                                  .Help("Events by what became of them")
                                                  .Register(Metrics()),
                                    .seconds = prometheus::BuildHistogram()
                                                   .Name("consumer_handle_seconds")
                                                   .Help("How long handlers take")
                                                   .Register(Metrics()),
                                    .ask_seconds = prometheus::BuildHistogram()
                                                       .Name("consumer_ask_seconds")
                                                       .Help("How long handlers ask others")
                                                       .Register(Metrics()),
                                    .waiting = held.Add({{"group", group}, {"state", "waiting"}}),
                                    .dead = held.Add({{"group", group}, {"state", "dead"}})});
}

Inbox::~Inbox() = default;

Result<size_t> Inbox::Take(const std::vector<const Record*>& records) {
  State& state = *state_;
  const size_t count = state.Together(records);
  std::vector<Reading> readings;
  std::set<Key> keys;
  State::Outcomes ignored;
  for (size_t i = 0; i < count; ++i) {
    Reading reading = state.ReadRecord(*records[i]);
    if (reading.ignored) {
      ignored.emplace_back(&records[i]->event, "ignored");
      continue;
    }
    keys.insert(KeyOf(*records[i]));
    readings.push_back(std::move(reading));
  }
  if (!readings.empty()) {
    const Result<std::vector<Fate>> taken = state.TakeTogether(readings, keys);
    if (!taken) return taken.refusal();
    state.Count(readings, *taken);
  }
  state.Count(ignored);
  return count;
}

Result<std::vector<Fate>> Inbox::State::TakeTogether(const std::vector<Reading>& readings,
                                                     const std::set<Key>& keys) {
  for (int plan = 0; plan < kPlans; ++plan) {
    const Result<Asked> asked = AskFor(readings, keys);
    if (!asked) return asked.refusal();
    std::vector<Fate> fates;
    bool overtaken = false;
    const Result<void> applied = InTransaction(db, [&](Tx& tx) -> Result<void> {
      Lock(tx, keys);
      fates = Decide(readings, HeldAmong(tx, keys), SeenPoison(tx, readings));
      DropRepeated(readings, See(tx, ToBeHandled(readings, fates)), &fates);
      overtaken = ToBeAsked(readings, fates) != asked->events;
      if (overtaken) return Refusal{Code::kAborted, "was overtaken"};
      return Apply(tx, readings, fates, asked->answer);
    });
    if (applied) return fates;
    if (!overtaken) return applied.refusal();
  }
  throw Unavailable("other consumers of the group are at the same events");
}

// Looks which events will be handled, most likely, and asks for them. Nothing is locked: the
// transaction looks again.
Result<Asked> Inbox::State::AskFor(const std::vector<Reading>& readings,
                                   const std::set<Key>& keys) {
  const auto asks = [&](const Reading& reading) {
    return reading.poison.empty() && handlers.Asks(reading.record->event.type);
  };
  if (std::ranges::none_of(readings, asks)) return Asked{};
  const std::vector<Fate> fates = Read(db, [&](Tx& tx) {
    std::vector<Fate> likely = Decide(readings, HeldAmong(tx, keys), SeenPoison(tx, readings));
    const std::vector<std::string> ids = ToBeHandled(readings, likely);
    std::set<std::string> fresh(ids.begin(), ids.end());
    for (const std::string& seen : SeenAmong(tx, ids)) fresh.erase(seen);
    DropRepeated(readings, std::move(fresh), &likely);
    return likely;
  });
  Asked asked{.events = ToBeAsked(readings, fates)};
  Handlers::AnyReceived received;
  for (const size_t i : asked.events)
    received.push_back({*readings[i].message, readings[i].record->event});
  if (received.empty()) return asked;
  Result<Handlers::AnyAnswer> answer = Ask(received);
  if (!answer) return answer.refusal();
  asked.answer = *std::move(answer);
  return asked;
}

Result<void> Inbox::State::Apply(Tx& tx, const std::vector<Reading>& readings,
                                 const std::vector<Fate>& fates,
                                 const Handlers::AnyAnswer& answer) {
  Handlers::AnyReceived run;  // of one type, not handed over yet
  const auto hand_over = [&]() -> Result<void> {
    if (run.empty()) return kDone;
    Result<void> handled = Handle(tx, run, answer);
    run.clear();
    return handled;
  };
  for (size_t i = 0; i < readings.size(); ++i) {
    const Record& record = *readings[i].record;
    switch (fates[i]) {
      case Fate::kRepeated:
        break;
      case Fate::kDead:
        AppendHeld(tx, record, 0, milliseconds(0), readings[i].poison, true);
        break;
      case Fate::kWaits:
        AppendHeld(tx, record, 0, milliseconds(0), "waits for an earlier event of its key", false);
        break;
      case Fate::kHandled:
        if (!run.empty() && run.front().event.type != record.event.type) {
          Result<void> handled = hand_over();
          if (!handled) return handled;
        }
        run.push_back({*readings[i].message, record.event});
        break;
    }
  }
  return hand_over();
}

void Inbox::Hold(const Record& record, const std::string& reason) {
  State& state = *state_;
  const bool dead = state.retry.attempts <= 1;
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
}

bool Inbox::RetryDue(const std::stop_token& stop) {
  const pqxx::result due =
      Read(state_->db, [&](Tx& tx) { return tx.Exec(kDueHeads, state_->group); });
  for (const auto& row : due) {
    if (stop.stop_requested()) break;
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

void Inbox::State::Retry(int64_t id, const Record& record, int attempts) {
  Reading reading = ReadRecord(record);
  if (!reading.poison.empty()) return Fail(id, record, reading.poison, true);
  const auto unavailable = [&](const std::string& why) {
    InTransaction(db,
                  [&](Tx& tx) { tx.Exec(kPostpone, id, Kept(why), Pause(attempts + 1).count()); });
  };
  try {
    const Result<const char*> outcome = RetryOnce(id, reading);
    if (outcome) {
      if (*outcome == nullptr) return;
      Count({{&record.event, *outcome}});
    } else if (outcome.refusal().code == Code::kUnavailable) {
      unavailable(Reason(outcome.refusal()));
    } else {
      Fail(id, record, Reason(outcome.refusal()), false);
    }
  } catch (const Unavailable& error) {
    unavailable(error.what());
  } catch (const std::exception& error) {
    Fail(id, record, error.what(), false);
  }
}

// What became of it; null when another replica was here first.
Result<const char*> Inbox::State::RetryOnce(int64_t id, const Reading& reading) {
  const Envelope& event = reading.record->event;
  Handlers::AnyAnswer answer;
  if (!reading.ignored && handlers.Asks(event.type) &&
      Read(db, [&](Tx& tx) { return SeenAmong(tx, {event.id}).empty(); })) {
    Result<Handlers::AnyAnswer> answered = Ask({{*reading.message, event}});
    if (!answered) return answered.refusal();
    answer = *std::move(answered);
  }
  return InTransaction(db, [&](Tx& tx) -> Result<const char*> {
    Lock(tx, {KeyOf(*reading.record)});
    if (tx.Exec(kStillDue, id).empty()) return nullptr;
    tx.Exec(kRelease, id);
    if (reading.ignored) return "ignored";
    if (See(tx, {event.id}).empty()) return "repeated";
    if (handlers.Asks(event.type) && answer == nullptr) {
      return Refusal{Code::kUnavailable, "was forgotten meanwhile"};
    }
    const Result<void> handled = Handle(tx, {{*reading.message, event}}, answer);
    if (!handled) return handled.refusal();
    return "handled";
  });
}

void Inbox::State::Fail(int64_t id, const Record& record, const std::string& reason, bool at_once) {
  bool died = false;
  InTransaction(db, [&](Tx& tx) {
    Lock(tx, {KeyOf(record)});
    const pqxx::result current = tx.Exec(kStillDue, id);
    died = false;
    if (current.empty()) return;
    const int made = current[0][0].as<int>() + 1;
    died = at_once || made >= retry.attempts;
    tx.Exec(kFail, id, Kept(reason), died, Pause(made).count());
    if (died) PublishDeadLetter(tx, record, id, made, reason);
  });
  Count({{&record.event, died ? "dead" : "refused"}});
}

void Inbox::ForgetOld(const std::stop_token& stop) {
  const auto forget_some = [](Tx& tx) {
    return tx.Exec(kForget, kInboxRetention.count()).affected_rows();
  };
  while (!stop.stop_requested() && InTransaction(state_->db, forget_some) > 0) {
  }
}

void Inbox::CountHeld() {
  const pqxx::result counts =
      Read(state_->db, [&](Tx& tx) { return tx.Exec(kCount, state_->group); });
  state_->waiting.Set(counts[0][0].as<double>());
  state_->dead.Set(counts[0][1].as<double>());
}

}  // namespace shop::messaging
