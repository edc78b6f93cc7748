// Two gateways' counts of the same clients, by way of Redis.
#include "gateway/limits/rate_sharing.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <atomic>

#include "common/testing/servers.h"
#include "common/testing/wire.h"

namespace shop::gateway {
namespace {

using testing::Eventually;

redis::Settings Server() {
  Env env([](const std::string& name) {
    return name == "REDIS_URL" ? std::optional(testing::Server(name)) : std::nullopt;
  });
  return redis::Settings::Read(env);
}

constexpr RateLimits::Settings kQuota{.enabled = true, .user_quota = 10'000};

class RateSharingTest : public ::testing::Test {
 protected:
  RateSharingTest() { signal(SIGPIPE, SIG_IGN); }

  static redis::Settings Through(const testing::Wire& wire) {
    redis::Settings settings = Server();
    settings.host = "127.0.0.1";
    settings.port = wire.port();
    return settings;
  }
  // Whether somebody who has taken `taken` elsewhere is refused what they would be given otherwise.
  static bool Refuses(RateLimits& limits, const RateKey& user, int64_t cost) {
    return !limits.Take(user, cost).allowed;
  }

  // Whether a gateway that has given the user `given` learns that others gave `elsewhere`. It hears of that
  // when it has something to tell itself.
  bool Hears(RateLimits& limits, int64_t given, int64_t elsewhere) const {
    return Eventually(
        [&] { return limits.Take(user_, 1).left <= kQuota.user_quota - ++given - elsewhere; });
  }

  // Of a window that no other test has.
  std::chrono::system_clock::time_point now_ = std::chrono::system_clock::time_point(
      std::chrono::seconds(60 * (std::hash<std::string>()(testing::UniqueName()) % 100'000'000)));
  const RateLimits::Clock clock_ = [this] { return now_; };
  const RateKey user_ = RateKey::Of(7);
};

TEST_F(RateSharingTest, WhatOneGatewayHasSeenCountsAtTheOther) {
  RateLimits one(kQuota, clock_);
  RateLimits other(kQuota, clock_);
  const RateSharing shares_one(Server(), one);
  const RateSharing shares_other(Server(), other);
  for (int i = 0; i < 6; ++i) EXPECT_TRUE(one.Take(user_, 1000).allowed);
  EXPECT_TRUE(Hears(other, 0, 6000));
  EXPECT_TRUE(Refuses(other, user_, 6000));
  EXPECT_FALSE(Refuses(other, RateKey::Of(8), 6000));
}

TEST_F(RateSharingTest, WithoutRedisEachGoesByWhatItHasSeenAndTellsItLater) {
  testing::Wire wire(Server().port);
  std::atomic<int> asked_for_the_time = 0;
  RateLimits one(kQuota, [&] {
    ++asked_for_the_time;
    return now_;
  });
  RateLimits other(kQuota, clock_);
  const RateSharing shares_one(Through(wire), one);
  const RateSharing shares_other(Server(), other);
  wire.Cut();
  EXPECT_TRUE(one.Take(user_, 6000).allowed);
  EXPECT_TRUE(Refuses(one, user_, 6000));
  EXPECT_TRUE(other.Take(user_, 1000).allowed);
  // Sharing asks for the time whenever it begins: the second time it has failed once.
  ASSERT_TRUE(Eventually(
      [&, before = asked_for_the_time.load()] { return asked_for_the_time > before + 1; }));
  wire.Mend();
  EXPECT_TRUE(Hears(other, 1000, 6000));
}

TEST_F(RateSharingTest, TheCountsDoNotStayInRedis) {
  RateLimits limits(kQuota, clock_);
  const RateSharing shares(Server(), limits);
  EXPECT_TRUE(limits.Take(user_, 10).allowed);
  redis::Client redis(Server());
  const std::string hash = "rate:" + std::to_string(now_.time_since_epoch() / RateLimits::kWindow);
  ASSERT_TRUE(Eventually([&] { return redis.Command({"HGET", hash, "user:7"}) == "10"; }));
  EXPECT_TRUE(Eventually([&] {
    const int left = std::stoi(redis.Command({"TTL", hash}).value_or("-2"));
    return left > 60 && left <= 120;
  }));
}

}  // namespace
}  // namespace shop::gateway
