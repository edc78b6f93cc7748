#include "gateway/http_server.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <ctime>
#include <limits>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "common/core/addresses.h"
#include "common/telemetry/log.h"
#include "gateway/gateway.h"
#include "gateway/http/client_socket.h"
#include "gateway/http/framing.h"
#include "gateway/http/https.h"
#include "gateway/http/message.h"
#include "gateway/http/request_parser.h"
#include "gateway/limits/client_limits.h"
#include "gateway/streaming/event_source.h"
#include "gateway/streaming/transport.h"

namespace shop::gateway {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

using ReusePort = asio::detail::socket_option::boolean<SOL_SOCKET, SO_REUSEPORT>;

constexpr milliseconds kSweep{200};
// How long, and how much, a client may go on sending what was refused before it reads the answer.
constexpr milliseconds kLinger{2000};
constexpr size_t kLingerBytes = 16 * 1024 * 1024;
// How much of a body that is not wanted is read all the same, so that its connection can go on.
constexpr uint64_t kSkippedBytes = 64 * 1024;
constexpr uint64_t kEndless = std::numeric_limits<uint64_t>::max();
// What a connection may buffer of an unparsed header without taking it from its client's share.
constexpr size_t kFirstBytes = 4096;
// How much of a body is read at once, and how much of one may stay unparsed: the line before a chunk,
// or the trailer, until its end arrives.
constexpr size_t kReadBytes = 8192;

auto Into(error_code& error) {
  return asio::redirect_error(asio::use_awaitable, error);
}

// The Date header's line, made once a second.
const std::string& DateLine() {
  thread_local std::time_t made = 0;
  thread_local std::string line;
  const std::time_t now = std::time(nullptr);
  if (now != made) {
    std::tm utc{};
    gmtime_r(&now, &utc);
    char text[64];
    line.assign(text,
                std::strftime(text, sizeof text, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &utc));
    made = now;
  }
  return line;
}

// Status line and header of `response`.
void WriteHead(const HttpResponse& response, bool keep_alive, unsigned version, std::string* head) {
  const beast::string_view reason =
      http::obsolete_reason(static_cast<http::status>(response.status));
  head->clear();
  head->append("HTTP/1.1 ").append(std::to_string(response.status)).append(" ");
  head->append(reason.data(), reason.size()).append("\r\n");
  head->append(DateLine());
  if (response.stream) {
    head->append("Content-Type: ").append(response.content_type).append("\r\n");
    if (version >= 11) head->append("Transfer-Encoding: chunked\r\n");
  } else if (response.status != 204 && response.status != 304) {
    head->append("Content-Type: ").append(response.content_type).append("\r\nContent-Length: ");
    head->append(std::to_string(response.content().size())).append("\r\n");
  }
  head->append("X-Content-Type-Options: nosniff\r\n").append(response.headers);
  if (!keep_alive) {
    head->append("Connection: close\r\n");
  } else if (version < 11) {
    head->append("Connection: keep-alive\r\n");
  }
  head->append("\r\n");
}

// Used on its own executor, `deadline` and `idle` also by the sweep.
struct Connection : std::enable_shared_from_this<Connection> {
  Connection(tcp::socket socket, asio::ssl::context* tls, const asio::ip::address& peer,
             size_t max_buffer, std::unique_ptr<ClientLimits::Share> share)
      : socket(std::move(socket), tls), peer(peer), buffer(max_buffer), share(std::move(share)) {}

  void Expires(milliseconds after) { deadline = (Clock::now() + after).time_since_epoch().count(); }
  void ExpiresNever() { deadline = std::numeric_limits<Clock::rep>::max(); }
  bool Expired() const { return Clock::now().time_since_epoch().count() >= deadline; }

