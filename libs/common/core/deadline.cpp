#include "common/core/deadline.h"

#include <condition_variable>
#include <mutex>
#include <thread>

namespace shop {

void EndWithin(std::chrono::milliseconds grace, std::stop_source& cut,
               const std::function<void()>& end) {
  const std::jthread cutter([&](const std::stop_token& ended) {
    std::mutex mutex;
    std::condition_variable_any never;
    std::unique_lock lock(mutex);
    never.wait_for(lock, ended, grace, [] { return false; });
    if (!ended.stop_requested()) cut.request_stop();
  });
  end();
}

}  // namespace shop
