// The sessions whose access tokens are not taken any more.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <set>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>

namespace shop::auth {

// Each is remembered until its last access token has expired, and at most `most` of them (some 40 MB).
// Thread-safe; to ask takes no lock while there is none.
class RevokedSessions {
 public:
  explicit RevokedSessions(size_t most = 1 << 18) : most_(most) {}

  // `until` its tokens have expired, in seconds since 1970, as `now` is. False when there were too many:
  // then one that would have been forgotten soonest is forgotten already.
  bool Add(const std::string& session, int64_t until, int64_t now);
  bool Contains(std::string_view session) const;
  size_t size() const { return size_; }

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };

  void ForgetFirst();

  const size_t most_;
  std::atomic<size_t> size_ = 0;
  mutable std::shared_mutex mutex_;  // of the two below, which have the same sessions
  std::unordered_set<std::string, Hash, std::equal_to<>> sessions_;
  std::set<std::pair<int64_t, std::string>> by_expiry_;
};

}  // namespace shop::auth