  ClientSocket socket;
  const asio::ip::address peer;
  beast::flat_buffer buffer;
  std::optional<RequestParser> parser;
  HttpRequest request;
  bool expects_continue = false;  // waits for 100 Continue before it sends its body
  std::string head;
  std::unique_ptr<ClientLimits::Share> share;
  std::shared_ptr<EventSource> stream;  // set while it serves one, as the next
  std::atomic<bool> streams = false;
  asio::cancellation_signal cancel;
  std::atomic<Clock::rep> deadline = std::numeric_limits<Clock::rep>::max();
  std::atomic<bool> idle = true;
};

// How much to read next. None when the client has used up its share for headers, and when as much of
// a body is unparsed as may be.
size_t RoomToRead(Connection& connection) {
  const size_t buffered = connection.buffer.size();
  if (connection.parser->is_header_done()) return kReadBytes - std::min(buffered, kReadBytes);
  const size_t next = (buffered / kFirstBytes + 1) * kFirstBytes;
  const size_t stored =
      connection.parser->field_bytes() + std::max(next, connection.buffer.capacity()) - kFirstBytes;
  return connection.share->TakeInAll(stored) ? next - buffered : 0;
}

asio::awaitable<error_code> Parse(Connection& connection, bool (RequestParser::*done)() const) {
  RequestParser& parser = *connection.parser;
  while (!(parser.*done)()) {
    if (connection.buffer.size() > 0) {
      error_code error;
      const size_t used = parser.put(connection.buffer.data(), error);
      connection.buffer.consume(used);
      if (error && error != http::error::need_more) co_return error;
      if (used > 0) continue;
    }
    const size_t room = RoomToRead(connection);
    if (room == 0) co_return make_error_code(http::error::buffer_overflow);
    error_code error;
    const size_t got =
        co_await connection.socket.async_read_some(connection.buffer.prepare(room), Into(error));
    if (error) co_return error;
    connection.buffer.commit(got);
  }
  co_return error_code{};
}

// What to tell the client after reading its request has failed.
HttpFault FaultOf(const Connection& connection, error_code error) {
  if (error == asio::error::operation_aborted) {
    if (!connection.Expired()) return {-1};
    return {408, "REQUEST_TIMEOUT", "the request took too long to arrive"};
  }
  // The connection is broken: there is nobody to tell.
  if (error.category() != make_error_code(http::error::end_of_stream).category()) return {-1};
  switch (connection.share->verdict()) {
    case ClientLimits::Verdict::kLimitOfAll:
      return {503, "OVERLOADED", "too much is sent at once, try again later"};
    case ClientLimits::Verdict::kLimitOfClient:
      return {429, "RESOURCE_EXHAUSTED", "too much is sent at once from this address"};
    case ClientLimits::Verdict::kGiven:
      break;
  }
  if (error == http::error::header_limit) {
    return {431, "HEADER_TOO_LARGE",
            connection.parser->has_too_many_fields() ? "the header has too many fields"
                                                     : "the header is too large"};
  }
  if (error == http::error::buffer_overflow) {
    return {400, "INVALID_ARGUMENT", "a chunk's extensions or the trailer are too long"};
  }
  if (error == http::error::body_limit) {
    return {413, "PAYLOAD_TOO_LARGE", "the body is too large"};
  }
  if (error == http::error::bad_obs_fold) {
    return {400, "INVALID_ARGUMENT",
            "a field of the header or the trailer must not go on in the next line"};
  }
  if (error == http::error::bad_content_length || error == http::error::multiple_content_length) {
    return kBadContentLength;
  }
  if (error == http::error::bad_transfer_encoding) return kBadTransferEncoding;
  if (error == http::error::bad_chunk || error == http::error::bad_chunk_extension) {
    return {400, "INVALID_ARGUMENT", "a chunk of the body is not well-formed"};
  }
  return {400, "INVALID_ARGUMENT", "this is not an HTTP request"};
}

// Reads the header of a request.
asio::awaitable<HttpFault> ReadHeader(Connection& connection) {
  RequestParser& parser = *connection.parser;
  const error_code error = co_await Parse(connection, &RequestParser::is_header_done);
  if (error) co_return FaultOf(connection, error);
  const auto& message = parser.get();
  if (const HttpFault fault = CheckFraming(message); fault.status != 0) co_return fault;
  if (const auto expect = message.find(http::field::expect);
      expect != message.end() && message.version() >= 11) {
    if (!beast::iequals(expect->value(), "100-continue")) {
      co_return HttpFault{417, "EXPECTATION_FAILED", "that expectation cannot be met"};
    }
    connection.expects_continue = !parser.is_done() && connection.buffer.size() == 0;
  }
  co_return HttpFault{};
}

// The body of a connection's current request.
class ConnectionBody final : public BodyReader {
 public:
  ConnectionBody(const HttpServer::Settings& settings, Connection& connection)
      : settings_(settings), connection_(connection) {}
  bool expected() const override { return !connection_.parser->is_done(); }
  HttpFault Declared() const override;
  asio::awaitable<HttpFault> Read() override;
  HttpFault BecomeStream() override;

