#include "common/kafka/relay.h"

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <set>
#include <stop_token>
#include <thread>
#include <utility>

#include "common/core/deadline.h"
#include "common/crypto/random.h"
#include "common/kafka/producer.h"
#include "common/messaging/headers.h"
#include "common/messaging/outbox.h"
#include "common/postgres/columns.h"
#include "common/telemetry/log.h"
#include "common/telemetry/metrics.h"
#include "common/telemetry/span.h"

namespace shop::kafka {
namespace {

using postgres::Array;
using postgres::InTransaction;
using postgres::Read;
using postgres::Statement;
using postgres::Tx;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr Statement kTakeLease{
    "INSERT INTO relay_lease (name, holder, until)"
    " VALUES ('outbox', $1, clock_timestamp() + $2 * interval '1 millisecond')"
    " ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until"
    " WHERE relay_lease.holder = excluded.holder OR relay_lease.until < clock_timestamp()"
    " RETURNING 1"};
constexpr Statement kReturnLease{"DELETE FROM relay_lease WHERE name = 'outbox' AND holder = $1"};
// By id among the unpublished, never "after the last id": a lower id may commit later.
#define SELECT_UNPUBLISHED                                                                  \
  "SELECT id, topic, key, event_id, type, source, time, traceparent, headers::text, value," \
  "       refusal IS NOT NULL"                                                              \
  " FROM outbox WHERE published_at IS NULL"
constexpr Statement kUnpublished{SELECT_UNPUBLISHED " ORDER BY id LIMIT $1"};
constexpr Statement kUnpublishedBesides{
    SELECT_UNPUBLISHED
    " AND topic <> ALL ($2::text[])"
    "   AND NOT EXISTS (SELECT FROM unnest($3::text[], $4::text[]) AS paused (topic, key)"
    "     WHERE paused.topic = outbox.topic AND paused.key = outbox.key)"
    " ORDER BY id LIMIT $1"};
// Losing the mark in a crash only repeats, so its commit does not wait for the disk. The setting is
// local to the transaction that the statement is by itself, and is in force when that commits.
constexpr Statement kMark{
    "WITH unhurried AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))"
    " UPDATE outbox SET published_at = clock_timestamp(), refusal = NULL"
    " FROM unhurried, (SELECT unnest($1::bigint[]) LIMIT cardinality($1)) AS marked (id)"
    " WHERE outbox.id = marked.id"};
constexpr Statement kNoteRefusal{
    "UPDATE outbox SET refusal = $2 WHERE id = $1 AND refusal IS DISTINCT FROM $2"};
// Counts up to a limit, as a long outage must not make counting the work.
constexpr Statement kCount{
    "SELECT count(*) FROM (SELECT FROM outbox WHERE published_at IS NULL LIMIT 10000) AS counted"};
constexpr Statement kCountRefused{
    "SELECT count(*) FROM outbox WHERE published_at IS NULL AND refusal IS NOT NULL"};
constexpr pqxx::result::size_type kDeletedAtOnce = 1000;
constexpr Statement kDeleteOld{
    "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox"
    " WHERE published_at < now() - $1 * interval '1 hour' ORDER BY published_at LIMIT 1000)"};

constexpr auto kHouseKeeping = std::chrono::seconds(5);
constexpr auto kLongestBackoff = milliseconds(5'000);
// How long a stop waits for the brokers and the database to take what is there.
constexpr auto kReturnLimit = milliseconds(500);

using Key = std::pair<std::string, std::string>;  // topic, key

struct Row {
  int64_t id;
  messaging::Envelope event;
  bool refused;
};

std::string RandomHolder() {
  return std::to_string(ThreadRandom()());
}

}  // namespace

struct OutboxRelay::State {
  State(const KafkaSettings& kafka, postgres::Pool& db, const RelayOptions& options)
      : db(db),
        options(options),
        producer(kafka, "relay"),
        unpublished(
            GaugeFamily("outbox_unpublished",
                        "Committed events that wait to be published (at most 10000 counted)")
                .Add({})),
        published(
            CounterFamily("outbox_published_total", "Events that the brokers have acknowledged")
                .Add({})),
        rounds(
            CounterFamily("outbox_rounds_total", "Rounds that had something to publish").Add({})),
        refused(
            GaugeFamily("outbox_refused",
                        "Committed events that the brokers refuse: their keys wait for a person")
                .Add({})),
        errors(CounterFamily("outbox_errors_total",
                             "Events whose publication failed, and rounds that ended early")
                   .Add({})) {}

