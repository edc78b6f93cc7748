// Checks who calls, by their access token, without holding up other requests: signatures are
// checked in a thread of their own, and waiting for a key takes no thread at all.
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

namespace shop::gateway {

// Thread-safe.
class Authenticator {
 public:
  // `tokens` has to live longer.
  explicit Authenticator(auth::TokenVerifier& tokens) : tokens_(tokens) {}

  // The caller that `token` stands for, or UNAUTHENTICATED. UNAVAILABLE when its key is still being
  // fetched after a second, or at `deadline`, and at once when too many wait for keys already.
  boost::asio::awaitable<Result<Caller>> Authenticate(
      std::string_view token, std::chrono::steady_clock::time_point deadline);

 private:
  boost::asio::awaitable<std::optional<Result<Caller>>> Check(std::string_view token);

  auth::TokenVerifier& tokens_;
  std::atomic<size_t> waiting_for_keys_ = 0;
  SideThread thread_;
};

}  // namespace shop::gateway