 private:
  const HttpServer::Settings& settings_;
  Connection& connection_;
};

HttpFault ConnectionBody::Declared() const {
  if (connection_.parser->content_length().value_or(0) <= settings_.max_body_bytes) return {};
  return {413, "PAYLOAD_TOO_LARGE", "the body is too large"};
}

asio::awaitable<HttpFault> ConnectionBody::Read() {
  RequestParser& parser = *connection_.parser;
  const size_t most = settings_.max_body_bytes;
  // The header stays in memory until the body has arrived.
  const size_t stored = parser.field_bytes() + (parser.chunked() ? kReadBytes : 0);
  if (!connection_.share->TakeInAll(stored)) {
    co_return FaultOf(connection_, http::error::buffer_overflow);
  }
  parser.get().body().Store(std::min<uint64_t>(parser.content_length().value_or(most), most),
                            *connection_.share);
  connection_.Expires(settings_.body_timeout);
  error_code error;
  if (std::exchange(connection_.expects_continue, false)) {
    static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
    co_await asio::async_write(connection_.socket, asio::buffer(kContinue), Into(error));
  }
  if (!error) error = co_await Parse(connection_, &RequestParser::is_done);
  if (error) co_return FaultOf(connection_, error);
  connection_.ExpiresNever();
  connection_.request.body = parser.get().body().text();
  co_return HttpFault{};
}

HttpFault ConnectionBody::BecomeStream() {
  switch (connection_.share->BecomeStream()) {
    case ClientLimits::Verdict::kLimitOfAll:
      return {503, "OVERLOADED", "too many streams are open, try again later"};
    case ClientLimits::Verdict::kLimitOfClient:
      return {429, "RESOURCE_EXHAUSTED", "too many streams are open from this address"};
    case ClientLimits::Verdict::kGiven:
      break;
  }
  return {};
}

// How much is still to come of a request that was answered without its body; throws away what has
// arrived.
uint64_t Unread(Connection& connection) {
  RequestParser& parser = *connection.parser;
  while (!parser.is_done() && connection.buffer.size() > 0) {
    error_code error;
    const size_t used = parser.put(connection.buffer.data(), error);
    connection.buffer.consume(used);
    if (error && error != http::error::need_more) return kEndless;
    if (used == 0) break;
  }
  if (parser.is_done()) return 0;
  // A client that waits for 100 Continue may send its body or not.
  if (connection.expects_continue) return kEndless;
  return parser.content_length_remaining().value_or(kEndless);
}

// Frees the memory of a request that has been answered; where the rest of it is still to be read,
// that of its body.
void FreeRequest(Connection& connection, bool rest_follows) {
  if (rest_follows) {
    connection.parser->get().body() = {};
  } else {
    connection.request = {};
    connection.parser.reset();
  }
  connection.share->GiveBack();
  if (connection.buffer.size() == 0 && connection.buffer.capacity() > kReadBytes) {
    connection.buffer.shrink_to_fit();
  }
}

// Lets the client read the response although it is still sending: closing at once would reset the
// connection, and the response would be lost.
asio::awaitable<void> Linger(Connection& connection) {
  error_code error;
  connection.buffer.clear();
  connection.buffer.shrink_to_fit();
  connection.Expires(kLinger);
  co_await connection.socket.End();
  // What it sends is not decrypted any more.
  tcp::socket& socket = connection.socket.next_layer();
  socket.shutdown(tcp::socket::shutdown_send, error);
  std::array<char, 8192> ignored{};
  for (size_t total = 0; !error && total < kLingerBytes;) {
    total += co_await socket.async_read_some(asio::buffer(ignored), Into(error));
  }
}

// Sets the request to what has been parsed, which may be a part only. False where nobody can tell
// which path it asks for.
bool SetRequest(Connection& connection) {
  const auto& message = connection.parser->get();
  HttpRequest& request = connection.request;
  request.peer = connection.peer;
  request.method = message.method_string();
  for (const auto& field : message) {
    request.headers.emplace_back(field.name_string(), field.value());
  }
  const auto target = PathAndQuery(request.method, message.target(), request.Header("host"));
  request.target = target.value_or(message.target());
  return target.has_value();
}

}  // namespace

