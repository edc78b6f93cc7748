// What is published on some channels of Redis while a test runs.
#pragma once

#include <atomic>
#include <deque>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/redis/redis.h"
#include "common/testing/servers.h"

namespace shop::testing {

// Subscribed once it is made.
class Listener {
 public:
  Listener(const redis::Settings& settings, std::vector<std::string> channels)
      : subscription_(settings, std::move(channels),
                      {[this] { connected_ = true; },
                       [this](const std::string& channel, const std::string& message) {
                         const std::lock_guard lock(mutex_);
                         messages_.push_back(channel + ": " + message);
                       },
                       [] {}}) {
    if (!Eventually([this] { return connected_.load(); })) {
      throw std::runtime_error("no subscription to Redis");
    }
  }

  // The next message as "channel: message"; "nothing" when none comes.
  std::string Next() {
    std::string next = "nothing";
    (void)Eventually([&] {
      const std::lock_guard lock(mutex_);
      if (messages_.empty()) return false;
      next = messages_.front();
      messages_.pop_front();
      return true;
    });
    return next;
  }

 private:
  std::mutex mutex_;
  std::deque<std::string> messages_;
  std::atomic<bool> connected_ = false;
  redis::Subscription subscription_;  // the last: its thread uses the others
};

}  // namespace shop::testing
