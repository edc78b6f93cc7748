// Copies of products in Redis, and what keeps a stale one from being served.
//
// A reader that misses takes a lease: a random token under the product's lease key, one holder at a
// time. It reads the database and writes the copy together with the token; Redis accepts it only if
// the token is still there. An invalidation, after the commit of a change, deletes copy and lease
// together. So what was read before a change cannot be written after it. A reader that misses and
// gets no lease returns what it read from the database and writes no copy.
//
// An invalidation that failed (Redis away, process killed after the commit) is made later: once a
// second a thread drains the list of them in the database. From the first failure of any command
// until Redis answers and the list has been drained, nothing is read from Redis: a copy that outlived
// an outage is deleted before it could be served, and no request waits for a Redis that is away.
// Another process that still reaches Redis drains the same list, and so serves a stale copy for about
// a second at most. The time to live limits what these rules do not cover, such as a Redis that comes
// back with old contents.
//
// Thread-safe; no method throws when Redis is away. Metric:
// cache_requests_total{outcome=hit|miss|bypass}.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "common/redis/redis.h"

namespace prometheus {
class Counter;
}

namespace shop::products {

class ProductCache {
 public:
  struct Settings {
    redis::Settings redis;
    std::chrono::seconds life{300};  // CACHE_TTL_SECONDS
    std::string prefix = "products:";
    std::string changed_channel = "products:changed";
    std::string sold_channel = "products:sold";
    std::chrono::milliseconds drain_every{1000};

    static Settings Read(Env& env);
  };

  // Calls `invalidate` with all products whose invalidation is pending in the database, those that
  // have changed and those of which only stock moved, and forgets them once it has returned.
  using Invalidate =
      std::function<void(const std::vector<int64_t>& changed, const std::vector<int64_t>& sold)>;
  using Drain = std::function<void(const Invalidate& invalidate)>;

  // `drain` is called from a thread of this object, and may throw.
  ProductCache(Settings settings, Drain drain);
  ~ProductCache();

  struct Found {
    std::optional<std::string> copy;
    std::string lease;  // after a miss; empty if another reader has it
  };
  Found Find(int64_t id);
  // Stores what was read from the database after Find returned this lease.
  void Put(int64_t id, const std::string& lease, const std::string& copy);
  // After the commit of a change: deletes the copies and publishes the ids on the channel.
  void Remove(const std::vector<int64_t>& ids);
  // The same if only stock moved, which lists may show a little later: publishes on another channel.
  void RemoveSold(const std::vector<int64_t>& ids);

  // Whether copies are read at present.
  bool serving() const { return healed_ == failures_; }

 private:
  std::string CopyKey(int64_t id) const;
  std::string LeaseKey(int64_t id) const;
  void RemoveNow(const std::vector<int64_t>& ids, const std::string& channel);
  void Delete(const std::vector<int64_t>& ids, const std::string& channel);
  void Failed(const std::exception& error);
  void DrainOnce();
  void DrainUntilStopped();

  const Settings settings_;
  const Drain drain_;
  const std::string token_prefix_;
  std::atomic<uint64_t> tokens_ = 0;
  redis::Client redis_;
  prometheus::Counter& hits_;
  prometheus::Counter& misses_;
  prometheus::Counter& bypasses_;

  // Copies are read unless there was a failure since the last drain. Begins as after a failure, in
  // case the process before this one crashed.
  std::atomic<uint64_t> failures_ = 1;
  std::atomic<uint64_t> healed_ = 0;
  // Whether Redis has answered since the last failure: then a drain may have begun that does not
  // include later invalidations.
  std::atomic<bool> reachable_ = false;

  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace shop::products