struct HttpServer::State {
  State(const Settings& settings, Gateway& gateway)
      : settings(settings),
        gateway(gateway),
        limits({.connections = settings.max_connections,
                .connections_per_client = settings.max_connections_per_client,
                .bytes = settings.max_buffered_bytes,
                .bytes_per_client = settings.max_buffered_bytes_per_client,
                .streams = settings.max_streams,
                .streams_per_client = settings.max_streams_per_client}) {
    if (settings.tls.given()) https.emplace(settings.tls);
  }

  void Listen();
  asio::awaitable<void> Accept();
  void Welcome(tcp::socket socket);
  // What is in the backlog is accepted still.
  void StopAccepting();
  asio::awaitable<void> Sweep();
  asio::awaitable<void> Serve(std::shared_ptr<Connection> connection);
  asio::awaitable<bool> ServeOne(Connection& connection);
  asio::awaitable<void> ServeStream(Connection& connection, HttpResponse response);

  const Settings settings;
  Gateway& gateway;
  ClientLimits limits;
  asio::io_context io{settings.threads};
  asio::strand<asio::io_context::executor_type> control = asio::make_strand(io);
  std::optional<Https> https;
  tcp::acceptor acceptor{control};  // this, https and the timer are used on `control` only
  asio::steady_timer timer{control};
  std::mutex mutex;
  std::unordered_map<Connection*, std::shared_ptr<Connection>> connections;
  bool accepting = true;               // used on `control` only
  std::atomic<bool> draining = false;  // connections end with their next response
  std::atomic<bool> stopping = false;  // those that wait for a request end too
  std::atomic<Clock::rep> patience = std::numeric_limits<Clock::rep>::max();
  std::vector<std::thread> threads;
};

