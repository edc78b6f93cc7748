#include "common/kafka/relay.h"

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <thread>

#include "common/kafka/producer.h"
#include "common/kafka/record.h"
#include "common/telemetry/log.h"
#include "common/telemetry/metrics.h"

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
constexpr Statement kUnpublished{
    "SELECT id, topic, key, event_id, type, source, time, traceparent, headers::text, value"
    " FROM outbox WHERE published_at IS NULL AND topic <> ALL ($1::text[]) ORDER BY id LIMIT $2"};
constexpr Statement kMark{
    "UPDATE outbox SET published_at = clock_timestamp() WHERE id = ANY ($1::bigint[])"};
// Counts up to a limit, as a long outage must not make counting the work.
constexpr Statement kCount{
    "SELECT count(*) FROM (SELECT FROM outbox WHERE published_at IS NULL LIMIT 10000) AS counted"};
constexpr pqxx::result::size_type kDeletedAtOnce = 1000;
constexpr Statement kDeleteOld{
    "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox ORDER BY id LIMIT 1000)"
    " AND published_at < now() - $1 * interval '1 hour'"};

constexpr auto kHouseKeeping = std::chrono::seconds(5);
constexpr auto kPutAside = std::chrono::seconds(10);
constexpr auto kLongestBackoff = milliseconds(5'000);

struct Row {
  int64_t id;
  Event event;
};

std::string RandomHolder() {
  std::random_device random;
  return std::to_string(random()) + "-" + std::to_string(random());
}

}  // namespace

struct OutboxRelay::State {
  State(const KafkaSettings& kafka, postgres::Pool& db, const RelayOptions& options)
      : kafka(kafka),
        db(db),
        options(options),
        unpublished(prometheus::BuildGauge()
                        .Name("outbox_unpublished")
                        .Help("Committed events that wait to be published (at most 10000 counted)")
                        .Register(Metrics())
                        .Add({})),
        published(prometheus::BuildCounter()
                      .Name("outbox_published_total")
                      .Help("Events that the brokers have acknowledged")
                      .Register(Metrics())
                      .Add({})),
        errors(prometheus::BuildCounter()
                   .Name("outbox_errors_total")
                   .Help("Events whose publication failed, and rounds that ended early")
                   .Register(Metrics())
                   .Add({})) {}

  void Run();
  bool HoldLease();
  bool MayGoOn();
  // Whether there may be more at once.
  bool PublishSome();
  void KeepHouse();
  std::vector<Row> Unpublished();
  // Waits for a wake, the time or the end.
  void Wait(milliseconds time);

  bool Stopping() {
    const std::lock_guard lock(mutex);
    return stopping;
  }

  const KafkaSettings kafka;
  postgres::Pool& db;
  const RelayOptions options;
  const std::string holder = RandomHolder();
  std::unique_ptr<Producer> producer;
  steady_clock::time_point lease_until{};  // by this clock, less than by the database's
  steady_clock::time_point kept_house{};
  std::map<std::string, steady_clock::time_point> put_aside;  // topics that refuse
  bool away = false;

  prometheus::Gauge& unpublished;
  prometheus::Counter& published;
  prometheus::Counter& errors;

  std::mutex mutex;
  std::condition_variable changed;
  bool woken = false;
  bool stopping = false;
  std::thread thread;
};

OutboxRelay::OutboxRelay(const KafkaSettings& kafka, postgres::Pool& db,
                         const RelayOptions& options)
    : state_(std::make_unique<State>(kafka, db, options)) {
  state_->producer = std::make_unique<Producer>(kafka, "relay");
  state_->thread = std::thread([state = state_.get()] { state->Run(); });
}

OutboxRelay::~OutboxRelay() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
  }
  state_->changed.notify_all();
  state_->thread.join();
}

void OutboxRelay::Wake() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->woken = true;
  }
  state_->changed.notify_all();
}

