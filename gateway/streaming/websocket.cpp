#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/websocket.hpp>
#include <boost/beast/websocket/ssl.hpp>
#include <utility>

#include "gateway/http/message.h"
#include "gateway/streaming/transport.h"

namespace shop::gateway {
namespace {

namespace asio = boost::asio;
namespace websocket = boost::beast::websocket;
using boost::system::error_code;
using What = EventSource::What;

constexpr size_t kMostFromClient = 4096;

struct Session {
  explicit Session(StreamTransport parts) : transport(std::move(parts)), socket(*transport.socket) {
    socket.read_message_max(kMostFromClient);
    socket.write_buffer_bytes(1024);
    socket.auto_fragment(false);
    socket.text(true);
  }

  StreamTransport transport;
  websocket::stream<ClientSocket&> socket;
};

auto Into(error_code& error) {
  return asio::redirect_error(asio::use_awaitable, error);
}

// Answers pings, ignores messages, and notices the client's end.
asio::awaitable<void> WatchClient(std::shared_ptr<Session> session) {
  error_code error;
  while (!error) {
    boost::beast::flat_buffer ignored;
    co_await session->socket.async_read(ignored, Into(error));
  }
  session->transport.events->ClientHasGone();
}

websocket::close_reason ReasonOf(const EventSource& events) {
  const std::optional<EventSource::Error> error = events.error();
  if (!error) return {websocket::close_code::normal, "no more"};
  if (error->status == 401 || error->status == 403) {
    return {websocket::close_code::policy_error, "the token is no longer good"};
  }
  return {websocket::close_code::internal_error, "failed"};
}

}  // namespace

// Beast calls it when a WebSocket is closed.
template <typename Handler>
void async_teardown(boost::beast::role_type role, ClientSocket& socket, Handler&& handler) {
  if (socket.tls() != nullptr) {
    boost::beast::async_teardown(role, *socket.tls(), std::forward<Handler>(handler));
  } else {
    websocket::async_teardown(role, socket.next_layer(), std::forward<Handler>(handler));
  }
}

asio::awaitable<void> ServeWebSocket(StreamTransport transport, const UpgradeRequest& request,
                                     std::string headers, std::string subprotocol) {
  const auto session = std::make_shared<Session>(std::move(transport));
  auto& socket = session->socket;
  EventSource& events = *session->transport.events;
  const std::function<void(bool)>& writing = session->transport.writing;
  socket.set_option(websocket::stream_base::decorator([&](websocket::response_type& response) {
    response.erase(boost::beast::http::field::server);
    for (const std::string_view line : Split(headers, '\n')) {
      const size_t colon = line.find(": ");
      if (colon == std::string_view::npos) continue;
      const std::string_view value = Trim(line.substr(colon + 2, line.size() - colon - 3));
      response.set(std::string(line.substr(0, colon)), std::string(value));
    }
    if (!subprotocol.empty()) {
      response.set(boost::beast::http::field::sec_websocket_protocol, subprotocol);
    }
  }));
  error_code error;
  writing(true);
  co_await socket.async_accept(request, Into(error));
  writing(false);
  if (error) co_return;
  asio::co_spawn(session->transport.socket->get_executor(), WatchClient(session), asio::detached);

  for (;;) {
    const What what = co_await events.Wait(session->transport.heartbeat);
    if (what == What::kClientGone) co_return;
    std::string text;
    std::optional<websocket::close_reason> close;
    if (what == What::kEvent) {
      const EventSource::Event event = events.event();
      text = R"({"id":)" + std::to_string(event.id) + R"(,"data":)" + event.data + "}";
    } else if (what == What::kDraining) {
      close.emplace(websocket::close_code::going_away, "come back");
    } else if (what == What::kEnd) {
      if (const auto failed = events.error()) text = failed->body;
      close = ReasonOf(events);
    }
    writing(true);
    if (what == What::kHeartbeat) co_await socket.async_ping({}, Into(error));
    if (!text.empty()) co_await socket.async_write(asio::buffer(text), Into(error));
    if (close && !error) co_await socket.async_close(*close, Into(error));
    writing(false);
    if (error || close) co_return;
    if (what == What::kEvent) events.Next();
  }
}

}  // namespace shop::gateway