HttpServer::Settings HttpServer::Settings::Read(Env& env) {
  Settings settings;
  const auto duration = [&env](const char* name, milliseconds fallback) {
    return milliseconds(env.Integer(name, fallback.count(), 1, 3600000));
  };
  const auto amount = [&env](const char* name, size_t fallback, int64_t max) {
    return static_cast<size_t>(env.Integer(name, static_cast<int64_t>(fallback), 1, max));
  };
  settings.host = env.Text("BIND_HOST", settings.host);
  settings.port = ServicePort(env, "gateway");
  settings.tls = TlsFiles::OfHttp(env);
  settings.threads = static_cast<int>(env.Integer("GATEWAY_THREADS", settings.threads, 1, 64));
  settings.max_body_bytes = amount("HTTP_MAX_BODY_BYTES", settings.max_body_bytes, 1 << 26);
  settings.max_buffered_bytes =
      amount("HTTP_MAX_BUFFERED_BYTES",
             std::max(settings.max_buffered_bytes, settings.max_body_bytes), int64_t{1} << 40);
  settings.max_buffered_bytes_per_client = amount(
      "HTTP_MAX_BUFFERED_BYTES_PER_CLIENT",
      std::max(settings.max_buffered_bytes_per_client, settings.max_body_bytes), int64_t{1} << 40);
  if (settings.max_buffered_bytes < settings.max_body_bytes) {
    env.Wrong("HTTP_MAX_BUFFERED_BYTES", "is less than HTTP_MAX_BODY_BYTES");
  }
  if (settings.max_buffered_bytes_per_client < settings.max_body_bytes) {
    env.Wrong("HTTP_MAX_BUFFERED_BYTES_PER_CLIENT", "is less than HTTP_MAX_BODY_BYTES");
  }
  settings.max_connections = amount("HTTP_MAX_CONNECTIONS", settings.max_connections, 1 << 20);
  settings.max_connections_per_client =
      amount("HTTP_MAX_CONNECTIONS_PER_CLIENT", settings.max_connections_per_client, 1 << 20);
  settings.max_streams = amount("HTTP_MAX_STREAMS", settings.max_streams, 1 << 20);
  settings.max_streams_per_client =
      amount("HTTP_MAX_STREAMS_PER_CLIENT", settings.max_streams_per_client, 1 << 20);
  settings.stream_heartbeat = duration("HTTP_STREAM_HEARTBEAT_MS", settings.stream_heartbeat);
  settings.idle_timeout = duration("HTTP_IDLE_TIMEOUT_MS", settings.idle_timeout);
  settings.header_timeout = duration("HTTP_HEADER_TIMEOUT_MS", settings.header_timeout);
  settings.body_timeout = duration("HTTP_BODY_TIMEOUT_MS", settings.body_timeout);
  settings.drain_delay = milliseconds(env.Integer("HTTP_DRAIN_DELAY_MS", 0, 0, 5000));
  settings.reuse_port = env.Flag("HTTP_REUSE_PORT", false);
  return settings;
}

HttpServer::HttpServer(const Settings& settings, Gateway& gateway)
    : state_(std::make_unique<State>(settings, gateway)) {
  state_->Listen();
  asio::co_spawn(state_->control, state_->Accept(), asio::detached);
  asio::co_spawn(state_->control, state_->Sweep(), asio::detached);
  for (int i = 0; i < settings.threads; ++i) {
    state_->threads.emplace_back([state = state_.get()] { state->io.run(); });
  }
}

HttpServer::~HttpServer() {
  state_->gateway.Stop();
  state_->patience = (Clock::now() + state_->settings.grace).time_since_epoch().count();
  const auto stop_accepting = [state = state_.get()] { state->StopAccepting(); };
  if (state_->settings.reuse_port) {
    asio::post(state_->control, stop_accepting);
  } else {
    state_->draining = true;
  }
  std::this_thread::sleep_for(std::min(state_->settings.drain_delay, state_->settings.grace));
  state_->stopping = true;
  asio::post(state_->control, stop_accepting);
  asio::post(state_->control, [state = state_.get()] { state->timer.cancel(); });
  for (std::thread& thread : state_->threads) thread.join();
}

uint16_t HttpServer::port() const {
  return state_->acceptor.local_endpoint().port();
}

void HttpServer::State::Listen() {
  try {
    tcp::resolver resolver(io);
    const tcp::endpoint endpoint =
        *resolver.resolve(settings.host, std::to_string(settings.port), tcp::resolver::passive);
    acceptor.open(endpoint.protocol());
    acceptor.set_option(tcp::acceptor::reuse_address(true));
    if (settings.reuse_port) acceptor.set_option(ReusePort(true));
    acceptor.bind(endpoint);
    acceptor.listen(asio::socket_base::max_listen_connections);
  } catch (const boost::system::system_error& error) {
    throw std::runtime_error("cannot listen on " + settings.host + ":" +
                             std::to_string(settings.port) + ": " + error.code().message());
  }
}

