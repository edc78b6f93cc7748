#include "gateway/cache/shared_calls.h"

#include <absl/cleanup/cleanup.h>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <utility>
#include <vector>

#include "common/telemetry/metrics.h"

namespace shop::gateway {

namespace asio = boost::asio;

// One call and how many wait for its answer.
class SharedCalls::Call : public std::enable_shared_from_this<SharedCalls::Call> {
 public:
  Call(ResponseCache::Subject subject, ResponseCache::Stamp began)
      : subject_(std::move(subject)), began_(began) {}

  const ResponseCache::Subject& subject() const { return subject_; }
  const ResponseCache::Stamp& began() const { return began_; }

  // Lets `run` run on `executor`. Once nobody waits any more it is cancelled; at its end it has to
  // call Complete, whatever has happened.
  void Start(const asio::any_io_executor& executor, asio::awaitable<void> run) {
    executor_ = executor;
    asio::co_spawn(executor, std::move(run),
                   asio::bind_cancellation_slot(cancel_.slot(), asio::detached));
  }

  void Complete(std::shared_ptr<const UpstreamAnswer> answer) {
    std::vector<std::shared_ptr<asio::steady_timer>> timers;
    {
      const std::lock_guard lock(mutex_);
      answer_ = std::move(answer);
      timers.swap(timers_);
    }
    for (const auto& timer : timers) {
      asio::post(timer->get_executor(), [timer] { timer->cancel(); });
    }
  }

  // False when all who waited have left, or have their answer: it is too late for one more.
  bool Enter() {
    const std::lock_guard lock(mutex_);
    if (waiters_ == 0 || answer_) return false;
    ++waiters_;
    return true;
  }

  void Leave() {
    {
      const std::lock_guard lock(mutex_);
      if (--waiters_ > 0 || answer_ || !executor_) return;
    }
    asio::post(executor_, [self = shared_from_this()] {
      {
        const std::lock_guard lock(self->mutex_);
        if (self->answer_) return;  // there is nothing left to cancel
      }
      self->cancel_.emit(asio::cancellation_type::terminal);
    });
  }

  asio::awaitable<std::shared_ptr<const UpstreamAnswer>> Wait(
      std::chrono::steady_clock::time_point deadline) {
    const auto timer =
        std::make_shared<asio::steady_timer>(co_await asio::this_coro::executor, deadline);
    {
      const std::lock_guard lock(mutex_);
      if (answer_) co_return answer_;
      timers_.push_back(timer);
    }
    // Complete cancels it, by a post to this executor: never before the wait has begun.
    boost::system::error_code ignored;
    co_await timer->async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    const std::lock_guard lock(mutex_);
    co_return answer_;
  }

 private:
  const ResponseCache::Subject subject_;
  const ResponseCache::Stamp began_;
  asio::any_io_executor executor_;
  asio::cancellation_signal cancel_;  // used on executor_ alone
  std::mutex mutex_;                  // guards these:
  size_t waiters_ = 1;                // the first is who has made it
  std::vector<std::shared_ptr<asio::steady_timer>> timers_;
  std::shared_ptr<const UpstreamAnswer> answer_;
};

SharedCalls::SharedCalls(ResponseCache& cache)
    : cache_(cache),
      shared_(prometheus::BuildCounter()
                  .Name("answer_cache_shared_total")
                  .Help("Reads that waited for the answer to another one's call.")
                  .Register(Metrics())
                  .Add({})) {}

SharedCalls::~SharedCalls() = default;

asio::awaitable<std::shared_ptr<const UpstreamAnswer>> SharedCalls::Get(
    std::string_view target, const ResponseCache::Subject& subject,
    std::chrono::steady_clock::time_point deadline, asio::awaitable<UpstreamAnswer> call) {
  const auto [shared, is_new] = Join(target, subject);
  const absl::Cleanup leave = [&joined = *shared] { joined.Leave(); };
  if (is_new) {
    const asio::any_io_executor executor = co_await asio::this_coro::executor;
    shared->Start(executor, Run(std::string(target), shared, std::move(call)));
  }
  co_return co_await shared->Wait(deadline);
}

std::pair<std::shared_ptr<SharedCalls::Call>, bool> SharedCalls::Join(
    std::string_view target, const ResponseCache::Subject& subject) {
  const std::lock_guard lock(mutex_);
  const auto found = calls_.find(target);
  if (found != calls_.end() && cache_.IsFresh(subject, found->second->began()) &&
      found->second->Enter()) {
    shared_.Increment();
    return {found->second, false};
  }
  auto call = std::make_shared<Call>(subject, cache_.Now());
  calls_.insert_or_assign(std::string(target), call);
  return {std::move(call), true};
}

asio::awaitable<void> SharedCalls::Run(std::string target, std::shared_ptr<Call> shared,
                                       asio::awaitable<UpstreamAnswer> call) {
  auto answer = std::make_shared<UpstreamAnswer>();
  try {
    *answer = co_await std::move(call);
    if (!answer->refusal) {
      cache_.Put(target, answer->response, shared->subject(), shared->began());
    }
  } catch (const std::exception& error) {
    answer->refusal = Refusal{Code::kInternal, error.what()};
  }
  Remove(target, *shared);
  shared->Complete(std::move(answer));
}

void SharedCalls::Remove(std::string_view target, const Call& call) {
  const std::lock_guard lock(mutex_);
  const auto found = calls_.find(target);
  if (found != calls_.end() && found->second.get() == &call) calls_.erase(found);
}

}  // namespace shop::gateway
