#include "reconciler/schedule.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <thread>

#include "common/telemetry/span.h"
#include "reconciler/report.h"

namespace shop::reconciler {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kSoon{10'000};

}  // namespace

struct Schedule::State {
  State(Reconciler& runner, milliseconds pause)
      : reconciler(runner),
        every(pause),
        thread([this](const std::stop_token& stop) { Work(stop); }) {}

  void Work(const std::stop_token& stop) {
    Wait(std::min(every, kSoon), stop);
    while (!stop.stop_requested()) {
      RunOnce(stop);
      Wait(healthy ? every : std::min(every, kSoon), stop);
    }
  }

  void RunOnce(const std::stop_token& stop) {
    const auto began = steady_clock::now();
    Span span(SpanKind::kInternal, "reconcile", TraceContext::New());
    const Span::Scope current(span);
    try {
      const Report report = reconciler.Run(stop);
      reporter.Tell(report, steady_clock::now() - began);
      healthy = true;
    } catch (const std::exception& error) {
      if (stop.stop_requested()) return;
      span.Fail(error.what());
      reporter.TellUnreadable(error.what());
      healthy = false;
    }
  }

  void Wait(milliseconds time, const std::stop_token& stop) {
    std::unique_lock lock(mutex);
    wake.wait_for(lock, stop, time, [] { return false; });
  }

  Reconciler& reconciler;
  const milliseconds every;
  Reporter reporter;
  std::atomic<bool> healthy = true;
  std::mutex mutex;
  std::condition_variable_any wake;
  std::jthread thread;  // the last: it uses the others
};

Schedule::Schedule(Reconciler& reconciler, milliseconds every)
    : state_(std::make_unique<State>(reconciler, every)) {}

Schedule::~Schedule() = default;

bool Schedule::healthy() const {
  return state_->healthy;
}

}  // namespace shop::reconciler
