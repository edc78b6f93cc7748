// Answers of public reads, kept for a moment in the gateway's memory: what many ask for within a
// second is asked of the service once.
//
// Which methods, and what their answers are about, says shop.api.v1.cache. An answer is given again
// until it was asked for `life` ago, and while nothing is known to have changed of what it is
// about: the service publishes its changes on Redis, and a change that this gateway passes on ends
// answers before it is answered itself. What was asked for before a change and comes back after it
// is not kept. Without a connection to Redis nothing is kept at all. So a change made through
// this gateway is seen by the next read through it; any other one as soon as Redis has told it, and
// after `life` at the latest.
//
// A sale changes one detail of a thing, its stock, and happens all the time. It ends the answers
// about that thing alone; those about many show the stock of `life` ago at the oldest.
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
  // A life of zero keeps nothing. Once there are more bytes than that all answers are dropped.
  explicit ResponseCache(std::chrono::milliseconds life, size_t max_bytes = 16 << 20);

  // What an answer is about: all that is under a tag, or the one thing there that has this id.
  struct Subject {
    std::string tag;
    std::optional<int64_t> id = {};
  };
  // The answer to a GET of `target`, if it is still good.
  std::optional<HttpResponse> Find(std::string_view target);

  // When a service is asked: in the order of changes, and on the clock. Taken before it is asked,
  // and given to Keep with what it has answered.
  struct Asked {
    uint64_t moment;
    std::chrono::steady_clock::time_point at;
  };
  Asked Now() const;
  // Whether what was asked for then may be given to who asks now.
  bool Serves(const Subject& subject, const Asked& asked) const;
  // The answer's body has to be a kept one.
  void Put(std::string_view target, const HttpResponse& answer, const Subject& subject,
           const Asked& asked);
  // Whether anything is kept at present.
  bool Keeps() const;

  // Something has changed: things under a tag, or all of them without ids.
  void Changed(const std::string& tag, const std::vector<int64_t>& ids = {});
  // Only the stock of these has moved; without ids, that of all.
  void Sold(const std::string& tag, const std::vector<int64_t>& ids);

  // Whether changes are received from here on. What was kept before is forgotten.
  void SetSubscribed(bool subscribed);

 private:
  using Clock = std::chrono::steady_clock;
  struct Entry {
    HttpResponse answer;
    Subject subject;
    Asked asked;
  };
  // When things last changed, as moments.
  struct Changes {
    uint64_t each = 0;   // every one under the tag
    uint64_t lists = 0;  // what shows many of them
    std::unordered_map<int64_t, uint64_t> by_id;
  };
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };

  // These want the mutex.
  uint64_t LastChange(const Subject& subject) const;
  bool Good(const Subject& subject, const Asked& asked) const;
  void Note(Changes& changes, const std::vector<int64_t>& ids);

  const std::chrono::milliseconds life_;
  const size_t max_bytes_;
  prometheus::Counter& hits_;
  prometheus::Counter& misses_;
  prometheus::Counter& bypasses_;
  mutable std::mutex mutex_;
  bool subscribed_ = false;
  uint64_t moment_ = 0;
  uint64_t forgotten_ = 0;  // answers asked for before this moment are not kept
  size_t bytes_ = 0;
  std::unordered_map<std::string, Entry, Hash, std::equal_to<>> entries_;  // by target
  std::map<std::string, Changes> changes_;                                 // by tag
};

}  // namespace shop::gateway
