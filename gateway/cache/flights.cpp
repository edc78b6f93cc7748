#include "gateway/cache/flights.h"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "common/telemetry/metrics.h"

namespace shop::gateway {

namespace asio = boost::asio;

void Flight::Start(const asio::any_io_executor& executor, asio::awaitable<void> ask) {
  executor_ = executor;
  asio::co_spawn(executor, std::move(ask),
                 asio::bind_cancellation_slot(cancel_.slot(), asio::detached));
}

void Flight::Land(std::shared_ptr<const Answered> answered) {
  std::vector<std::shared_ptr<asio::steady_timer>> waiting;
  {
    const std::lock_guard lock(mutex_);
    answered_ = std::move(answered);
    waiting.swap(waiting_);
  }
  for (const auto& timer : waiting) {
    asio::post(timer->get_executor(), [timer] { timer->cancel(); });
  }
}

std::optional<Flight::Seat> Flight::Join() {
  const std::lock_guard lock(mutex_);
  if (seats_ == 0 || answered_) return std::nullopt;
  ++seats_;
  return Seat(shared_from_this());
}

void Flight::Leave() {
  {
    const std::lock_guard lock(mutex_);
    if (--seats_ > 0 || answered_ || !executor_) return;
  }
  asio::post(executor_, [self = shared_from_this()] {
    {
      const std::lock_guard lock(self->mutex_);
      if (self->answered_) return;  // what there was to cancel has ended
    }
    self->cancel_.emit(asio::cancellation_type::terminal);
  });
}

asio::awaitable<std::shared_ptr<const Answered>> Flight::Seat::Wait(
    std::chrono::steady_clock::time_point deadline) const {
  const auto timer =
      std::make_shared<asio::steady_timer>(co_await asio::this_coro::executor, deadline);
  {
    const std::lock_guard lock(flight_->mutex_);
    if (flight_->answered_) co_return flight_->answered_;
    flight_->waiting_.push_back(timer);
  }
  // Landing cancels it, by a post to this executor: never before the wait has begun.
  boost::system::error_code ignored;
  co_await timer->async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  const std::lock_guard lock(flight_->mutex_);
  co_return flight_->answered_;
}

Flights::Flights(const ResponseCache& answers)
    : answers_(answers),
      shared_(prometheus::BuildCounter()
                  .Name("answer_cache_shared_total")
                  .Help("Reads that waited for the answer to another one's question.")
                  .Register(Metrics())
                  .Add({})) {}

Flights::Joined Flights::Join(std::string_view target, const ResponseCache::Subject& subject) {
  const std::lock_guard lock(mutex_);
  const auto found = flights_.find(target);
  if (found != flights_.end() && answers_.Serves(subject, found->second->asked())) {
    if (std::optional<Flight::Seat> seat = found->second->Join()) {
      shared_.Increment();
      return {*std::move(seat), false};
    }
  }
  auto flight = std::make_shared<Flight>(subject, answers_.Now());
  flights_.insert_or_assign(std::string(target), flight);
  return {Flight::Seat(std::move(flight)), true};
}

void Flights::Remove(std::string_view target, const Flight& flight) {
  const std::lock_guard lock(mutex_);
  const auto found = flights_.find(target);
  if (found != flights_.end() && found->second.get() == &flight) flights_.erase(found);
}

}  // namespace shop::gateway