void OutboxRelay::State::Run() {
  milliseconds backoff{100};
  while (!Stopping()) {
    try {
      bool more = false;
      if (HoldLease()) more = PublishSome();
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
    InTransaction(db, [&](Tx& tx) { tx.Exec(kReturnLease, holder); });
  } catch (const std::exception& error) {
    log::Info("outbox relay leaves its lease to run out", {{"error", error.what()}});
  }
}

void OutboxRelay::State::Wait(milliseconds time) {
  std::unique_lock lock(mutex);
  // While something is away a wake must not turn the backoff into a busy loop.
  changed.wait_for(lock, time, [&] { return stopping || (woken && !away); });
  woken = false;
}

// Brokers may be away for long: the lease is kept meanwhile, or given up with what it covered.
bool OutboxRelay::State::MayGoOn() {
  try {
    return !Stopping() && HoldLease();
  } catch (const std::exception& error) {
    log::Warning("outbox relay cannot keep its lease", {{"error", error.what()}});
    return false;
  }
}

bool OutboxRelay::State::HoldLease() {
  const auto now = steady_clock::now();
  if (now + options.lease * 2 / 3 < lease_until) return true;
  const bool held = InTransaction(
      db, [&](Tx& tx) { return !tx.Exec(kTakeLease, holder, options.lease.count()).empty(); });
  lease_until = held ? now + options.lease : steady_clock::time_point{};
  return held;
}

std::vector<Row> OutboxRelay::State::Unpublished() {
  std::vector<std::string> not_now;
  for (auto topic = put_aside.begin(); topic != put_aside.end();) {
    if (topic->second < steady_clock::now()) {
      topic = put_aside.erase(topic);
    } else {
      not_now.push_back(topic->first);
      ++topic;
    }
  }
  const pqxx::result found =
      Read(db, [&](Tx& tx) { return tx.Exec(kUnpublished, Array(not_now), options.batch); });
  std::vector<Row> rows;
  rows.reserve(found.size());
  for (const auto& row : found) {
    Event event{.topic = row[1].as<std::string>(),
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
    if (!row[8].is_null()) event.headers = HeadersFromJson(row[8].as<std::string>());
    rows.push_back({row[0].as<int64_t>(), std::move(event)});
  }
  return rows;
}

bool OutboxRelay::State::PublishSome() {
  std::vector<Row> rows = Unpublished();
  if (rows.empty()) return false;
  std::vector<Event> events;
  events.reserve(rows.size());
  for (Row& row : rows) events.push_back(std::move(row.event));

  if (!producer) producer = std::make_unique<Producer>(kafka, "relay");
  const std::vector<Outcome> outcomes = producer->Publish(events, [&] { return MayGoOn(); });

  std::vector<int64_t> acknowledged;
  std::map<std::string, std::string> refused;  // by topic, why
  for (size_t i = 0; i < rows.size(); ++i) {
    if (outcomes[i].acknowledged) acknowledged.push_back(rows[i].id);
    if (!outcomes[i].refusal.empty()) refused.emplace(events[i].topic, outcomes[i].refusal);
  }
  const size_t failed = rows.size() - acknowledged.size();
  if (failed > 0) producer.reset();
  errors.Increment(static_cast<double>(failed));
  for (const auto& [topic, why] : refused) {
    log::Error("events cannot be published", {{"topic", topic}, {"error", why}});
    put_aside[topic] = steady_clock::now() + kPutAside;
  }
  if (!acknowledged.empty()) {
    InTransaction(db, [&](Tx& tx) {
      // Losing the mark in a crash only repeats: no need to wait for the disk.
      tx.Run("SET LOCAL synchronous_commit = off");
      tx.Exec(kMark, Array(acknowledged));
    });
    published.Increment(static_cast<double>(acknowledged.size()));
  }
  return failed > 0 || static_cast<int>(rows.size()) == options.batch;
}

void OutboxRelay::State::KeepHouse() {
  const auto now = steady_clock::now();
  if (now - kept_house < kHouseKeeping) return;
  kept_house = now;
  unpublished.Set(Read(db, [](Tx& tx) { return tx.Exec(kCount)[0][0].as<double>(); }));
  while (!Stopping() && InTransaction(db, [&](Tx& tx) {
    return tx.Exec(kDeleteOld, options.retention.count()).affected_rows() == kDeletedAtOnce;
  })) {
  }
}

}  // namespace shop::kafka
