#include "gateway/limits/rate_limits.h"

#include <gtest/gtest.h>

#include <string_view>
#include <utility>
#include <vector>

#include "gateway/limits/client_address.h"

namespace shop::gateway {
namespace {

using boost::asio::ip::make_address;
using std::chrono::seconds;
using std::chrono::system_clock;

std::string HeadersOf(const RateLimits::Verdict& verdict) {
  std::string headers;
  AddRateHeaders(verdict, &headers);
  return headers;
}

class RateLimitsTest : public ::testing::Test {
 protected:
  RateLimits Make(int64_t user_quota, bool shadow = false) {
    return RateLimits(
        {.enabled = true, .shadow = shadow, .user_quota = user_quota, .address_quota = 10},
        [this] { return now_; });
  }
  void Wait(int64_t time) { now_ += seconds(time); }

  system_clock::time_point now_{seconds(60'000'000)};  // a window begins
  const RateKey user_ = RateKey::Of(7);
};

TEST_F(RateLimitsTest, AQuotaIsUsedUpAndComesBackWithTime) {
  RateLimits limits = Make(100);
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(limits.Take(user_, 20).allowed) << i;
  const RateLimits::Verdict refused = limits.Take(user_, 1);
  EXPECT_FALSE(refused.allowed);
  EXPECT_EQ(refused.left, 0);
  EXPECT_EQ(refused.resets_in, 60);
  EXPECT_TRUE(limits.Take(RateKey::Of(8), 20).allowed) << "another user";
  // Half a window after it has ended, half of what was taken counts.
  Wait(90);
  EXPECT_EQ(limits.Take(user_, 1).left, 49);
}

TEST_F(RateLimitsTest, WhoWaitsAsLongAsTheyAreToldIsServed) {
  for (const int64_t cost : {1, 20, 60, 100}) {
    for (const int64_t begin : {0, 13, 59}) {
      RateLimits limits = Make(100);
      Wait(begin);
      while (limits.Take(user_, 7).allowed) {
      }
      Wait(30);
      while (limits.Take(user_, 1).allowed) {
      }
      const RateLimits::Verdict refused = limits.Take(user_, cost);
      ASSERT_FALSE(refused.allowed);
      Wait(refused.retry_after - 1);
      const bool early = limits.Take(user_, cost).allowed;
      Wait(1);
      EXPECT_TRUE(early || limits.Take(user_, cost).allowed) << cost << " from " << begin;
      EXPECT_LE(refused.retry_after, 120);
      now_ = system_clock::time_point(seconds(60'000'000));
    }
  }
}

TEST_F(RateLimitsTest, WhatIsRefusedIsNotCounted) {
  RateLimits limits = Make(100);
  EXPECT_TRUE(limits.Take(user_, 90).allowed);
  for (int i = 0; i < 1000; ++i) EXPECT_FALSE(limits.Take(user_, 20).allowed);
  EXPECT_TRUE(limits.Take(user_, 10).allowed);
}

TEST_F(RateLimitsTest, AddressesHaveTheirOwnQuota) {
  RateLimits limits = Make(100);
  const RateKey home = RateKey::Of(make_address("192.0.2.1"));
  EXPECT_TRUE(limits.Take(home, 10).allowed);
  const RateLimits::Verdict refused = limits.Take(home, 1);
  EXPECT_FALSE(refused.allowed);
  EXPECT_EQ(HeadersOf(refused),
            "RateLimit-Policy: \"address\";q=10;w=60\r\nRateLimit: \"address\";r=0;t=60\r\n");
  EXPECT_TRUE(limits.Take(RateKey::Of(make_address("192.0.2.2")), 1).allowed);
  EXPECT_FALSE(limits.Take(RateKey::Of(make_address("::ffff:192.0.2.1")), 1).allowed)
      << "the same one as an IPv6 socket shows it";
  EXPECT_TRUE(limits.Take(RateKey::Of(make_address("2001:db8::1")), 10).allowed);
  EXPECT_FALSE(limits.Take(RateKey::Of(make_address("2001:db8::2")), 1).allowed)
      << "of the same network";
  EXPECT_TRUE(limits.Take(RateKey::Of(make_address("2001:db8:0:1::1")), 1).allowed);
}

TEST_F(RateLimitsTest, InShadowModeNothingIsRefused) {
  RateLimits limits = Make(100, true);
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(limits.Take(user_, 50).allowed);
}

TEST_F(RateLimitsTest, SwitchedOffItSaysNothing) {
  RateLimits limits({.enabled = false});
  EXPECT_TRUE(limits.Take(user_, 1'000'000).allowed);
  EXPECT_EQ(HeadersOf(limits.Take(user_, 1)), "");
}

TEST_F(RateLimitsTest, WhatOthersHaveSeenCounts) {
  RateLimits limits = Make(100);
  limits.Take(user_, 10);
  const auto taken = limits.TakeUnshared();
  ASSERT_EQ(taken.size(), 1u);
  EXPECT_EQ(taken[0].key, user_);
  EXPECT_EQ(taken[0].amount, 10);
  EXPECT_TRUE(limits.TakeUnshared().empty());
  limits.Take(user_, 5);  // meanwhile
  limits.Learn(user_, taken[0].window, 80);
  EXPECT_EQ(limits.Take(user_, 1).left, 14);
  // Nobody could be told of those six: they are told the next time.
  const auto lost = limits.TakeUnshared();
  limits.KeepUnshared(lost[0]);
  limits.Take(user_, 1);
  EXPECT_EQ(limits.TakeUnshared()[0].amount, 7);
}

TEST_F(RateLimitsTest, WhoHasGoneIsForgotten) {
  RateLimits limits = Make(100);
  limits.Take(user_, 100);
  Wait(60);
  limits.TakeUnshared();
  EXPECT_FALSE(limits.Take(user_, 50).allowed) << "what was taken a minute ago counts";
  Wait(120);
  limits.TakeUnshared();
  EXPECT_EQ(limits.Take(user_, 1).left, 99);
}

HttpRequest From(const char* peer, std::vector<std::string_view> forwarded) {
  HttpRequest request;
  request.peer = make_address(peer);
  for (const std::string_view value : forwarded)
    request.headers.emplace_back("X-Forwarded-For", value);
  return request;
}

TEST(ClientAddresses, AreBelievedFromTrustedProxiesAlone) {
  const TrustedProxies proxies = *TrustedProxies::Parse("10.0.0.0/8, 192.0.2.9, 2001:db8::/32");
  const auto client = [&](const char* peer, std::vector<std::string_view> forwarded) {
    return ClientAddress(From(peer, std::move(forwarded)), proxies).to_string();
  };
  EXPECT_EQ(client("203.0.113.5", {"198.51.100.1"}), "203.0.113.5") << "anybody can write that";
  EXPECT_EQ(client("10.1.2.3", {"198.51.100.1"}), "198.51.100.1");
  EXPECT_EQ(client("10.1.2.3", {"1.1.1.1, 198.51.100.1"}), "198.51.100.1")
      << "the rest may be made up";
  EXPECT_EQ(client("10.1.2.3", {"198.51.100.1, 192.0.2.9", "10.0.0.7"}), "198.51.100.1");
  EXPECT_EQ(client("::ffff:10.1.2.3", {"198.51.100.1"}), "198.51.100.1");
  EXPECT_EQ(client("2001:db8::5", {"2001:db9::1"}), "2001:db9::1");
  EXPECT_EQ(client("10.1.2.3", {}), "10.1.2.3");
  EXPECT_EQ(client("10.1.2.3", {"198.51.100.1, unknown"}), "10.1.2.3");
  EXPECT_EQ(client("10.1.2.3", {"10.0.0.1"}), "10.0.0.1");
  const TrustedProxies none = *TrustedProxies::Parse("");
  EXPECT_EQ(ClientAddress(From("10.1.2.3", {"198.51.100.1"}), none).to_string(), "10.1.2.3");
}

TEST(ClientAddresses, OfProxiesAreAListOfAddressesAndNetworks) {
  for (const char* wrong :
       {"proxy.example", "10.0.0.0/33", "10.0.0.0/8,,", "10.0.0", "2001:db8::/129"}) {
    EXPECT_FALSE(TrustedProxies::Parse(wrong)) << wrong;
  }
}

}  // namespace
}  // namespace shop::gateway
