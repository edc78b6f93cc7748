#include "common/core/periodic.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>

#include "common/core/deadline.h"
#include "common/telemetry/log.h"
#include "common/testing/servers.h"

namespace shop {
namespace {

using shop::testing::Eventually;
using std::chrono::milliseconds;

TEST(Periodic, WorksAgainAndAgainAlsoAfterAFailure) {
  std::atomic<int> done = 0;
  const Periodic often("it failed", milliseconds(1), [&] {
    if (++done < 3) throw std::runtime_error("not yet");
  });
  EXPECT_TRUE(Eventually([&] { return done > 5; }));
}

TEST(Periodic, ItsEndWaitsForNoPauseAndStopsTheWorkUnderWay) {
  {
    const Periodic seldom("it failed", std::chrono::hours(1), [] {});
  }
  std::atomic<bool> begun = false;
  const Periodic hangs("it failed", milliseconds(1), [&] {
    begun = true;
    while (!DeadlineScope::Stop().stop_requested()) std::this_thread::yield();
  });
  EXPECT_TRUE(Eventually([&] { return begun.load(); }));
}

TEST(Periodic, TheLogHasAFailureOnceUntilItHasSucceededAgain) {
  ::testing::internal::CaptureStdout();
  std::atomic<int> done = 0;
  {
    const Periodic often("it failed", milliseconds(1), [&] {
      if (++done < 8 && done != 4) throw std::runtime_error("three times in a row");
    });
    EXPECT_TRUE(Eventually([&] { return done >= 8; }));
  }
  log::Flush();
  const std::string log = ::testing::internal::GetCapturedStdout();
  int lines = 0;
  for (size_t at = 0; (at = log.find("three times in a row", at)) != std::string::npos; ++at) {
    ++lines;
  }
  EXPECT_EQ(lines, 2);
}

}  // namespace
}  // namespace shop
