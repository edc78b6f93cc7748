// Deletes sessions that are too old, with their refresh tokens, and attempts to log in and
// requests for mails with tokens that count no more.
#pragma once

#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <thread>

#include "common/postgres/pool.h"

namespace shop::auth {

// Does so every minute, in batches, in a thread of its own. Every replica has one; they leave each
// other's rows alone. While the database is away it tries again a minute later.
class SessionSweeper {
 public:
  // `db` must outlive this.
  explicit SessionSweeper(postgres::Pool& db);
  // Stops the statement under way.
  ~SessionSweeper() = default;
  SessionSweeper(const SessionSweeper&) = delete;
  SessionSweeper& operator=(const SessionSweeper&) = delete;

 private:
  void Run(const std::stop_token& stop);

  postgres::Pool& db_;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::jthread thread_;  // the last: it uses the others
};

}  // namespace shop::auth
