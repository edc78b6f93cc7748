// How long the work of this thread may take: until a deadline, a stop, or whichever comes first.
//
// An rpc's handler runs within a scope of the call's deadline, a consumer's within a scope of the
// consumer's stop. What it waits for meanwhile (a connection to PostgreSQL, a statement, another
// service's answer) looks at the scope by itself and throws shop::Unavailable when it ends.
#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <stop_token>
#include <utility>

namespace shop {

class DeadlineScope {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  // An inner scope never lasts longer than the outer one.
  explicit DeadlineScope(TimePoint deadline) : outer_(current_), outer_stop_(stop_) {
    current_ = std::min(deadline, outer_);
  }
  // Ends with the stop too. An inner scope with a stop of its own does not see the outer one's.
  DeadlineScope(TimePoint deadline, std::stop_token stop) : DeadlineScope(deadline) {
    stop_ = std::move(stop);
  }
  ~DeadlineScope() {
    current_ = outer_;
    stop_ = std::move(outer_stop_);
  }
  DeadlineScope(const DeadlineScope&) = delete;
  DeadlineScope& operator=(const DeadlineScope&) = delete;

  // TimePoint::max() outside of any.
  static TimePoint Current() { return current_; }
  // Outside of any: a token that is never stopped.
  static const std::stop_token& Stop() { return stop_; }
  // Whether the deadline has passed or the stop was asked for.
  static bool HasPassed() {
    return stop_.stop_requested() ||
           (current_ != TimePoint::max() && current_ <= std::chrono::steady_clock::now());
  }

 private:
  static inline thread_local TimePoint current_ = TimePoint::max();
  static inline thread_local std::stop_token stop_;

  const TimePoint outer_;
  std::stop_token outer_stop_;
};

// Calls `end`, which waits until work has finished. When that takes longer than `grace`, stops `cut`,
// which ends what the work waits for within a scope of it.
void EndWithin(std::chrono::milliseconds grace, std::stop_source& cut,
               const std::function<void()>& end);

}  // namespace shop
