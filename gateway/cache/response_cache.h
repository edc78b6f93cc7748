// Responses to public reads, cached for a moment in the gateway's memory: what many ask for within
// a second is asked of the service once.
//
// Which methods' responses are cached, and what those are about, is said by shop.api.v1.cache. A
// response is used again until the call that made it is `max_age` old, less a random part of up to
// a quarter, so that responses that came together do not end together; and no longer than until
// something changes of what it is about: services publish their changes on Redis, and a change that
// passes through this gateway ends responses before the change itself is answered. A response is
// not cached when its call began before such a change and returned after it. Without a connection
// to Redis nothing is cached. So a change made through this gateway is seen by the next read
// through it; any other one as soon as Redis has delivered it, and after `max_age` at the latest.
//
// A sale changes one detail of a thing, its stock, and happens all the time. It ends the responses
// about that thing alone; those about many show stock that is at most `max_age` old.
//
// Thread-safe. Metric: answer_cache_requests_total{outcome=hit|miss|bypass}.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "gateway/http/message.h"

namespace prometheus {
class Counter;
}

namespace shop::gateway {

class ResponseCache {
 public:
  // A maximum age of zero caches nothing. At more than `max_bytes` all responses are dropped.
  explicit ResponseCache(std::chrono::milliseconds max_age, size_t max_bytes = 16 << 20);

  // What a response is about: all things under a tag, or the one with this id.
  struct Subject {
    std::string tag;
    std::optional<int64_t> id = {};
  };

  // The response to a GET of `target`, if it is there and fresh.
  std::optional<HttpResponse> Find(std::string_view target);

  // When a service is asked: in the order of changes, and on the clock. Taken before it is stamp,
  // and given to Keep with what it has answered.
  struct Stamp {
    uint64_t sequence;
    std::chrono::steady_clock::time_point time;
  };
  Stamp Now() const;
  // Whether the result of a call that began then may be given to a request that comes now.
  bool IsFresh(const Subject& subject, const Stamp& stamp) const;
  // Does nothing where that is no longer fresh. The response's body has to be a shared one.
  void Put(std::string_view target, const HttpResponse& response, const Subject& subject,
           const Stamp& stamp);
  // Whether anything is cached at present.
  bool IsEnabled() const;

  // Things under a tag have changed; without ids, all of them.
  void Changed(const std::string& tag, const std::vector<int64_t>& ids = {});
  // Nothing but the stock of these has changed; without ids, that of all.
  void Sold(const std::string& tag, const std::vector<int64_t>& ids);

  // Whether changes are received from here on. Drops what was cached before.
  void SetSubscribed(bool subscribed);

 private:
  using Clock = std::chrono::steady_clock;
  struct Entry {
    HttpResponse response;
    Subject subject;
    Stamp stamp;
  };
  // When things last changed, as sequence numbers.
  struct Changes {
    uint64_t each = 0;   // every one under the tag
    uint64_t lists = 0;  // what shows many of them
    std::unordered_map<int64_t, uint64_t> by_id;
  };
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };

  // With the mutex locked.
  uint64_t LastChange(const Subject& subject) const;
  bool IsFreshLocked(const Subject& subject, const Stamp& stamp) const;
  void Note(Changes& changes, const std::vector<int64_t>& ids);

  const std::chrono::milliseconds max_age_;
  const size_t max_bytes_;
  prometheus::Counter& hits_;
  prometheus::Counter& misses_;
  prometheus::Counter& bypasses_;
  mutable std::mutex mutex_;
  bool subscribed_ = false;
  uint64_t sequence_ = 0;
  uint64_t cleared_at_ = 0;  // calls that began before this are not cached
  size_t bytes_ = 0;
  std::unordered_map<std::string, Entry, Hash, std::equal_to<>> entries_;  // by target
  std::map<std::string, Changes> changes_;                                 // by tag
};

}  // namespace shop::gateway
