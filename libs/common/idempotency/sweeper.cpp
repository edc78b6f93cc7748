#include "common/idempotency/sweeper.h"

#include "common/core/deadline.h"
#include "common/telemetry/log.h"

namespace shop::idempotency {
namespace {

using postgres::Statement;
using postgres::Tx;

constexpr std::chrono::minutes kEvery{1};
constexpr int64_t kBatch = 1000;

constexpr Statement kTryLock{
    "SELECT pg_try_advisory_xact_lock(hashtextextended('sweep of idempotent_requests', 0))"};
// Leaves out a row that a request is using just now.
constexpr Statement kForget{R"(
    DELETE FROM idempotent_requests WHERE ctid = ANY (ARRAY(
      SELECT ctid FROM idempotent_requests WHERE created_at < now() - $1 * interval '1 hour'
      ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED)))"};

}  // namespace

int64_t ForgetOldKeys(postgres::Pool& db, int64_t limit) {
  return postgres::InTransaction(db, [&](Tx& tx) -> int64_t {
    if (!tx.Exec(kTryLock)[0][0].as<bool>()) return 0;
    return static_cast<int64_t>(
        tx.Exec(kForget, int64_t{kKeysLive.count()}, limit).affected_rows());
  });
}

Sweeper::Sweeper(postgres::Pool& db)
    : db_(db), thread_([this](const std::stop_token& stop) { Run(stop); }) {}

void Sweeper::Run(const std::stop_token& stop) {
  const DeadlineScope scope(DeadlineScope::TimePoint::max(), stop);
  while (!stop.stop_requested()) {
    try {
      while (ForgetOldKeys(db_, kBatch) == kBatch && !stop.stop_requested()) {
      }
    } catch (const std::exception& error) {
      if (stop.stop_requested()) return;
      log::Warning("old Idempotency-Keys could not be forgotten", {{"error", error.what()}});
    }
    std::unique_lock lock(mutex_);
    wake_.wait_for(lock, stop, kEvery, [] { return false; });
  }
}

}  // namespace shop::idempotency
