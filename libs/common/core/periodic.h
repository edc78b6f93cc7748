// Something that is done again and again, in a thread of its own, until this is destroyed.
//
//   const Periodic counting("waiting mails cannot be counted", std::chrono::seconds(10), [&] { … });
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>

namespace shop {

class Periodic {
 public:
  // Calls `work` at once, and again `pause` after each end, within a DeadlineScope that the destructor
  // stops. When it throws, the log has `failed` as a warning: once, until it has succeeded again.
  Periodic(std::string failed, std::chrono::milliseconds pause, std::function<void()> work);

 private:
  void Run(const std::stop_token& stop);

  const std::string failed_;
  const std::chrono::milliseconds pause_;
  const std::function<void()> work_;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::jthread thread_;  // the last: it uses the others
};

}  // namespace shop
