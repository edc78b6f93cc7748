// Checks who calls, by their access token, without holding up other requests: signatures are
// checked in a thread of their own, and waiting for a key takes no thread at all.
//
// Metrics: http_token_checks_total, and http_limit_refusals_total{limit=token_checks}.
#pragma once

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstddef>
#include <optional>
#include <string_view>

#include "common/auth/access_token.h"
#include "common/core/result.h"
#include "gateway/side_thread.h"

namespace prometheus {
class Counter;
}

namespace shop::gateway {

// Thread-safe.
class Authenticator {
 public:
  // How many tokens may wait for the thread: a tenth of a second's work.
  static constexpr size_t kMostChecks = 1000;

  // `tokens` has to live longer.
  explicit Authenticator(auth::TokenVerifier& tokens);

  // The caller that `token` stands for, which is not in the cache, or UNAUTHENTICATED. UNAVAILABLE when its
  // key is still being fetched after a second, or at `deadline`, and at once when too many wait for keys
  // or for the thread already.
  boost::asio::awaitable<Result<Caller>> Authenticate(
      std::string_view token, std::chrono::steady_clock::time_point deadline);

 private:
  boost::asio::awaitable<std::optional<Result<Caller>>> Check(std::string_view token);

  auth::TokenVerifier& tokens_;
  prometheus::Counter& checks_;
  prometheus::Counter& refused_;
  std::atomic<size_t> waiting_for_keys_ = 0;
  std::atomic<size_t> waiting_for_thread_ = 0;
  SideThread thread_;
};

}  // namespace shop::gateway
