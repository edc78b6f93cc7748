#include "common/core/readiness.h"

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <future>
#include <memory>
#include <mutex>
#include <stdexcept>

#include "common/core/deadline.h"
#include "common/testing/servers.h"

namespace shop {
namespace {

using shop::testing::Eventually;
using std::chrono::milliseconds;
using std::chrono::seconds;

// Something that is there or not, and counts how often it was asked.
struct Dependency {
  std::atomic<bool> away = false;
  std::atomic<int> asked = 0;
  std::function<void()> attempt = [this] {
    ++asked;
    if (away) throw std::runtime_error("connection refused");
  };
};

BackgroundCheck::Options Often() {
  return {.every = milliseconds(5), .failures = 2, .patience = seconds(60)};
}

TEST(BackgroundCheck, HoldsWhileTheAttemptsWork) {
  Dependency dependency;
  const BackgroundCheck check("it", dependency.attempt, Often());
  ASSERT_TRUE(Eventually([&] { return check.ok(); }));
  dependency.away = true;
  ASSERT_TRUE(Eventually([&] { return !check.ok(); }));
  dependency.away = false;
  EXPECT_TRUE(Eventually([&] { return check.ok(); }));
}

TEST(BackgroundCheck, BeforeTheFirstAttemptHasWorkedNothingIsKnown) {
  Dependency dependency;
  dependency.away = true;
  const BackgroundCheck check("it", dependency.attempt,
                              {.every = milliseconds(5), .failures = 1'000'000});
  ASSERT_TRUE(Eventually([&] { return dependency.asked > 3; }));
  EXPECT_FALSE(check.ok());
}

TEST(BackgroundCheck, OneFailureAloneIsForgiven) {
  std::promise<const BackgroundCheck*> made;
  std::atomic<int> asked = 0, not_ok = 0;
  const BackgroundCheck check(
      "it",
      [&, made = made.get_future().share()] {
        // Every second attempt comes after one that failed.
        if (asked > 0 && !made.get()->ok()) ++not_ok;
        if (++asked % 2 == 0) throw std::runtime_error("once in a while");
      },
      Often());
  made.set_value(&check);
  ASSERT_TRUE(Eventually([&] { return asked >= 10; }));
  EXPECT_EQ(not_ok, 0);
}

TEST(BackgroundCheck, WhoAsksNeverWaitsForAnAttemptThatHangs) {
  std::promise<void> release;
  std::atomic<int> asked = 0;
  const BackgroundCheck check("it",
                              [&, released = release.get_future().share()] {
                                if (++asked > 1) released.wait();
                              },
                              {.every = milliseconds(5), .failures = 2, .patience = seconds(2)});
  ASSERT_TRUE(Eventually([&] { return asked == 2; }));
  EXPECT_TRUE(Eventually([&] { return !check.ok(); }));
  EXPECT_EQ(asked, 2);
  release.set_value();
  EXPECT_TRUE(Eventually([&] { return check.ok(); }));
}

TEST(BackgroundCheck, TheAttemptUnderWayIsToldToStop) {
  std::atomic<bool> begun = false, told = false;
  auto check = std::make_unique<BackgroundCheck>(
      "it",
      [&] {
        begun = true;
        std::mutex mutex;
        std::condition_variable_any never;
        std::unique_lock lock(mutex);
        never.wait_for(lock, DeadlineScope::Stop(), seconds(5), [] { return false; });
        told = DeadlineScope::Stop().stop_requested();
      },
      Often());
  ASSERT_TRUE(Eventually([&] { return begun.load(); }));
  check.reset();
  EXPECT_TRUE(told);
}

TEST(Readiness, NamesWhatIsMissingAndWhatIsDegraded) {
  Readiness readiness;
  bool database = true, kafka = true, consumer = true;
  readiness.Require("PostgreSQL", [&] { return database; });
  readiness.Require("Kafka", [&] { return kafka; });
  readiness.Prefer("the consumer of stock", [&] { return consumer; });
  EXPECT_EQ(readiness.Report().missing, "");
  EXPECT_EQ(readiness.Report().degraded, "");
  consumer = false;
  EXPECT_EQ(readiness.Report().missing, "");
  EXPECT_EQ(readiness.Report().degraded, "the consumer of stock");
  database = kafka = false;
  EXPECT_EQ(readiness.Report().missing, "PostgreSQL, Kafka");
}

TEST(Readiness, WhatWasClearedIsNotAskedAgain) {
  Readiness readiness;
  readiness.Require("PostgreSQL", [] { return false; });
  readiness.Prefer("Kafka", [] { return false; });
  readiness.Clear();
  EXPECT_EQ(readiness.Report().missing, "");
  EXPECT_EQ(readiness.Report().degraded, "");
}

}  // namespace
}  // namespace shop
