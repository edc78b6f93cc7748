#include "common/messaging/erasure.h"

#include <condition_variable>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>

#include "common/core/deadline.h"
#include "common/messaging/retention.h"
#include "common/postgres/columns.h"
#include "common/telemetry/log.h"
#include "common/telemetry/metrics.h"
#include "shop/events/v1/users.pb.h"

namespace shop::messaging {
namespace {

using postgres::Statement;
using postgres::Tx;
using std::chrono::milliseconds;

constexpr milliseconds kPoll{1'000};
constexpr milliseconds kCountEvery{10'000};
constexpr int kBatch = 20;
constexpr char kDeletedSignal[] = "deleted_users";

constexpr Statement kRemember{
    "INSERT INTO deleted_users (user_id) VALUES ($1) ON CONFLICT DO NOTHING"};
constexpr Statement kLockDue{R"sql(
    SELECT user_id FROM deleted_users WHERE look_at <= now()
    ORDER BY look_at LIMIT 1 FOR UPDATE SKIP LOCKED)sql"};
constexpr Statement kLookAgain{R"sql(
    UPDATE deleted_users
    SET erased_at = CASE WHEN NOT $2 THEN coalesce(erased_at, now()) END,
        look_at = CASE WHEN $2 OR deleted_at > now() - $4 * interval '1 hour'
                       THEN now() + least(greatest(now() - deleted_at, interval '1 second'),
                                          $3 * interval '1 millisecond') END
    WHERE user_id = $1)sql"};
constexpr Statement kPostpone{
    "UPDATE deleted_users SET look_at = now() + $2 * interval '1 millisecond', erased_at = NULL "
    "WHERE user_id = $1"};
constexpr Statement kCount{R"sql(
    SELECT count(*), coalesce(extract(epoch FROM now() - min(deleted_at))::bigint, 0)
    FROM deleted_users WHERE look_at IS NOT NULL AND erased_at IS NULL)sql"};

// A row that the relay, or a retry, has locked waits for the next time.
constexpr Statement kErasePublished{R"sql(
    WITH free AS (
      SELECT id FROM outbox WHERE person_of_event(value) = $1 AND published_at IS NOT NULL
      FOR UPDATE SKIP LOCKED)
    UPDATE outbox SET value = event_without_person(value) FROM free WHERE outbox.id = free.id)sql"};
constexpr Statement kEraseQueued{R"sql(
    WITH free AS (
      SELECT id FROM retry_queue WHERE person_of_event(value) = $1 FOR UPDATE SKIP LOCKED)
    UPDATE retry_queue SET value = event_without_person(value) FROM free
    WHERE retry_queue.id = free.id)sql"};
constexpr Statement kEventsLeft{R"sql(
    SELECT FROM outbox WHERE person_of_event(value) = $1
    UNION ALL SELECT FROM retry_queue WHERE person_of_event(value) = $1 LIMIT 1)sql"};

// By the index of the few events that have something personal.
constexpr Statement kForgetTokens{R"sql(
    UPDATE outbox SET value = event_without_token(value)
    FROM (SELECT * FROM unnest($2::bigint[], $3::bigint[]) LIMIT cardinality($2)) AS o (id, user_id)
    WHERE person_of_event(value) = o.user_id::text AND key = o.id::text AND type = $1
      AND value <> event_without_token(value))sql"};

Result<void> OnUserDeleted(Tx& tx, const events::v1::UserDeleted& event, const Envelope&) {
  if (event.user_id() <= 0) return Refusal{Code::kInvalidArgument, "the event names no user"};
  tx.Exec(kRemember, event.user_id());
  tx.SignalCommit(kDeletedSignal);
  return kDone;
}

// Looks at the user who is due for longest; false when nobody is. `user` is whom it was at when it
// throws.
bool EraseNext(postgres::Pool& db, const EraseUser& erase, const ErasurePace& pace,
               std::optional<int64_t>* user) {
  return postgres::InTransaction(db, [&](Tx& tx) {
    user->reset();
    const pqxx::result due = tx.Exec(kLockDue);
    if (due.empty()) return false;
    *user = due[0][0].as<int64_t>();
    const Left left = erase(tx, **user);
    tx.Exec(kLookAgain, **user, left == Left::kSomething, pace.longest_pause.count(),
            kInboxRetention.count());
    return true;
  });
}

}  // namespace

Handlers WithErasure(Handlers handlers) {
  handlers.On<events::v1::UserDeleted>(OnUserDeleted)
      .Ignore<events::v1::UserRegistered, events::v1::UserRoleChanged>();
  return handlers;
}

Left EraseEvents(Tx& tx, int64_t user_id) {
  const std::string person = std::to_string(user_id);
  tx.Exec(kErasePublished, person);
  tx.Exec(kEraseQueued, person);
  return LeftOf(tx.Exec(kEventsLeft, person));
}

void ForgetTokens(Tx& tx, const std::string& type, const std::vector<DecidedOrder>& orders) {
  if (orders.empty()) return;
  tx.Exec(kForgetTokens, type, postgres::Array(orders, &DecidedOrder::order_id),
          postgres::Array(orders, &DecidedOrder::user_id));
}

ErasurePace ReadErasurePace(Env& env) {
  ErasurePace pace;
  const auto seconds = env.Seconds("ERASURE_PAUSE_SECONDS");
  if (!seconds) return pace;
  if (seconds->count() == 0) env.Wrong("ERASURE_PAUSE_SECONDS", "must be more than 0");
  pace.longest_pause = *seconds;
  return pace;
}

int EraseDue(postgres::Pool& db, const EraseUser& erase, const ErasurePace& pace, int limit) {
  for (int looked_at = 0; looked_at < limit; ++looked_at) {
    std::optional<int64_t> user;
    try {
      if (!EraseNext(db, erase, pace, &user)) return looked_at;
    } catch (const std::exception& error) {
      if (!user) throw;
      // Others must not wait for one who cannot be erased. Fails as well where the database is away.
      postgres::InTransaction(
          db, [&](Tx& tx) { tx.Exec(kPostpone, *user, pace.longest_pause.count()); });
      log::Error("a deleted user cannot be erased", {{"userId", *user}, {"error", error.what()}});
    }
  }
  return limit;
}

struct ErasureSweeper::State {
  State(postgres::Pool& pool, EraseUser how, const ErasurePace& when)
      : db(pool),
        erase(std::move(how)),
        pace(when),
        signals(db.Subscribe(kDeletedSignal,
                             [this] {
                               const std::lock_guard lock(mutex);
                               signalled = true;
                               wake.notify_all();
                             })),
        thread([this](const std::stop_token& stop) { Run(stop); }) {}

  void Run(const std::stop_token& stop) {
    const DeadlineScope scope(DeadlineScope::TimePoint::max(), stop);
    bool failed = false;
    while (!stop.stop_requested()) {
      try {
        while (EraseDue(db, erase, pace, kBatch) == kBatch && !stop.stop_requested()) continue;
        Count();
        failed = false;
      } catch (const std::exception& error) {
        // Once, and not every second.
        if (!stop.stop_requested() && !std::exchange(failed, true)) {
          log::Warning("deleted users cannot be erased", {{"error", error.what()}});
        }
      }
      std::unique_lock lock(mutex);
      wake.wait_for(lock, stop, kPoll, [this] { return signalled; });
      signalled = false;
    }
  }

  void Count() {
    const auto now = std::chrono::steady_clock::now();
    if (counted && now - *counted < kCountEvery) return;
    counted = now;
    const pqxx::result rows = postgres::Read(db, [](Tx& tx) { return tx.Exec(kCount); });
    users.Set(rows[0][0].as<double>());
    oldest.Set(rows[0][1].as<double>());
  }

  postgres::Pool& db;
  const EraseUser erase;
  const ErasurePace pace;
  prometheus::Gauge& users =
      GaugeFamily("erasures_unfinished", "Deleted users of whom something is left").Add({});
  prometheus::Gauge& oldest =
      GaugeFamily("erasures_oldest_seconds", "How long ago the first of them was deleted").Add({});
  std::optional<std::chrono::steady_clock::time_point> counted;
  std::mutex mutex;
  std::condition_variable_any wake;
  bool signalled = false;
  std::shared_ptr<const void> signals;
  std::jthread thread;  // the last: it uses the others
};

ErasureSweeper::ErasureSweeper(postgres::Pool& db, EraseUser erase, const ErasurePace& pace)
    : state_(std::make_unique<State>(db, std::move(erase), pace)) {}

ErasureSweeper::~ErasureSweeper() = default;

}  // namespace shop::messaging