asio::awaitable<void> HttpServer::State::Accept() {
  const auto executor = [this] {
    return settings.threads > 1 ? asio::any_io_executor(asio::make_strand(io)) : io.get_executor();
  };
  error_code error;
  while (accepting) {
    tcp::socket socket(executor());
    co_await acceptor.async_accept(socket, Into(error));
    if (!error) {
      Welcome(std::move(socket));
    } else if (accepting) {
      // Most likely out of file descriptors: some will come free.
      log::Warning("cannot accept a connection", {{"error", error.message()}});
      asio::steady_timer pause(control, milliseconds(100));
      co_await pause.async_wait(Into(error));
    }
  }
  // Closing resets the connections that are in the backlog still.
  acceptor.non_blocking(true, error);
  while (!error) {
    tcp::socket socket(executor());
    acceptor.accept(socket, error);
    if (!error) Welcome(std::move(socket));
  }
  acceptor.close(error);
  // Who is told to connect again comes to another gateway now, where there is one at this port.
  draining = true;
}

void HttpServer::State::StopAccepting() {
  accepting = false;
  error_code ignored;
  acceptor.cancel(ignored);
}

void HttpServer::State::Welcome(tcp::socket socket) {
  error_code error;
  const tcp::endpoint client = socket.remote_endpoint(error);
  if (error) return;  // it has gone already
  auto [share, verdict] = limits.Connect(client.address());
  if (!share && https) return;  // who wants to read more than an end needs a handshake first
  if (!share) {
    static constexpr std::string_view kFull =
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n"
        "Connection: close\r\n\r\n";
    static constexpr std::string_view kFullForClient =
        "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\n"
        "Connection: close\r\n\r\n";
    socket.non_blocking(true, error);
    socket.write_some(
        asio::buffer(verdict == ClientLimits::Verdict::kLimitOfAll ? kFull : kFullForClient),
        error);
    return;
  }
  socket.set_option(tcp::no_delay(true), error);
  const auto executor = socket.get_executor();
  auto connection = std::make_shared<Connection>(
      std::move(socket), https ? &https->Context() : nullptr, client.address(),
      settings.max_header_bytes + (64 * 1024), std::move(share));
  {
    const std::lock_guard lock(mutex);
    connections.emplace(connection.get(), connection);
  }
  asio::co_spawn(executor, Serve(connection),
                 asio::bind_cancellation_slot(connection->cancel.slot(), asio::detached));
}

// Ends what has taken too long, and at the end everything.
asio::awaitable<void> HttpServer::State::Sweep() {
  for (;;) {
    error_code error;
    timer.expires_after(kSweep);
    co_await timer.async_wait(Into(error));
    const bool ending = stopping;
    const bool impatient = Clock::now().time_since_epoch().count() >= patience;
    const std::lock_guard lock(mutex);
    if (ending && connections.empty() && !acceptor.is_open()) co_return;
    for (const auto& [key, connection] : connections) {
      if (ending && connection->idle) connection->Expires(milliseconds(0));
      const bool drain = ending && connection->streams;
      if (!impatient && !drain && !connection->Expired()) continue;
      asio::post(connection->socket.get_executor(), [connection = connection, impatient, drain] {
        error_code ignored;
        if (impatient) {
          connection->cancel.emit(asio::cancellation_type::terminal);
        } else if (connection->Expired()) {
          connection->socket.next_layer().cancel(ignored);
        } else if (drain && connection->stream) {
          connection->stream->Drain();
        }
      });
    }
  }
}

asio::awaitable<void> HttpServer::State::Serve(std::shared_ptr<Connection> connection) {
  try {
    connection->Expires(settings.header_timeout);
    if (co_await connection->socket.Accept()) {
      while (co_await ServeOne(*connection)) {
      }
      connection->Expires(kLinger);
      co_await connection->socket.End();
    }
  } catch (const boost::system::system_error&) {
    // Cancelled.
  } catch (const std::exception& error) {
    log::Error("a connection ended with an error", {{"error", error.what()}});
  }
  connection->stream.reset();
  error_code ignored;
  connection->socket.next_layer().shutdown(tcp::socket::shutdown_both, ignored);
  connection->socket.next_layer().close(ignored);
  const std::lock_guard lock(mutex);
  connections.erase(connection.get());
}

