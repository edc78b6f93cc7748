#include "common/core/readiness.h"

#include <condition_variable>
#include <exception>
#include <stop_token>
#include <thread>
#include <utility>

#include "common/core/deadline.h"
#include "common/telemetry/log.h"

namespace shop {

using std::chrono::steady_clock;

struct BackgroundCheck::State {
  State(std::string what, std::function<void()> attempt, const Options& options)
      : what(std::move(what)),
        attempt(std::move(attempt)),
        options(options),
        thread([this](const std::stop_token& stop) { Run(stop); }) {}

  void Run(const std::stop_token& stop) {
    const DeadlineScope scope(DeadlineScope::TimePoint::max(), stop);
    while (!stop.stop_requested()) {
      Look(stop);
      std::unique_lock lock(mutex);
      wake.wait_for(lock, stop, options.every, [] { return false; });
    }
  }

  void Look(const std::stop_token& stop) {
    std::string error;
    try {
      attempt();
    } catch (const std::exception& failed) {
      error = failed.what();
      if (error.empty()) error = "it does not say why";
    }
    if (stop.stop_requested()) return;  // which may be why it failed
    const std::lock_guard lock(mutex);
    const int failed_before = failed;
    if (error.empty()) {
      worked = true;
      failed = 0;
      answered = steady_clock::now();
      if (failed_before >= options.failures) log::Info(what + " answers again");
    } else if (++failed == options.failures) {
      log::Warning(what + " does not answer", {{"error", error}});
    }
  }

  const std::string what;
  const std::function<void()> attempt;
  const Options options;

  mutable std::mutex mutex;
  std::condition_variable_any wake;
  bool worked = false;
  int failed = 0;                       // in a row
  steady_clock::time_point answered{};  // when it last worked
  std::jthread thread;  // the last: it uses the others, and is stopped and joined before they go
};

BackgroundCheck::BackgroundCheck(std::string what, std::function<void()> attempt,
                                 const Options& options)
    : state_(std::make_unique<State>(std::move(what), std::move(attempt), options)) {}

BackgroundCheck::~BackgroundCheck() = default;

void BackgroundCheck::Stop() {
  state_->thread.request_stop();
}

bool BackgroundCheck::ok() const {
  const std::lock_guard lock(state_->mutex);
  return state_->worked && state_->failed < state_->options.failures &&
         steady_clock::now() - state_->answered < state_->options.patience;
}

void Readiness::Require(std::string what, Check check) {
  const std::lock_guard lock(mutex_);
  required_.push_back({std::move(what), std::move(check)});
}

void Readiness::Prefer(std::string what, Check check) {
  const std::lock_guard lock(mutex_);
  preferred_.push_back({std::move(what), std::move(check)});
}

void Readiness::Clear() {
  std::vector<Named> required, preferred;
  const std::lock_guard lock(mutex_);
  required.swap(required_);
  preferred.swap(preferred_);
}

ReadinessReport Readiness::Report() const {
  const std::lock_guard lock(mutex_);
  return {Failing(required_), Failing(preferred_)};
}

std::string Readiness::Failing(const std::vector<Named>& checks) {
  std::string failing;
  for (const Named& check : checks) {
    if (!check.check()) failing += (failing.empty() ? "" : ", ") + check.what;
  }
  return failing;
}

}  // namespace shop
