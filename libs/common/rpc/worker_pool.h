#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "common/telemetry/metrics.h"

namespace shop::rpc {

// Threads that run the work they are given, first come first served, with a bounded queue. What the
// requests take that wait and run is bounded too, as they come before anybody knows who sent them.
class WorkerPool {
 public:
  WorkerPool(int threads, size_t queue_limit);
  // Waits until everything that was accepted has run.
  ~WorkerPool();

  // False when the queue is full, or when there is no room for the `bytes` of its request. Thread-safe.
  bool Post(std::function<void()> work, size_t bytes = 0);

  static constexpr size_t kMostBytes = 32 << 20;

 private:
  struct Item {
    std::function<void()> work;
    size_t bytes = 0;
  };

  void Run();

  const size_t queue_limit_;
  prometheus::Gauge& length_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Item> queue_;
  size_t bytes_ = 0;  // of what waits and runs
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace shop::rpc
