#include "gateway/limits/rate_sharing.h"

#include <charconv>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "common/core/result.h"
#include "common/telemetry/log.h"

namespace shop::gateway {
namespace {

constexpr std::chrono::milliseconds kPause{250};

}  // namespace

RateSharing::RateSharing(const redis::Settings& settings, RateLimits& limits)
    : redis_(settings),
      limits_(limits),
      thread_([this](const std::stop_token& stop) { Run(stop); }) {}

void RateSharing::Run(const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any stopped;
  bool away = false;
  while (!stop.stop_requested()) {
    try {
      Share();
      if (std::exchange(away, false)) log::Info("rate limits are shared again");
    } catch (const Unavailable& error) {
      if (!std::exchange(away, true)) {
        log::Warning("rate limits are not shared", {{"error", error.what()}});
      }
    }
    std::unique_lock lock(mutex);
    stopped.wait_for(lock, stop, kPause, [] { return false; });
  }
}

void RateSharing::Share() {
  const std::vector<RateLimits::Taken> unshared = limits_.TakeUnshared();
  for (size_t i = 0; i < unshared.size(); ++i) {
    const RateLimits::Taken& taken = unshared[i];
    const std::string hash = "rate:" + std::to_string(taken.window);
    try {
      const auto reply =
          redis_.Command({"HINCRBY", hash, taken.key.Text(), std::to_string(taken.amount)});
      int64_t total = 0;
      if (reply) std::from_chars(reply->data(), reply->data() + reply->size(), total);
      limits_.Learn(taken.key, taken.window, total);
      // With each, as a gateway that dies between the two would leave the hash for good.
      if (i + 1 == unshared.size() || unshared[i + 1].window != taken.window) {
        redis_.Command({"EXPIRE", hash, std::to_string(2 * RateLimits::kWindow.count())});
      }
    } catch (const Unavailable&) {
      for (; i < unshared.size(); ++i) limits_.KeepUnshared(unshared[i]);
      throw;
    }
  }
}

}  // namespace shop::gateway
