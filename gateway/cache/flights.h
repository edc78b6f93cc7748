// Questions to services that are on their way, so that requests for the same answer ask once.
//
// A request joins the question for its target while what comes back will still be good for it:
// asked no longer ago than answers are kept, and before nothing that is known to have changed of
// what it is about (gateway/cache/response_cache.h). So nobody is given an answer that was asked for before
// a change which was known when they came.
//
// Thread-safe. Metric: answer_cache_shared_total, requests that joined another one's question.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "common/core/result.h"
#include "gateway/cache/response_cache.h"
#include "gateway/http/message.h"

namespace prometheus {
class Counter;
}

namespace shop::gateway {

// What came back.
struct Answered {
  HttpResponse response = {};           // without what is of one request alone
  std::optional<Refusal> refusal = {};  // then there is no response
  int retry_after = 0;                  // seconds that the service asks for, 0 for none
};

// One question and those who wait for its answer.
class Flight : public std::enable_shared_from_this<Flight> {
 public:
  Flight(ResponseCache::Subject subject, ResponseCache::Asked asked)
      : subject_(std::move(subject)), asked_(asked) {}

  const ResponseCache::Subject& subject() const { return subject_; }
  const ResponseCache::Asked& asked() const { return asked_; }

  // Lets `ask` run on `executor`. Once nobody waits any more it is cancelled; at its end it has to
  // call Land, whatever has happened.
  void Start(const boost::asio::any_io_executor& executor, boost::asio::awaitable<void> ask);
  void Land(std::shared_ptr<const Answered> answered);

  // The place of one who waits; leaves at its end.
  class Seat {
   public:
    explicit Seat(std::shared_ptr<Flight> flight) : flight_(std::move(flight)) {}
    ~Seat() {
      if (flight_) flight_->Leave();
    }
    Seat(Seat&&) = default;
    Seat& operator=(Seat&&) = delete;

    const std::shared_ptr<Flight>& flight() const { return flight_; }
    // On the caller's own executor. Null once `deadline` has passed, and where the coroutine is
    // cancelled.
    boost::asio::awaitable<std::shared_ptr<const Answered>> Wait(
        std::chrono::steady_clock::time_point deadline) const;

   private:
    std::shared_ptr<Flight> flight_;
  };
  // Nothing when all who waited have left, or have their answer: it is too late for one more.
  std::optional<Seat> Join();

 private:
  void Leave();

  const ResponseCache::Subject subject_;
  const ResponseCache::Asked asked_;
  boost::asio::any_io_executor executor_;
  boost::asio::cancellation_signal cancel_;  // used on executor_ alone
  std::mutex mutex_;                         // guards these:
  size_t seats_ = 1;                         // the first is of who has made it
  std::vector<std::shared_ptr<boost::asio::steady_timer>> waiting_;
  std::shared_ptr<const Answered> answered_;
};

class Flights {
 public:
  // `answers` has to live longer.
  explicit Flights(const ResponseCache& answers);

  struct Joined {
    Flight::Seat seat;
    bool is_new;  // who has it has to start the flight
  };
  // A place on the flight for `target`.
  Joined Join(std::string_view target, const ResponseCache::Subject& subject);
  // Nobody joins it from here on.
  void Remove(std::string_view target, const Flight& flight);

 private:
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };

  const ResponseCache& answers_;
  prometheus::Counter& shared_;
  std::mutex mutex_;
  std::unordered_map<std::string, std::shared_ptr<Flight>, Hash, std::equal_to<>> flights_;
};

}  // namespace shop::gateway
