// What a process needs in order to get work, and what it can do without for a while.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "common/telemetry/admin_server.h"

namespace shop {

// Looks in a thread of its own whether something is there that may keep who asks waiting, such as a
// database, so that whoever wants to know gets the answer at once.
class BackgroundCheck {
 public:
  struct Options {
    std::chrono::milliseconds every{1'000};
    // How many attempts in a row must fail before it is taken for away. One alone may be due to a
    // server that was restarted, or to a moment of much work.
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

  // Makes no further attempt and tells the one under way to stop, without waiting for it.
  void Stop();

  // Whether it is there. Never waits. False until the first attempt has worked.
  bool holds() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The checks of a process, put together. Thread-safe.
class Readiness {
 public:
  using Check = std::function<bool()>;  // called often, and must answer at once

  void Require(std::string what, Check holds);
  void Prefer(std::string what, Check holds);
  // Drops every check, and with it what the checks refer to.
  void Clear();

  // Names what was required and is missing, and what was preferred and is.
  ReadinessReport Report() const;

 private:
  struct Named {
    std::string what;
    Check holds;
  };
  static std::string Failing(const std::vector<Named>& checks);

  mutable std::mutex mutex_;
  std::vector<Named> required_;
  std::vector<Named> preferred_;
};

}  // namespace shop
