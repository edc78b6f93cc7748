// How many streams each user has open, from wherever they come.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>

namespace shop::gateway {

// Thread-safe.
class UserStreams {
 public:
  explicit UserStreams(size_t most) : most_(most) {}

  // A place for one more stream of the user, until it is destroyed, which has to be before this object is;
  // null when they have as many as a user may have.
  std::shared_ptr<void> Take(int64_t user) {
    const std::lock_guard lock(mutex_);
    size_t& open = open_[user];
    if (open >= most_) return nullptr;
    ++open;
    return {this, [user](UserStreams* streams) { streams->GiveBack(user); }};
  }

 private:
  void GiveBack(int64_t user) {
    const std::lock_guard lock(mutex_);
    const auto found = open_.find(user);
    if (--found->second == 0) open_.erase(found);
  }

  const size_t most_;
  std::mutex mutex_;
  std::unordered_map<int64_t, size_t> open_;  // of those that have any
};

}  // namespace shop::gateway
