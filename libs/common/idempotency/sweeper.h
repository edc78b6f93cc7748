// Forgets Idempotency-Keys that were used long ago.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <stop_token>
#include <thread>

#include "common/postgres/pool.h"

namespace shop::idempotency {

// How long a key is remembered at least.
inline constexpr std::chrono::hours kKeysLive{24};

// Forgets up to `limit` of the keys that are older than kKeysLive, and answers how many. 0 while another
// replica is at it.
int64_t ForgetOldKeys(postgres::Pool& db, int64_t limit);

// Does so every minute, in batches, in a thread of its own. Every replica has one, and one at a time
// works. While the database is away it tries again a minute later.
class Sweeper {
 public:
  // `db` must outlive this.
  explicit Sweeper(postgres::Pool& db);
  // Stops the statement under way.
  ~Sweeper() = default;
  Sweeper(const Sweeper&) = delete;
  Sweeper& operator=(const Sweeper&) = delete;

 private:
  void Run(const std::stop_token& stop);

  postgres::Pool& db_;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::jthread thread_;  // the last: it uses the others
};

}  // namespace shop::idempotency
