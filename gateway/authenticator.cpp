#include "gateway/authenticator.h"

#include <absl/cleanup/cleanup.h>

#include <algorithm>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <utility>

#include "common/telemetry/log.h"
#include "common/telemetry/metrics.h"
#include "gateway/limits/client_limits.h"

namespace shop::gateway {
namespace {

namespace asio = boost::asio;

// How long a request waits for a key that is being fetched, and how many may wait at once.
constexpr std::chrono::milliseconds kKeyPatience{1000};
constexpr std::chrono::milliseconds kFirstPause{10};  // until the next attempt; doubles
constexpr size_t kMostWaiting = 100;

}  // namespace

Authenticator::Authenticator(auth::TokenVerifier& tokens)
    : tokens_(tokens),
      checks_(prometheus::BuildCounter()
                  .Name("http_token_checks_total")
                  .Help("Access tokens that were checked, as they were not in the cache.")
                  .Register(Metrics())
                  .Add({})),
      refused_(LimitRefusals("token_checks")) {}

asio::awaitable<Result<Caller>> Authenticator::Authenticate(
    std::string_view token, std::chrono::steady_clock::time_point deadline) {
  std::optional<Result<Caller>> caller = co_await Check(token);
  if (caller) co_return *std::move(caller);

  const Refusal no_key{Code::kUnavailable, "the token's key could not be fetched"};
  const absl::Cleanup leave = [this] { --waiting_for_keys_; };
  if (++waiting_for_keys_ > kMostWaiting) co_return no_key;
  asio::steady_timer timer(co_await asio::this_coro::executor);
  const auto end = std::min(std::chrono::steady_clock::now() + kKeyPatience, deadline);
  for (auto pause = kFirstPause; !caller && std::chrono::steady_clock::now() < end; pause *= 2) {
    boost::system::error_code stopped;
    timer.expires_at(std::min(std::chrono::steady_clock::now() + pause, end));
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, stopped));
    if (stopped) break;
    caller = co_await Check(token);
  }
  co_return caller ? *std::move(caller) : Result<Caller>(no_key);
}

// Nothing while the token's key is being fetched.
asio::awaitable<std::optional<Result<Caller>>> Authenticator::Check(std::string_view token) {
  using Outcome = std::optional<Result<Caller>>;
  const absl::Cleanup leave = [this] { --waiting_for_thread_; };
  if (++waiting_for_thread_ > kMostChecks) {
    refused_.Increment();
    co_return Refusal{Code::kUnavailable, "too many tokens are being checked"};
  }
  checks_.Increment();
  co_return co_await thread_.Run([this, token]() -> Outcome {
    try {
      return tokens_.Check(token);
    } catch (const std::exception& error) {
      log::Error("cannot check a token", {{"error", error.what()}});
      return Refusal{Code::kUnavailable, "tokens cannot be checked"};
    }
  });
}

}  // namespace shop::gateway
