#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <cstdio>
#include <random>
#include <utility>

#include "gateway/streaming/transport.h"

namespace shop::gateway {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using What = EventSource::What;

// After how many milliseconds clients are to come back; apart from each other after a stop, which
// ends all streams at once.
constexpr int kRetryMs = 2000;
constexpr int kRetryAfterStopMs = 3000;

std::string Chunk(const std::string& text, bool chunked) {
  if (!chunked) return text;
  std::array<char, 20> size{};
  std::snprintf(size.data(), size.size(), "%zx\r\n", text.size());
  return size.data() + text + "\r\n";
}

// Notices that the client closes its connection.
asio::awaitable<void> WatchClient(StreamTransport transport) {
  std::array<char, 64> ignored{};
  error_code error;
  while (!error) {
    co_await transport.socket->async_read_some(asio::buffer(ignored),
                                               asio::redirect_error(asio::use_awaitable, error));
  }
  transport.events->ClientHasGone();
}

std::string Bye() {
  thread_local std::minstd_rand random{std::random_device()()};
  const int retry = std::uniform_int_distribution(100, kRetryAfterStopMs)(random);
  return "retry: " + std::to_string(retry) + "\nevent: bye\ndata: {}\n\n";
}

std::string EndOf(const EventSource& events) {
  const std::optional<EventSource::Error> error = events.error();
  return error ? "event: error\ndata: " + error->body + "\n\n" : "event: end\ndata: {}\n\n";
}

}  // namespace

asio::awaitable<void> ServeSse(StreamTransport transport, std::string head, bool chunked) {
  EventSource& events = *transport.events;
  asio::co_spawn(transport.socket->get_executor(), WatchClient(transport), asio::detached);
  std::string text =
      std::move(head) + Chunk("retry: " + std::to_string(kRetryMs) + "\n\n", chunked);
  bool is_event = false;
  for (bool last = false;;) {
    if (last && chunked) text += "0\r\n\r\n";
    error_code error;
    transport.writing(true);
    co_await asio::async_write(*transport.socket, asio::buffer(text),
                               asio::redirect_error(asio::use_awaitable, error));
    transport.writing(false);
    if (error || last) co_return;
    if (is_event) events.Next();
    is_event = false;
    switch (co_await events.Wait(transport.heartbeat)) {
      case What::kClientGone:
        co_return;
      case What::kEvent: {
        const EventSource::Event event = events.event();
        text = Chunk("id: " + std::to_string(event.id) + "\ndata: " + event.data + "\n\n", chunked);
        is_event = true;
        break;
      }
      case What::kHeartbeat:
        text = Chunk(":\n\n", chunked);
        break;
      case What::kDraining:
        text = Chunk(Bye(), chunked);
        last = true;
        break;
      case What::kEnd:
        text = Chunk(EndOf(events), chunked);
        last = true;
        break;
    }
  }
}

}  // namespace shop::gateway
