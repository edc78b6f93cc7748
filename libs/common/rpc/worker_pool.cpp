#include "common/rpc/worker_pool.h"

#include <utility>

namespace shop::rpc {

WorkerPool::WorkerPool(int threads, size_t queue_limit)
    : queue_limit_(queue_limit),
      length_(prometheus::BuildGauge()
                  .Name("rpc_queue_length")
                  .Help("Calls that wait for a thread")
                  .Register(Metrics())
                  .Add({})) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Run(); });
}

WorkerPool::~WorkerPool() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

bool WorkerPool::Post(std::function<void()> work, size_t bytes) {
  {
    const std::lock_guard lock(mutex_);
    if (queue_.size() >= queue_limit_ || bytes_ + bytes > kMostBytes) return false;
    queue_.push_back({std::move(work), bytes});
    bytes_ += bytes;
    length_.Set(static_cast<double>(queue_.size()));
  }
  wake_.notify_one();
  return true;
}

void WorkerPool::Run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    const Item item = std::move(queue_.front());
    queue_.pop_front();
    length_.Set(static_cast<double>(queue_.size()));
    lock.unlock();
    item.work();
    lock.lock();
    bytes_ -= item.bytes;
  }
}

}  // namespace shop::rpc