  void Run();
  // Something was committed, and is to leave now.
  void Wake();
  bool HoldLease();
  bool MayGoOn();
  // Whether there may be more at once.
  bool PublishSome();
  void KeepHouse();
  std::vector<Row> Unpublished();
  std::vector<SpanRecord> BeginSpans(std::vector<messaging::Envelope>& events);
  void EndSpans(std::vector<SpanRecord> spans, const std::vector<messaging::Envelope>& events,
                const std::vector<Outcome>& outcomes);
  // Keeps what is refused out of the next rounds for a while.
  void PauseRefused(const std::vector<Row>& rows, const std::vector<messaging::Envelope>& events,
                    const std::vector<Outcome>& outcomes);
  void NoteRefusal(const Row& row, const messaging::Envelope& event, const std::string& why);
  void Mark(const std::vector<int64_t>& acknowledged);
  // Waits for a wake, the time or the end, and on until the next round may begin.
  void Wait(milliseconds time);

  bool Stopping() const { return stop.stop_requested(); }

  postgres::Pool& db;
  const RelayOptions options;
  const std::string holder = RandomHolder();
  Producer producer;
  steady_clock::time_point lease_until{};  // by this clock, less than by the database's
  steady_clock::time_point kept_house{};
  steady_clock::time_point round_began{};  // of the last round that had something
  // Until when: topics that refuse, and keys whose first event is refused or whose partition has no
  // leader.
  std::map<std::string, steady_clock::time_point> paused_topics;
  std::map<Key, steady_clock::time_point> paused_keys;
  std::set<int64_t> suspects;  // of a batch that was refused for one of its events
  bool away = false;

  prometheus::Gauge& unpublished;
  prometheus::Counter& published;
  prometheus::Counter& rounds;
  prometheus::Gauge& refused;
  prometheus::Counter& errors;

