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

// Threads that run the work they are given, first come first served, with a bounded queue.
class WorkerPool {
 public:
  WorkerPool(int threads, size_t queue_limit);
  // Waits until everything that was accepted has run.
  ~WorkerPool();

  // False when the queue is full. Thread-safe.
  bool Post(std::function<void()> work);

 private:
  void Run();

  const size_t queue_limit_;
  prometheus::Gauge& length_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> queue_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace shop::rpc