// Answers the next request. False when the connection is to end.
asio::awaitable<bool> HttpServer::State::ServeOne(Connection& connection) {
  connection.parser.emplace();
  connection.parser->header_limit(static_cast<uint32_t>(settings.max_header_bytes));
  connection.parser->body_limit(boost::none);  // ConnectionBody sees to it
  connection.request = {};
  connection.expects_continue = false;
  if (connection.buffer.size() == 0) {
    connection.Expires(settings.idle_timeout);
    connection.idle = true;
    error_code error;
    const size_t got = co_await connection.socket.async_read_some(
        connection.buffer.prepare(kFirstBytes), Into(error));
    if (error) co_return false;
    connection.buffer.commit(got);
  }
  connection.idle = false;

  connection.Expires(settings.header_timeout);
  HttpFault fault = co_await ReadHeader(connection);
  if (fault.status < 0) co_return false;
  if (!SetRequest(connection) && fault.status == 0) {
    fault = {
        400, "INVALID_ARGUMENT",
        "the request line needs a path, or the whole address with the host of the Host header"};
  }
  connection.ExpiresNever();
  HttpResponse response;
  uint64_t unread = 0;
  // Before the body is read: what a trailer says of the connection does not count.
  const bool may_go_on = fault.status == 0 && connection.parser->keep_alive();
  if (fault.status == 0) {
    ConnectionBody body(settings, connection);
    response = co_await gateway.Handle(connection.request, body);
    if (response.status == 0) co_return false;
    if (response.stream) {
      co_await ServeStream(connection, std::move(response));
      co_return false;
    }
    connection.share->BecomeConnection();  // where a stream was refused
    if (!response.close) unread = Unread(connection);
    if (unread > kSkippedBytes) response.close = true;
  } else {
    response = gateway.Reject(connection.request, fault);
  }

  const auto& message = connection.parser->get();
  const bool keep_alive = may_go_on && !response.close && !draining;
  WriteHead(response, keep_alive, message.version(), &connection.head);
  const bool head_only = message.method() == http::verb::head;
  const bool rest_follows = unread > 0 && keep_alive;
  const std::array<asio::const_buffer, 2> parts{
      asio::buffer(connection.head),
      head_only ? asio::const_buffer() : asio::buffer(response.content())};
  FreeRequest(connection, rest_follows);
  connection.Expires(settings.write_timeout);
  error_code error;
  co_await asio::async_write(connection.socket, parts, Into(error));
  if (error) co_return false;
  if (response.close || (unread > 0 && !keep_alive)) {
    co_await Linger(connection);
  } else if (rest_follows) {
    connection.Expires(settings.body_timeout);
    error = co_await Parse(connection, &RequestParser::is_done);
  }
  co_return keep_alive && !error;
}

// Sends the events of `response` until one side has enough of it.
asio::awaitable<void> HttpServer::State::ServeStream(Connection& connection,
                                                     HttpResponse response) {
  const auto shared = connection.shared_from_this();
  connection.stream = response.stream;
  connection.streams = true;
  StreamTransport transport{.socket = {shared, &connection.socket},
                            .events = response.stream,
                            .heartbeat = settings.stream_heartbeat,
                            .writing = [this, &connection](bool begins) {
                              if (begins) {
                                connection.Expires(settings.write_timeout);
                              } else {
                                connection.ExpiresNever();
                              }
                            }};
  const unsigned version = connection.parser->get().version();
  if (response.websocket) {
    const UpgradeRequest request(connection.parser->get().base());
    FreeRequest(connection, false);
    co_await ServeWebSocket(std::move(transport), request, std::move(response.headers),
                            std::move(response.subprotocol));
  } else {
    std::string head;
    WriteHead(response, false, version, &head);
    FreeRequest(connection, false);
    co_await ServeSse(std::move(transport), std::move(head), version >= 11);
  }
}

}  // namespace shop::gateway
