#include "common/core/process.h"

#include <google/protobuf/stubs/logging.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <future>

namespace shop {
namespace {

// In a process of its own, as it takes signals. There are ten seconds to close, and then the process
// ends with status 1.
TEST(ProcessDeathTest, TheEndDoesNotWaitForACheckThatHangsBeforeTheOtherPartsClose) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto stop_while_a_check_hangs = [] {
    std::promise<void> begun, never;
    Process process("test");
    const auto watch = process.WatchReadiness("the database", [&] {
      begun.set_value();
      never.get_future().wait();
    });
    begun.get_future().wait();
    kill(getpid(), SIGTERM);
    process.RunUntilStopped();
    std::_Exit(0);
  };
  EXPECT_EXIT(stop_while_a_check_hangs(), ::testing::ExitedWithCode(0), "");
}

// By itself it writes to standard error, in a form of its own.
TEST(ProcessDeathTest, WhatLibprotobufSaysIsALineOfTheLog) {
  const auto say = [] {
    dup2(STDERR_FILENO, STDOUT_FILENO);  // where this kind of test looks
    const Process process("test");
    GOOGLE_LOG(WARNING) << "something is odd";
    std::_Exit(0);
  };
  EXPECT_EXIT(say(), ::testing::ExitedWithCode(0),
              R"re(^\{"time".*"level":"warning","process":"test".*something is odd"[^\[]*$)re");
}

}  // namespace
}  // namespace shop
