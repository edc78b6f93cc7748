// Calls of services that are on their way, so that requests for the same answer make one call.
//
// A request joins the call for its target while what it returns will be fresh for that request
// (gateway/cache/response_cache.h): it began no longer ago than the cache's age limit, and before
// no known change of what it is about. So nobody is given an answer from before a change which was
// known when they came.
//
// Thread-safe. Metric: answer_cache_shared_total, requests that joined another one's call.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "common/core/result.h"
#include "gateway/cache/response_cache.h"
#include "gateway/http/message.h"

namespace prometheus {
class Counter;
}

namespace shop::gateway {

// What a service has answered to a call, ready to be sent.
struct UpstreamAnswer {
  HttpResponse response = {};           // without what is of one request alone
  std::optional<Refusal> refusal = {};  // then there is no response
};

class SharedCalls {
 public:
  // `cache` has to live longer.
  explicit SharedCalls(ResponseCache& cache);
  ~SharedCalls();

  // The answer for `target`, by the call that is on its way or else by `call`, which then puts it
  // into the cache unless it is a refusal. `call` runs on the executor of the request that began
  // it, for as long as anybody waits: it is cancelled when the last one has left, and ends at a
  // deadline of its own.
  //
  // Continues on the caller's executor. Null once `deadline` has passed, and where the coroutine is
  // cancelled.
  boost::asio::awaitable<std::shared_ptr<const UpstreamAnswer>> Get(
      std::string_view target, const ResponseCache::Subject& subject,
      std::chrono::steady_clock::time_point deadline, boost::asio::awaitable<UpstreamAnswer> call);

 private:
  class Call;

  // The call for `target`, with a place among those who wait, and whether it is new: then whoever
  // has it has to start it.
  std::pair<std::shared_ptr<Call>, bool> Join(std::string_view target,
                                              const ResponseCache::Subject& subject);
  boost::asio::awaitable<void> Run(std::string target, std::shared_ptr<Call> shared,
                                   boost::asio::awaitable<UpstreamAnswer> call);
  // Nobody joins it from here on.
  void Remove(std::string_view target, const Call& call);

  ResponseCache& cache_;
  prometheus::Counter& shared_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Call>, std::less<>> calls_;  // by target
};

}  // namespace shop::gateway
