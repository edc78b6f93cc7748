#include "auth/session_sweeper.h"

#include <chrono>

#include "auth/asked_mails.h"
#include "auth/login_attempts.h"
#include "auth/mailed_tokens.h"
#include "auth/session_store.h"
#include "common/core/deadline.h"
#include "common/telemetry/log.h"

namespace shop::auth {
namespace {

constexpr std::chrono::minutes kEvery{1};
constexpr int64_t kBatch = 100;  // each with all its refresh tokens

}  // namespace

SessionSweeper::SessionSweeper(postgres::Pool& db)
    : db_(db), thread_([this](const std::stop_token& stop) { Run(stop); }) {}

void SessionSweeper::Run(const std::stop_token& stop) {
  const DeadlineScope scope(DeadlineScope::TimePoint::max(), stop);
  // Whether there may be more.
  const auto sweep = [this] {
    return postgres::InTransaction(db_, [](postgres::Tx& tx) {
      const bool sessions = SweepSessions(tx, kBatch) == kBatch;
      const bool attempts = SweepAttempts(tx, kBatch) == kBatch;
      const bool mails = SweepAskedMails(tx, kBatch) == kBatch;
      return SweepTokens(tx, kBatch) == kBatch || mails || attempts || sessions;
    });
  };
  while (!stop.stop_requested()) {
    try {
      while (sweep() && !stop.stop_requested()) {
      }
    } catch (const std::exception& error) {
      if (stop.stop_requested()) return;
      log::Warning("old sessions could not be deleted", {{"error", error.what()}});
    }
    std::unique_lock lock(mutex_);
    wake_.wait_for(lock, stop, kEvery, [] { return false; });
  }
}

}  // namespace shop::auth
