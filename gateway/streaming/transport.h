// How events get to a client: as server-sent events, or over a WebSocket.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/beast/http/fields.hpp>
#include <boost/beast/http/message.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "gateway/http/client_socket.h"
#include "gateway/http/request_parser.h"
#include "gateway/streaming/event_source.h"

namespace shop::gateway {

struct StreamTransport {
  // Shares the ownership of the connection. Its writing ends when it is cancelled.
  std::shared_ptr<ClientSocket> socket;
  std::shared_ptr<EventSource> events;
  // How long nothing may be sent before a heartbeat is.
  std::chrono::milliseconds heartbeat;
  // Called before (true) and after (false) each write, which may take so long and no longer.
  std::function<void(bool begins)> writing;
};

// Server-sent events (the HTML standard), after `head`, the header of the response:
//   id: 7                   the message's id, which the client sends as Last-Event-ID to go on
//   data: {…}               the message, in one line, as it would be in `data` of the envelope
// without `event:`, so that EventSource gives them to onmessage. A comment is the heartbeat. The end
// is one of
//   event: bye              the process stops: come back after `retry:`, to another replica
//   event: error            with the error envelope
//   event: end              there is no more
// Returns when the connection is to be closed. What the client sends is thrown away.
boost::asio::awaitable<void> ServeSse(StreamTransport transport, std::string head, bool chunked);

// A WebSocket (RFC 6455): accepts `request` with `headers` (whole lines) and the subprotocol, if any,
// then sends {"id":7,"data":{…}} as text messages, and pings. An error is a message with the error
// envelope. Close codes: 1000 no more, 1001 the process stops, 1008 the token, 1009 the client sent
// more than 4 KB at once, 1011 a failure. What the client sends is ignored.
using UpgradeRequest = boost::beast::http::request<BeastBody>;
boost::asio::awaitable<void> ServeWebSocket(StreamTransport transport,
                                            const UpgradeRequest& request, std::string headers,
                                            std::string subprotocol);

}  // namespace shop::gateway
