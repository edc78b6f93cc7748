// The events of one open stream, on their way from a service to one client.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "gateway/streaming/upstream_stream.h"

namespace shop::gateway {

// For the connection's executor.
class EventSource {
 public:
  // Begins to open a stream that calls the given function when it has changed.
  using Start = std::function<std::unique_ptr<UpstreamStream>(std::function<void()> on_change)>;
  // The JSON of a message, and its id.
  struct Event {
    int64_t id;
    std::string data;
  };
  using Read = std::function<Event(const google::protobuf::Message&)>;
  // The error envelope of how a stream has ended, and its HTTP status.
  struct Error {
    int status;
    std::string body;  // in one line
  };
  using Describe = std::function<Error(const Refusal&)>;

  // Keeps `place`, whatever that stands for, as long as it lives.
  EventSource(boost::asio::any_io_executor executor, Read read, Describe describe,
              std::shared_ptr<void> place);

  // Nothing once the service has accepted; or why there is no stream. DEADLINE_EXCEEDED when it has
  // said neither by `deadline`. First, and once.
  boost::asio::awaitable<std::optional<UpstreamStream::End>> Open(
      const Start& start, std::chrono::steady_clock::time_point deadline);

  enum class What {
    kClientGone,
    kDraining,   // the process stops: the client is to come back elsewhere
    kEvent,      // event() is there until Next()
    kEnd,        // the service has ended it; error() says why
    kHeartbeat,  // nothing for as long
  };
  boost::asio::awaitable<What> Wait(std::chrono::milliseconds heartbeat);

  Event event() const { return read_(*stream_->message()); }
  // After the event was written: only then the next one is asked for.
  void Next() { stream_->Next(); }
  // Nothing when the service simply has no more.
  std::optional<Error> error() const;

  void ClientHasGone();
  void Drain();

 private:
  void Wake() { timer_.cancel(); }

  const Read read_;
  const Describe describe_;
  const std::shared_ptr<void> place_;
  boost::asio::steady_timer timer_;
  bool client_gone_ = false;
  bool draining_ = false;
  std::unique_ptr<UpstreamStream> stream_;
};

}  // namespace shop::gateway
