// Rate limits that several gateways share through Redis.
//
// Four times a second each gateway adds what its clients have taken to the counts in Redis, a hash a
// minute (`rate:<minute>`), and learns what was taken from all of them. So a client that spreads its
// requests over gateways is stopped a quarter of a second later than at one. While Redis is away each
// gateway goes by what it has seen itself, and no request waits for it. A command that Redis ran, and
// whose reply was lost, counts twice.
#pragma once

#include <stop_token>
#include <thread>

#include "common/redis/redis.h"
#include "gateway/limits/rate_limits.h"

namespace shop::gateway {

class RateSharing {
 public:
  // Shares for as long as it lives, in a thread of its own. `limits` has to live longer.
  RateSharing(const redis::Settings& settings, RateLimits& limits);

 private:
  void Run(const std::stop_token& stop);
  void Share();

  redis::Client redis_;
  RateLimits& limits_;
  std::jthread thread_;  // the last: it uses the others
};

}  // namespace shop::gateway
