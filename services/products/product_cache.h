// Copies of products in Redis, and what keeps a stale one from being served.
//
// A reader that misses takes a lease: a random token under the product's lease key, one holder at a
// time. It reads the database and hands the copy over with the token; Redis takes it only while the
// token is still there. An invalidation, after the commit of a change, deletes copy and lease
// together. So what was read before a change cannot be put in after it. Who misses and gets no
// lease uses what the database says and puts nothing in.
//
// An invalidation that could not be made (Redis away, process killed after the commit) is made
// later: a thread drains, once a second, the list that the database keeps of them. From the first
// failure of any command until Redis answers and that list has been drained, nothing is read from
// Redis: a copy that outlived an outage is deleted before it could be served, and no request waits
// for a Redis that is away. Another process that still reaches Redis drains the same list, and so
// serves a stale copy for about a second at the longest. What no rule catches (a Redis that comes
// back with old contents) ends with the copy's time to live.
//
// Thread-safe; nothing here throws for a Redis that is away. Metric:
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

  // Calls `invalidate` with every product whose pending invalidation the database knows of, and
  // forgets those for which it returned: those that have changed, and those of which only stock
  // moved.
  using Invalidate =
      std::function<void(const std::vector<int64_t>& changed, const std::vector<int64_t>& sold)>;
  using Drain = std::function<void(const Invalidate& invalidate)>;

  // `drain` is called from a thread of this object's own, and may throw.
  ProductCache(Settings settings, Drain drain);
  ~ProductCache();

  struct Found {
    std::optional<std::string> copy;
    std::string lease;  // of a miss; empty when somebody else has it
  };
  Found Find(int64_t id);
  // Puts in what was read from the database after Find gave this lease.
  void Put(int64_t id, const std::string& lease, const std::string& copy);
  // After the commit of a change: the copies go, and the ids are published on the channel.
  void Remove(const std::vector<int64_t>& ids);
  // The same where only stock moved, which lists may show a little later: the ids are published on
  // a channel of their own.
  void RemoveSold(const std::vector<int64_t>& ids);

  // Whether copies are read now.
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

  // Copies are read while no failure is newer than the last drain. At the start one is pending, for
  // the process that ran before this one.
  std::atomic<uint64_t> failures_ = 1;
  std::atomic<uint64_t> healed_ = 0;
  // Since the last failure Redis has answered, and a drain that may find less has begun.
  std::atomic<bool> reachable_ = false;

  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace shop::products
