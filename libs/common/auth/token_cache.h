// Tokens that were checked and found good, with what they stand for.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace shop::auth {

// Has room for `capacity` tokens and keeps at least half as many of those that were used last: when
// the young half is full it becomes the old one, and the old one is dropped. Thread-safe.
template <typename T>
class TokenCache {
 public:
  struct Entry {
    T value;
    int64_t expires;  // seconds since 1970
    uint64_t generation;
  };

  explicit TokenCache(size_t capacity) : half_of_shard_(capacity / kShards / 2) {}

  // Nothing when the token is unknown, has expired at `now`, or is of another generation.
  std::optional<T> Find(std::string_view token, int64_t now, uint64_t generation) {
    Shard& shard = Of(token);
    const std::lock_guard lock(shard.mutex);
    auto found = shard.young.find(token);
    if (found == shard.young.end()) {
      const auto old = shard.old.find(token);
      if (old == shard.old.end()) return std::nullopt;
      Entry entry = std::move(old->second);
      shard.old.erase(old);
      found = Insert(shard, token, std::move(entry));
    }
    if (found->second.expires <= now || found->second.generation != generation) {
      shard.young.erase(found);
      return std::nullopt;
    }
    return found->second.value;
  }

  void Add(std::string_view token, Entry entry) {
    Shard& shard = Of(token);
    const std::lock_guard lock(shard.mutex);
    Insert(shard, token, std::move(entry));
  }

 private:
  // A token ends with its signature, which is as good as random; what comes before is compared, and
  // not hashed.
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view token) const {
      return std::hash<std::string_view>()(
          token.substr(token.size() - std::min(token.size(), kHashed)));
    }
  };
  static constexpr size_t kHashed = 48;
  using Map = std::unordered_map<std::string, Entry, Hash, std::equal_to<>>;
  struct Shard {
    std::mutex mutex;
    Map young;
    Map old;
  };

  typename Map::iterator Insert(Shard& shard, std::string_view token, Entry entry) {
    if (shard.young.size() >= half_of_shard_) {
      shard.old = std::move(shard.young);
      shard.young = Map();
    }
    return shard.young.insert_or_assign(std::string(token), std::move(entry)).first;
  }

  Shard& Of(std::string_view token) { return shards_[Hash()(token) % kShards]; }

  static constexpr size_t kShards = 16;
  const size_t half_of_shard_;
  std::array<Shard, kShards> shards_;
};

}  // namespace shop::auth
