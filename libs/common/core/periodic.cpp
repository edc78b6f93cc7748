#include "common/core/periodic.h"

#include <utility>

#include "common/core/deadline.h"
#include "common/telemetry/log.h"

namespace shop {

Periodic::Periodic(std::string failed, std::chrono::milliseconds pause, std::function<void()> work)
    : failed_(std::move(failed)),
      pause_(pause),
      work_(std::move(work)),
      thread_([this](const std::stop_token& stop) { Run(stop); }) {}

void Periodic::Run(const std::stop_token& stop) {
  const DeadlineScope scope(DeadlineScope::TimePoint::max(), stop);
  bool failed = false;
  while (!stop.stop_requested()) {
    try {
      work_();
      failed = false;
    } catch (const std::exception& error) {
      if (!stop.stop_requested() && !std::exchange(failed, true)) {
        log::Warning(failed_, {{"error", error.what()}});
      }
    }
    std::unique_lock lock(mutex_);
    wake_.wait_for(lock, stop, pause_, [] { return false; });
  }
}

}  // namespace shop
