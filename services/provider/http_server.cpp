#include "provider/http_server.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "common/telemetry/log.h"
#include "common/telemetry/span.h"

namespace shop::provider {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;
using Response = http::response<http::string_body>;

constexpr std::chrono::seconds kIdle{60};
constexpr std::chrono::seconds kPatience{10};  // for the rest of a request, and for an answer
constexpr std::chrono::milliseconds kAcceptPause{100};
constexpr uint32_t kLongestHeader = 8 * 1024;
constexpr uint64_t kLongestBody = 64 * 1024;

auto Into(error_code& error) {
  return asio::redirect_error(asio::use_awaitable, error);
}

tcp::acceptor Listen(asio::io_context& io, const std::string& host, uint16_t port) {
  const std::string service = std::to_string(port);
  try {
    return {io, *tcp::resolver(io).resolve(host, service, tcp::resolver::passive)};
  } catch (const boost::system::system_error& error) {
    throw std::runtime_error("cannot listen on " + host + ":" + service + ": " +
                             error.code().message());
  }
}

Response ToResponse(Answer answer, unsigned version, bool keep_alive) {
  Response response(static_cast<http::status>(answer.status), version, std::move(answer.body));
  response.set(http::field::content_type, "application/json");
  response.keep_alive(keep_alive);
  response.prepare_payload();
  return response;
}

}  // namespace

struct HttpServer::State {
  State(const Settings& chosen, Api& handler)
      : settings(chosen), api(handler), acceptor(Listen(io, chosen.host, chosen.port)) {
    asio::co_spawn(io, Accept(), asio::detached);
    for (int i = 0; i < settings.threads; ++i) threads.emplace_back([this] { io.run(); });
  }

  ~State() {
    io.stop();
    for (std::thread& thread : threads) thread.join();
  }

  asio::awaitable<void> Accept() {
    for (;;) {
      error_code error;
      const asio::any_io_executor executor = asio::make_strand(io);
      tcp::socket socket = co_await acceptor.async_accept(executor, Into(error));
      if (error) {
        log::Warning("a connection cannot be accepted", {{"error", error.message()}});
        asio::steady_timer pause(io, kAcceptPause);
        co_await pause.async_wait(asio::use_awaitable);
        continue;
      }
      asio::co_spawn(executor, Serve(beast::tcp_stream(std::move(socket))), asio::detached);
    }
  }

  asio::awaitable<void> Serve(beast::tcp_stream stream) {
    try {
      beast::flat_buffer buffer;
      while (co_await ServeOne(stream, buffer)) {
      }
    } catch (const boost::system::system_error&) {
      // The client has gone or was too slow.
    } catch (const std::exception& error) {
      log::Error("a connection ended with an error", {{"error", error.what()}});
    }
  }

  // False when the connection is to end.
  asio::awaitable<bool> ServeOne(beast::tcp_stream& stream, beast::flat_buffer& buffer) {
    http::request_parser<http::string_body> parser;
    parser.header_limit(kLongestHeader);
    parser.body_limit(kLongestBody);
    stream.expires_after(kIdle);
    error_code error;
    co_await http::async_read_header(stream, buffer, parser, Into(error));
    stream.expires_after(kPatience);
    if (!error) co_await http::async_read(stream, buffer, parser, Into(error));
    if (error == http::error::body_limit || error == http::error::header_limit) {
      co_await RefuseAsTooLarge(stream);
    }
    if (error) co_return false;

    const auto& message = parser.get();
    const auto field = [&](const auto& name) {
      const auto value = message[name];
      return std::string(value.data(), value.size());
    };
    Answer answer = Handle({.method = std::string(message.method_string()),
                            .target = std::string(message.target()),
                            .authorization = field(http::field::authorization),
                            .idempotency_key = field("Idempotency-Key"),
                            .body = message.body()},
                           field("traceparent"));
    if (answer.delivery == Answer::Delivery::kNever) co_await KeepSilent(stream);
    if (answer.delivery == Answer::Delivery::kReset) Reset(stream);
    if (answer.delivery != Answer::Delivery::kSent) co_return false;
    if (settings.delay.count() > 0) {
      asio::steady_timer pause(stream.get_executor(), settings.delay);
      co_await pause.async_wait(asio::use_awaitable);
    }
    Response response = ToResponse(std::move(answer), message.version(), message.keep_alive());
    stream.expires_after(kPatience);
    co_await http::async_write(stream, response, asio::use_awaitable);
    co_return message.keep_alive();
  }

  Answer Handle(const ApiRequest& request, const std::string& traceparent) {
    Span span(SpanKind::kServer, request.method, TraceContext::FromHeader(traceparent));
    const Span::Scope current(span);
    Answer answer = api.Handle(request);
    span.Set("http.request.method", request.method);
    span.Set("url.path", request.target);
    span.Set("http.response.status_code", answer.status);
    if (answer.status >= 500) span.Fail("");
    return answer;
  }

  // Reads on for a while, as a close with unread bytes would reset the connection before the client has
  // the answer.
  static asio::awaitable<void> RefuseAsTooLarge(beast::tcp_stream& stream) {
    Response refused = ToResponse(Error(413, "too_large", "the request is too large"), 11, false);
    co_await http::async_write(stream, refused, asio::use_awaitable);
    stream.socket().shutdown(tcp::socket::shutdown_send);
    char ignored[4096];
    error_code error;
    while (!error) co_await stream.async_read_some(asio::buffer(ignored), Into(error));
  }

  // Until the client has gone, or for as long as is set.
  asio::awaitable<void> KeepSilent(beast::tcp_stream& stream) {
    stream.expires_after(settings.silence);
    char ignored[256];
    error_code error;
    while (!error) co_await stream.async_read_some(asio::buffer(ignored), Into(error));
  }

  static void Reset(beast::tcp_stream& stream) {
    error_code ignored;
    stream.socket().set_option(asio::socket_base::linger(true, 0), ignored);
    stream.socket().close(ignored);
  }

  const Settings settings;
  Api& api;
  asio::io_context io;
  tcp::acceptor acceptor;
  std::vector<std::thread> threads;
};

HttpServer::HttpServer(const Settings& settings, Api& api)
    : state_(std::make_unique<State>(settings, api)) {}

HttpServer::~HttpServer() = default;

uint16_t HttpServer::port() const {
  return state_->acceptor.local_endpoint().port();
}

}  // namespace shop::provider
