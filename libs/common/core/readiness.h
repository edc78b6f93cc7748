// The checks behind /readyz: what a process needs in order to get work, and what it can do without
// for a while.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "common/telemetry/admin_server.h"

namespace shop {

// Checks something that may block, such as a database, in a thread of its own, so that the latest
// outcome can be read at once.
class BackgroundCheck {
 public:
  struct Options {
    std::chrono::milliseconds every{1'000};
    // How many attempts in a row must fail before it counts as away. One alone may be due to a restart
    // of the server or to a moment of high load.
    int failures = 2;
    // An attempt that takes longer than this counts as failed before it has ended.
    std::chrono::milliseconds patience{5'000};
  };

  // Calls `attempt` at once and then again and again; it throws when `what` does not answer. It runs
  // within the scope of the check's stop (DeadlineScope), and should give up by itself within
  // seconds: the destructor stops the check and waits for the attempt under way.
  BackgroundCheck(std::string what, std::function<void()> attempt, const Options& options);
  BackgroundCheck(std::string what, std::function<void()> attempt)
      : BackgroundCheck(std::move(what), std::move(attempt), Options()) {}
  ~BackgroundCheck();
  BackgroundCheck(const BackgroundCheck&) = delete;
  BackgroundCheck& operator=(const BackgroundCheck&) = delete;

  // Makes no further attempt and stops the one under way, without waiting for it.
  void Stop();

  // Never blocks. False until the first attempt has succeeded.
  bool ok() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The checks of a process, put together. Thread-safe.
class Readiness {
 public:
  using Check = std::function<bool()>;  // called often, and must not block

  void Require(std::string what, Check check);
  void Prefer(std::string what, Check check);
  // Drops every check, and with it what the checks refer to.
  void Clear();

  // Names the required and the preferred checks that fail.
  ReadinessReport Report() const;

 private:
  struct Named {
    std::string what;
    Check check;
  };
  static std::string Failing(const std::vector<Named>& checks);

  mutable std::mutex mutex_;
  std::vector<Named> required_;
  std::vector<Named> preferred_;
};

}  // namespace shop
