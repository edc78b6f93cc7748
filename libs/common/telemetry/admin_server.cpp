#include "common/telemetry/admin_server.h"

#include <prometheus/text_serializer.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <iterator>
#include <list>
#include <stdexcept>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "common/telemetry/duration_histogram.h"
#include "common/telemetry/log.h"
#include "common/telemetry/metrics.h"
#include "common/telemetry/process_metrics.h"

namespace shop {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;
using http::status;
using Request = http::request<http::empty_body>;
using Response = http::response<http::string_body>;
using Stream = std::shared_ptr<beast::tcp_stream>;

// The limit for a whole request, and for each write of a part of the answer.
constexpr std::chrono::seconds kPatience{2};
// Beyond these the oldest is closed.
constexpr size_t kMostConnections = 128;
constexpr uint32_t kLongestHeader = 8192;
// After a failure to accept, which is most likely a lack of file descriptors.
constexpr std::chrono::milliseconds kAcceptPause{100};

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

Response Answer(status code, std::string body,
                const char* content_type = "text/plain; version=0.0.4; charset=utf-8") {
  Response response(code, 11, std::move(body));
  response.set(http::field::content_type, content_type);
  response.keep_alive(false);
  response.prepare_payload();
  return response;
}

Response Readyz(const ReadinessReport& report, bool strict) {
  const bool ready = report.missing.empty();
  std::string body = ready ? "ready" : "not ready: " + report.missing;
  if (!report.degraded.empty()) body += "; degraded: " + report.degraded;
  const bool good = ready && (!strict || report.degraded.empty());
  return Answer(good ? status::ok : status::service_unavailable, body + "\n");
}

Response NotAllowed(const char* allowed) {
  Response response = Answer(status::method_not_allowed, std::string("only ") + allowed + "\n");
  response.set(http::field::allow, allowed);
  return response;
}

// A web page cannot send a PUT here: its browser would ask for leave first, and get a 405.
Response ChangeLogLevel(http::verb method, std::string_view wanted) {
  if (method != http::verb::put) return NotAllowed("PUT");
  log::Level level;
  if (!log::ParseLevel(wanted, &level)) {
    return Answer(status::bad_request, "the levels are debug, info, warning and error\n");
  }
  if (level != log::Least()) {
    log::SetLeast(level);
    log::Write(log::Level::kError, "the log level was changed", {{"to", log::Name(level)}});
  }
  return Answer(status::ok, std::string(log::Name(level)) + "\n");
}

Response Respond(const Request& request, const AdminServer::Ready& ready) {
  constexpr std::string_view kLogLevel = "/log-level";
  const std::string_view target = request.target();
  const std::string_view path = target.substr(0, target.find('?'));
  if (path.starts_with(kLogLevel) && path.size() > kLogLevel.size() + 1) {
    return ChangeLogLevel(request.method(), path.substr(kLogLevel.size() + 1));
  }
  if (request.method() != http::verb::get) return NotAllowed("GET");
  if (path == "/healthz") return Answer(status::ok, "ok\n");
  if (path == "/metrics") {
    std::vector<prometheus::MetricFamily> families = Metrics().Collect();
    std::ranges::move(ProcessMetrics(), std::back_inserter(families));
    // As Prometheus asks for it first.
    if (request[http::field::accept].find("application/openmetrics-text") !=
        std::string_view::npos) {
      return Answer(status::ok, OpenMetricsText(families),
                    "application/openmetrics-text; version=1.0.0; charset=utf-8");
    }
    return Answer(status::ok, prometheus::TextSerializer().Serialize(families));
  }
  if (path == "/readyz") return Readyz(ready(), target.substr(path.size()) == "?strict");
  if (path == kLogLevel) return Answer(status::ok, std::string(log::Name(log::Least())) + "\n");
  return Answer(status::not_found, "there are /metrics, /healthz, /readyz and /log-level\n");
}

asio::awaitable<void> Converse(beast::tcp_stream& stream, const AdminServer::Ready& ready) {
  beast::flat_buffer buffer;
  http::request_parser<http::empty_body> parser;
  parser.header_limit(kLongestHeader);
  parser.body_limit(boost::none);  // none is read
  stream.expires_after(kPatience);
  error_code error;
  co_await http::async_read_header(stream, buffer, parser, Into(error));
  // If the connection has failed, sending the answer fails too.
  const Response response = !error ? Respond(parser.get(), ready)
                            : error == http::error::header_limit
                                ? Answer(status::request_header_fields_too_large, "too long\n")
                                : Answer(status::bad_request, error.message() + "\n");

  http::response_serializer<http::string_body> serializer(response);
  while (!serializer.is_done()) {
    stream.expires_after(kPatience);
    co_await http::async_write_some(stream, serializer, asio::use_awaitable);
  }
  // Reads the rest of what the client has sent before closing the socket: with unread data a close
  // resets the connection, and the client may lose the answer.
  stream.socket().shutdown(tcp::socket::shutdown_send);
  stream.expires_after(kPatience);
  for (;;) {
    buffer.clear();
    co_await stream.async_read_some(buffer.prepare(4096), asio::use_awaitable);
  }
}

}  // namespace

struct AdminServer::State {
  State(const std::string& host, uint16_t port, Ready check)
      : ready(std::move(check)), acceptor(Listen(io, host, port)) {
    asio::co_spawn(io, Accept(), asio::detached);
    thread = std::thread([this] { io.run(); });
  }

  asio::awaitable<void> Accept() {
    for (;;) {
      error_code error;
      tcp::socket socket = co_await acceptor.async_accept(Into(error));
      if (error) {
        log::Warning("the admin port cannot accept a connection", {{"error", error.message()}});
        asio::steady_timer pause(io, kAcceptPause);
        co_await pause.async_wait(asio::use_awaitable);
        continue;
      }
      connections.push_back(std::make_shared<beast::tcp_stream>(std::move(socket)));
      asio::co_spawn(io, Serve(connections.back()), asio::detached);
      if (connections.size() > kMostConnections) {
        connections.front()->close();
        connections.pop_front();
      }
    }
  }

  asio::awaitable<void> Serve(Stream stream) {
    try {
      co_await Converse(*stream, ready);
    } catch (const boost::system::system_error&) {
      // The client has gone, was too slow, or was closed as the oldest.
    } catch (const std::exception& error) {
      log::Error("a connection to the admin port ended with an error", {{"error", error.what()}});
    }
    connections.remove(stream);
  }

  const Ready ready;
  // The connections that are still open when it stops end with it.
  asio::io_context io{1};
  tcp::acceptor acceptor;
  std::list<Stream> connections;  // in the order in which they came
  std::thread thread;
};

AdminServer::AdminServer(const std::string& host, uint16_t port, Ready ready)
    : state_(std::make_unique<State>(host, port, std::move(ready))) {}

AdminServer::~AdminServer() {
  state_->io.stop();
  state_->thread.join();
}

}  // namespace shop