  std::stop_source stop;  // ends pauses; what is there is still published
  std::stop_source cut;   // ends everything
  std::mutex mutex;
  std::condition_variable_any changed;
  bool woken = false;
  std::thread thread;
  std::shared_ptr<const void> subscription;  // the last, so that it ends before the rest
};

OutboxRelay::OutboxRelay(const KafkaSettings& kafka, postgres::Pool& db,
                         const RelayOptions& options)
    : state_(std::make_unique<State>(kafka, db, options)) {
  state_->thread = std::thread([state = state_.get()] { state->Run(); });
  state_->subscription =
      db.Subscribe(messaging::kOutboxSignal, [state = state_.get()] { state->Wake(); });
}

OutboxRelay::~OutboxRelay() {
  state_->stop.request_stop();
  EndWithin(state_->options.grace, state_->cut, [this] { state_->thread.join(); });
}

void OutboxRelay::State::Wake() {
  {
    const std::lock_guard lock(mutex);
    if (std::exchange(woken, true)) return;
  }
  changed.notify_all();
}

void OutboxRelay::State::Run() {
  const DeadlineScope until(DeadlineScope::TimePoint::max(), cut.get_token());
  milliseconds backoff{100};
  bool last = false;
  while (!last) {
    // What was committed before the stop is looked for once more.
    last = Stopping();
    {
      // What is committed from here on wakes it again: what was committed before is read now.
      const std::lock_guard lock(mutex);
      woken = false;
    }
    try {
      bool more = HoldLease() && PublishSome();
      while (last && more && MayGoOn()) more = PublishSome();
      KeepHouse();
      if (away) log::Info("outbox relay goes on");
      away = false;
      backoff = milliseconds(100);
      if (!more) Wait(options.poll);
    } catch (const std::exception& error) {
      errors.Increment();
      if (!away) log::Warning("outbox relay waits", {{"error", error.what()}});
      away = true;
      Wait(backoff);
      backoff = std::min(backoff * 2, kLongestBackoff);
    }
  }
  try {
    // Of its own: the cut must not leave the lease to run out.
    const DeadlineScope soon(steady_clock::now() + kReturnLimit, std::stop_token());
    InTransaction(db, [&](Tx& tx) { tx.Exec(kReturnLease, holder); });
  } catch (const std::exception& error) {
    log::Info("outbox relay leaves its lease to run out", {{"error", error.what()}});
  }
}

void OutboxRelay::State::Wait(milliseconds time) {
  std::unique_lock lock(mutex);
  // While something is away a wake must not turn the backoff into a busy loop, and without the lease
  // there is nothing to do.
  const bool heeds = !away && lease_until != steady_clock::time_point{};
  changed.wait_for(lock, stop.get_token(), time, [&] { return woken && heeds; });
  changed.wait_until(lock, stop.get_token(), round_began + options.interval, [] { return false; });
}

// Brokers may be away for long: the lease is kept meanwhile, or given up with what it covered.
bool OutboxRelay::State::MayGoOn() {
  try {
    return !cut.stop_requested() && HoldLease();
  } catch (const std::exception& error) {
    log::Warning("outbox relay cannot keep its lease", {{"error", error.what()}});
    return false;
  }
}

bool OutboxRelay::State::HoldLease() {
  const auto now = steady_clock::now();
  if (now + options.lease * 2 / 3 < lease_until) return true;
  const bool ours = InTransaction(
      db, [&](Tx& tx) { return !tx.Exec(kTakeLease, holder, options.lease.count()).empty(); });
  lease_until = ours ? now + options.lease : steady_clock::time_point{};
  return ours;
}

std::vector<Row> OutboxRelay::State::Unpublished() {
  const auto is_over = [now = steady_clock::now()](const auto& paused) {
    return paused.second < now;
  };
  std::erase_if(paused_topics, is_over);
  std::erase_if(paused_keys, is_over);
  const pqxx::result found = Read(db, [&](Tx& tx) {
    if (paused_topics.empty() && paused_keys.empty()) return tx.Exec(kUnpublished, options.batch);
    return tx.Exec(kUnpublishedBesides, options.batch,
                   Array(paused_topics, [](const auto& paused) { return paused.first; }),
                   Array(paused_keys, [](const auto& paused) { return paused.first.first; }),
                   Array(paused_keys, [](const auto& paused) { return paused.first.second; }));
  });
  std::vector<Row> rows;
  rows.reserve(found.size());
  for (const auto& row : found) {
    messaging::Envelope event{.topic = row[1].as<std::string>(),
                              .key = row[2].as<std::string>(),
                              .id = row[3].as<std::string>(),
                              .type = row[4].as<std::string>(),
                              .source = row[5].as<std::string>(),
                              .time = row[6].as<std::string>(),
                              .trace = {},
                              .value = row[9].as<std::string>()};
    if (const std::string trace = row[7].as<std::string>(); !trace.empty()) {
      event.trace = TraceContext::FromHeader(trace);
    }
    if (!row[8].is_null()) event.headers = messaging::HeadersFromJson(row[8].as<std::string>());
    rows.push_back({row[0].as<int64_t>(), std::move(event), row[10].as<bool>()});
  }
  return rows;
}

bool OutboxRelay::State::PublishSome() {
  const auto begun = steady_clock::now();
  std::vector<Row> rows = Unpublished();
  if (rows.empty()) return false;
  round_began = begun;
  rounds.Increment();
  bool more = static_cast<int>(rows.size()) == options.batch;
  // What was refused travels alone, so that it takes no other along.
  const auto alone = std::ranges::find_if(
      rows, [&](const Row& row) { return row.refused || suspects.contains(row.id); });
  const auto end = alone == rows.begin() ? alone + 1 : alone;
  more = more || end != rows.end();
  rows.erase(end, rows.end());

  std::vector<messaging::Envelope> events;
  events.reserve(rows.size());
  for (Row& row : rows) events.push_back(std::move(row.event));
  std::vector<SpanRecord> spans = BeginSpans(events);
  const std::vector<Outcome> outcomes = producer.Publish(events, [&] { return MayGoOn(); });
  EndSpans(std::move(spans), events, outcomes);

  std::vector<int64_t> acknowledged;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (outcomes[i].acknowledged) acknowledged.push_back(rows[i].id);
  }
  errors.Increment(static_cast<double>(rows.size() - acknowledged.size()));
  Mark(acknowledged);
  PauseRefused(rows, events, outcomes);
  return more || acknowledged.size() < rows.size();
}

// One an event, which consumers find as what theirs belong to.
std::vector<SpanRecord> OutboxRelay::State::BeginSpans(std::vector<messaging::Envelope>& events) {
  std::vector<SpanRecord> spans;
  if (!traces::On()) return spans;
  const auto now = std::chrono::system_clock::now();
  for (messaging::Envelope& event : events) {
    if (event.trace.trace_id.empty()) event.trace = TraceContext::New();
    SpanRecord& span = spans.emplace_back();
    span.kind = SpanKind::kProducer;
    span.name = "publish " + event.topic;
    span.start = now;
    if (!event.trace.begins) span.parent_span_id = event.trace.span_id;
    span.context = event.trace = event.trace.Child();
  }
  return spans;
}

// https://opentelemetry.io/docs/specs/semconv/messaging/kafka/
void OutboxRelay::State::EndSpans(std::vector<SpanRecord> spans,
                                  const std::vector<messaging::Envelope>& events,
                                  const std::vector<Outcome>& outcomes) {
  for (size_t i = 0; i < spans.size(); ++i) {
    const messaging::Envelope& event = events[i];
    SpanRecord& span = spans[i];
    span.duration = std::chrono::system_clock::now() - span.start;
    span.attributes = {
        {"messaging.system", "kafka"},        {"messaging.operation.name", "publish"},
        {"messaging.operation.type", "send"}, {"messaging.destination.name", event.topic},
        {"messaging.message.id", event.id},   {"messaging.kafka.message.key", event.key},
        {"shop.event.type", event.type}};
    span.failed = !outcomes[i].acknowledged;
    span.error = outcomes[i].refusal;
    traces::Export(std::move(span));
  }
}

void OutboxRelay::State::Mark(const std::vector<int64_t>& acknowledged) {
  if (acknowledged.empty()) return;
  // Outside of a transaction, though it writes: marking twice does no harm.
  db.RunOutside([&](Tx& tx) { tx.Exec(kMark, Array(acknowledged)); });
  published.Increment(static_cast<double>(acknowledged.size()));
}

void OutboxRelay::State::PauseRefused(const std::vector<Row>& rows,
                                      const std::vector<messaging::Envelope>& events,
                                      const std::vector<Outcome>& outcomes) {
  const auto until = steady_clock::now() + options.pause;
  std::map<std::string, std::string> topics;  // why
  std::map<std::string, size_t> leaderless;   // topics, and how many keys
  for (size_t i = 0; i < rows.size(); ++i) {
    const messaging::Envelope& event = events[i];
    const auto& [acknowledged, fault, why] = outcomes[i];
    suspects.erase(rows[i].id);
    switch (fault) {
      case Outcome::Fault::kNone:
        break;
      case Outcome::Fault::kEvent:
        paused_keys[{event.topic, event.key}] = until;
        NoteRefusal(rows[i], event, why);
        break;
      case Outcome::Fault::kBatch:
        suspects.insert(rows[i].id);
        break;
      case Outcome::Fault::kPartition:
        paused_keys[{event.topic, event.key}] = until;
        ++leaderless[event.topic];
        break;
      case Outcome::Fault::kTopic:
        topics.emplace(event.topic, why);
        break;
    }
  }
  for (const auto& [topic, keys] : leaderless) {
    log::Warning("partitions without a leader: their events wait",
                 {{"topic", topic}, {"keys", keys}});
  }
  for (const auto& [topic, why] : topics) {
    log::Error("events cannot be published", {{"topic", topic}, {"error", why}});
    paused_topics[topic] = until;
  }
}

// Found by whoever looks at the database, after a restart too.
void OutboxRelay::State::NoteRefusal(const Row& row, const messaging::Envelope& event,
                                     const std::string& why) {
  const bool new_to_us = InTransaction(
      db, [&](Tx& tx) { return tx.Exec(kNoteRefusal, row.id, why).affected_rows() == 1; });
  if (!new_to_us) return;
  log::Error("event is refused by the brokers", {{"outboxId", row.id},
                                                 {"topic", event.topic},
                                                 {"key", event.key},
                                                 {"eventId", event.id},
                                                 {"eventType", event.type},
                                                 {"traceId", event.trace.trace_id},
                                                 {"error", why}});
}

void OutboxRelay::State::KeepHouse() {
  const auto now = steady_clock::now();
  if (now - kept_house < kHouseKeeping) return;
  kept_house = now;
  const auto count = [&](const Statement& statement) {
    return Read(db, [&](Tx& tx) { return tx.Exec(statement)[0][0].as<double>(); });
  };
  unpublished.Set(count(kCount));
  refused.Set(count(kCountRefused));
  while (!Stopping() && InTransaction(db, [&](Tx& tx) {
    return tx.Exec(kDeleteOld, options.retention.count()).affected_rows() == kDeletedAtOnce;
  })) {
  }
}

}  // namespace shop::kafka
