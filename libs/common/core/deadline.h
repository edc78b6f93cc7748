// Until when the work of this thread is wanted. An rpc's handler runs within its deadline's scope,
// and what it waits for, such as statements of PostgreSQL, keeps to it without being told.
#pragma once

#include <algorithm>
#include <chrono>

namespace shop {

class DeadlineScope {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  // An inner scope never lasts longer than the outer one.
  explicit DeadlineScope(TimePoint deadline) : outer_(current_) {
    current_ = std::min(deadline, outer_);
  }
  ~DeadlineScope() { current_ = outer_; }
  DeadlineScope(const DeadlineScope&) = delete;
  DeadlineScope& operator=(const DeadlineScope&) = delete;

  // TimePoint::max() outside of any.
  static TimePoint Current() { return current_; }
  static bool HasPassed() {
    return current_ != TimePoint::max() && current_ <= std::chrono::steady_clock::now();
  }

 private:
  static inline thread_local TimePoint current_ = TimePoint::max();

  const TimePoint outer_;
};

}  // namespace shop
