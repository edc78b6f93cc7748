#include "gateway/streaming/event_source.h"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

namespace shop::gateway {

namespace asio = boost::asio;
using std::chrono::steady_clock;

EventSource::EventSource(asio::any_io_executor executor, Read read, Describe describe,
                         std::shared_ptr<void> place)
    : read_(std::move(read)),
      describe_(std::move(describe)),
      place_(std::move(place)),
      timer_(std::move(executor)) {}

asio::awaitable<std::optional<UpstreamStream::End>> EventSource::Open(
    const Start& start, steady_clock::time_point deadline) {
  stream_ = start([this] { Wake(); });
  while (!stream_->is_open() && !stream_->end() && stream_->message() == nullptr) {
    if (steady_clock::now() >= deadline) {
      co_return UpstreamStream::End{Refusal{Code::kDeadlineExceeded, "too late"}};
    }
    boost::system::error_code woken;
    timer_.expires_at(deadline);
    co_await timer_.async_wait(asio::redirect_error(asio::use_awaitable, woken));
  }
  if (!stream_->is_open() && stream_->end() && stream_->end()->refusal) co_return stream_->end();
  co_return std::nullopt;
}

asio::awaitable<EventSource::What> EventSource::Wait(std::chrono::milliseconds heartbeat) {
  const auto until = steady_clock::now() + heartbeat;
  for (;;) {
    if (client_gone_) co_return What::kClientGone;
    if (draining_) co_return What::kDraining;
    if (stream_->message() != nullptr) co_return What::kEvent;
    if (stream_->end()) co_return What::kEnd;
    if (steady_clock::now() >= until) co_return What::kHeartbeat;
    boost::system::error_code woken;
    timer_.expires_at(until);
    co_await timer_.async_wait(asio::redirect_error(asio::use_awaitable, woken));
  }
}

std::optional<EventSource::Error> EventSource::error() const {
  if (!stream_->end() || !stream_->end()->refusal) return std::nullopt;
  return describe_(*stream_->end()->refusal);
}

void EventSource::ClientHasGone() {
  client_gone_ = true;
  Wake();
}

void EventSource::Drain() {
  draining_ = true;
  Wake();
}

}  // namespace shop::gateway
