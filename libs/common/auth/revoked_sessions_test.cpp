#include "common/auth/revoked_sessions.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace shop::auth {
namespace {

constexpr int64_t kNow = 1'000'000;

TEST(RevokedSessions, AreRememberedUntilTheirTokensHaveExpired) {
  RevokedSessions revoked;
  EXPECT_FALSE(revoked.Contains("a"));
  EXPECT_TRUE(revoked.Add("a", kNow + 10, kNow));
  EXPECT_TRUE(revoked.Add("b", kNow + 20, kNow));
  EXPECT_TRUE(revoked.Contains("a"));
  EXPECT_FALSE(revoked.Contains("c"));
  EXPECT_TRUE(revoked.Add("c", kNow + 30, kNow + 10));
  EXPECT_FALSE(revoked.Contains("a"));
  EXPECT_TRUE(revoked.Contains("b"));
  EXPECT_EQ(revoked.size(), 2u);
}

TEST(RevokedSessions, OneThatIsOverTakesNoPlace) {
  RevokedSessions revoked;
  EXPECT_TRUE(revoked.Add("a", kNow, kNow));
  EXPECT_EQ(revoked.size(), 0u);
}

TEST(RevokedSessions, TheSameAgainTakesNoOtherPlace) {
  RevokedSessions revoked(2);
  for (int again = 0; again < 5; ++again) EXPECT_TRUE(revoked.Add("a", kNow + 10, kNow));
  EXPECT_TRUE(revoked.Add("b", kNow + 10, kNow));
  EXPECT_TRUE(revoked.Contains("a"));
  EXPECT_EQ(revoked.size(), 2u);
}

TEST(RevokedSessions, OfTooManyThoseAreForgottenThatEndFirst) {
  RevokedSessions revoked(3);
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(revoked.Add("s" + std::to_string(i), kNow + 100 - i, kNow));
  }
  EXPECT_FALSE(revoked.Add("late", kNow + 200, kNow));
  EXPECT_EQ(revoked.size(), 3u);
  EXPECT_FALSE(revoked.Contains("s2"));
  EXPECT_TRUE(revoked.Contains("s0"));
  EXPECT_TRUE(revoked.Contains("late"));
}

TEST(RevokedSessions, AreAskedForWhileOthersCome) {
  RevokedSessions revoked(100);
  revoked.Add("stays", kNow + 1'000'000, kNow);
  std::vector<std::thread> threads;
  threads.emplace_back([&] {
    for (int i = 0; i < 10'000; ++i) revoked.Add("s" + std::to_string(i), kNow + i + 1, kNow);
  });
  for (int reader = 0; reader < 3; ++reader) {
    threads.emplace_back([&] {
      for (int i = 0; i < 10'000; ++i) EXPECT_TRUE(revoked.Contains("stays"));
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(revoked.size(), 100u);
}

}  // namespace
}  // namespace shop::auth
