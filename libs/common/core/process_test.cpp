#include "common/core/process.h"

#include <google/protobuf/stubs/logging.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <iostream>
#include <stdexcept>
#include <string>

#include "common/telemetry/log.h"
#include "common/telemetry/metrics.h"
#include "common/testing/free_port.h"

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

TEST(ProcessDeathTest, WaitingGoesOnUntilItWorks) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto wait = [] {
    Process process("test");
    int attempts = 0;
    process.WaitFor("the database", [&] {
      if (++attempts < 3) throw std::runtime_error("connection refused");
    });
    std::_Exit(attempts);
  };
  EXPECT_EXIT(wait(), ::testing::ExitedWithCode(3), "");
}

TEST(ProcessDeathTest, WhatWaitingWouldNotMendEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto wait = [] {
    dup2(STDERR_FILENO, STDOUT_FILENO);  // where this kind of test looks
    Process process("test");
    int attempts = 0;
    process.WaitFor("the database", [&] {
      if (++attempts > 1) std::_Exit(0);
      throw std::logic_error("a migration has changed");
    });
    std::_Exit(0);
  };
  EXPECT_EXIT(wait(), ::testing::ExitedWithCode(1), "would not help.*a migration has changed");
}

// By itself it writes to standard error, in a form of its own.
TEST(ProcessDeathTest, WhatLibprotobufSaysIsALineOfTheLog) {
  const auto say = [] {
    dup2(STDERR_FILENO, STDOUT_FILENO);  // where this kind of test looks
    const Process process("test");
    GOOGLE_LOG(WARNING) << "something is odd";
    log::Flush();
    std::_Exit(0);
  };
  EXPECT_EXIT(say(), ::testing::ExitedWithCode(0),
              R"re(^\{"time".*"level":"warning","process":"test".*something is odd"[^\[]*$)re");
}

TEST(ProcessDeathTest, ItsLogIsInTheFileThatItIsTold) {
  const std::string file = ::testing::TempDir() + "process_test." + std::to_string(getpid());
  const auto say = [&] {
    setenv("LOG_FILE", file.c_str(), 1);
    const Process process("test");
    log::Info("something");
    std::exit(0);
  };
  EXPECT_EXIT(say(), ::testing::ExitedWithCode(0), "");
  std::string line;
  std::getline(std::ifstream(file), line);
  std::filesystem::remove(file);
  EXPECT_TRUE(line.ends_with(R"("process":"test","message":"something"})")) << line;
}

TEST(ProcessDeathTest, AFileThatCannotBeOpenedIsAWrongSetting) {
  const auto start = [] {
    dup2(STDERR_FILENO, STDOUT_FILENO);
    setenv("LOG_FILE", "/is/not/there.log", 1);
    Process process("test");
    process.Start();
  };
  EXPECT_EXIT(start(), ::testing::ExitedWithCode(2),
              "wrong setting: LOG_FILE cannot be opened: /is/not/there.log: No such file");
}

TEST(ProcessDeathTest, WhatItWasBuiltFromIsShown) {
  const auto show = [] {
    setenv("TEST_ADMIN_PORT", std::to_string(testing::FreePort()).c_str(), 1);
    setenv("SHOP_VERSION", "1.4.0", 1);
    setenv("SHOP_REVISION", "0123456789ab", 1);
    Process process("test");
    process.Start();
    for (const auto& family : Metrics().Collect()) {
      if (family.name != "build_info") continue;
      for (const auto& label : family.metric.at(0).label) {
        std::cerr << label.name << '=' << label.value << ' ';
      }
      std::cerr << family.metric.at(0).gauge.value << std::endl;
    }
    std::_Exit(0);
  };
  EXPECT_EXIT(show(), ::testing::ExitedWithCode(0), "revision=0123456789ab version=1\\.4\\.0 1\n");
}

}  // namespace
}  // namespace shop
