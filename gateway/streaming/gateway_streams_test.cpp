// Streams through the whole gateway, over sockets.
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/client_callback.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/buffers_to_string.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/websocket.hpp>
#include <boost/json.hpp>
#include <deque>
#include <future>
#include <memory>
#include <thread>

#include "common/testing/servers.h"
#include "gateway/http/client_socket.h"
#include "gateway/openapi/document.h"
#include "gateway/testing/fixture.h"

namespace shop::gateway {
namespace {

namespace asio = boost::asio;
namespace websocket = boost::beast::websocket;
using shop::testing::Eventually;
using std::chrono::milliseconds;

// An EventSource of a browser, without its reconnecting.
class Events {
 public:
  Events(uint16_t port, const std::string& path, const std::string& headers = "", uint32_t host = 1)
      : client_(port, host) {
    client_.Send(Head(path, headers, "GET"));
    head_ = client_.ReceiveUntil("\r\n\r\n");
    Next();  // the time to come back after
  }

  const std::string& head() const { return head_; }
  // The next event as it stands in the stream, without its empty line; "" at the end.
  std::string Next() {
    const std::string size = client_.ReceiveUntil("\r\n");
    const std::string chunk = client_.ReceiveUntil("\n\n\r\n");
    if (size == "0\r\n") ended_ = true;
    return chunk.size() < 4 || ended_ ? "" : chunk.substr(0, chunk.size() - 4);
  }
  bool ended() const { return ended_; }

 private:
  Client client_;
  std::string head_;
  bool ended_ = false;
};

// A connection of Beast's client, with or without TLS.
class ClientStream : public ClientSocket {
 public:
  explicit ClientStream(asio::io_context& io)
      : ClientSocket(asio::ip::tcp::socket(io), OverHttps() ? &context_ : nullptr) {}
  void Connect(uint16_t port) {
    next_layer().connect({asio::ip::address_v4::loopback(), port});
    if (tls() != nullptr) tls()->handshake(Tls::client);
  }
  template <typename Buffers>
  size_t read_some(const Buffers& buffers, boost::system::error_code& error) {
    return tls() ? tls()->read_some(buffers, error) : next_layer().read_some(buffers, error);
  }
  template <typename Buffers>
  size_t read_some(const Buffers& buffers) {
    return tls() ? tls()->read_some(buffers) : next_layer().read_some(buffers);
  }
  template <typename Buffers>
  size_t write_some(const Buffers& buffers) {
    return tls() ? tls()->write_some(buffers) : next_layer().write_some(buffers);
  }
  template <typename Buffers>
  size_t write_some(const Buffers& buffers, boost::system::error_code& error) {
    return tls() ? tls()->write_some(buffers, error) : next_layer().write_some(buffers, error);
  }

 private:
  static inline asio::ssl::context context_{asio::ssl::context::tls_client};
};
[[maybe_unused]] void teardown(boost::beast::role_type, ClientStream& stream,
                               boost::system::error_code& error) {
  stream.next_layer().close(error);
}

class WebSocket {
 public:
  using Headers = std::vector<std::pair<std::string, std::string>>;

  WebSocket(uint16_t port, const std::string& path, const Headers& headers = {}) {
    stream_.Connect(port);
    socket_.set_option(websocket::stream_base::decorator([&](websocket::request_type& request) {
      for (const auto& [name, value] : headers) request.insert(name, value);
    }));
    socket_.control_callback([this](websocket::frame_type kind, auto) {
      if (kind == websocket::frame_type::ping) ++pings;
    });
    socket_.handshake(response, "shop", path, error);
  }
  // The next message; "" at the end.
  std::string Next() {
    boost::beast::flat_buffer buffer;
    socket_.read(buffer, error);
    return boost::beast::buffers_to_string(buffer.data());
  }
  void Send(const std::string& text) { socket_.write(asio::buffer(text), error); }
  int close_code() const { return socket_.reason().code; }

  boost::system::error_code error;
  websocket::response_type response;
  int pings = 0;

 private:
  asio::io_context io_;
  ClientStream stream_{io_};
  websocket::stream<ClientStream&> socket_{stream_};
};

class GatewayStreamsTest : public GatewayTest {
 protected:
  static constexpr char kWatch[] = "/api/v1/books/7/watch";
  static constexpr char kMine[] = "/api/v1/mine/7/watch";

  std::string TokenText() {
    const std::string header = User();
    return header.substr(22, header.size() - 24);
  }
};

TEST_F(GatewayStreamsTest, ShowsWhatThereIsAndWhatComes) {
  library_.Change("bought");
  Events events(port(), kWatch);
  EXPECT_NE(events.head().find("HTTP/1.1 200 "), std::string::npos) << events.head();
  EXPECT_NE(events.head().find("Content-Type: text/event-stream\r\n"), std::string::npos);
  EXPECT_NE(events.head().find("Cache-Control: no-store\r\n"), std::string::npos);
  EXPECT_EQ(events.Next(), "id: 1\ndata: {\"seq\":1,\"what\":\"bought\",\"price\":49.99}");
  library_.Change("sold");
  EXPECT_EQ(events.Next(), "id: 2\ndata: {\"seq\":2,\"what\":\"sold\",\"price\":49.99}");
}

TEST_F(GatewayStreamsTest, TheHeaderComesBeforeAnyEvent) {
  EXPECT_NE(Events(port(), kWatch).head().find("HTTP/1.1 200 "), std::string::npos);
}

TEST_F(GatewayStreamsTest, GoesOnAfterTheLastEventIdWithoutAGapOrARepeat) {
  port();
  constexpr int kAll = 200;
  std::jthread changing([this] {
    for (int i = 0; i < kAll; ++i) library_.Change();
  });
  int seen = 0;
  while (seen < kAll) {
    Events events(port(), kWatch, "Last-Event-ID: " + std::to_string(seen) + "\r\n");
    for (int i = 0; i < 70 && seen < kAll; ++i) {
      const std::string event = events.Next();
      ASSERT_EQ(event.substr(0, event.find('\n')), "id: " + std::to_string(++seen));
    }
  }
}

TEST_F(GatewayStreamsTest, WhatIsRefusedIsAnsweredAsAnyRequest) {
  EXPECT_EQ(Exchange(Get("/api/v1/books/404/watch")).text("/error/code"), "NOT_FOUND");
  EXPECT_EQ(Exchange(Get("/api/v1/books/404/watch")).status, 404);
  EXPECT_EQ(Exchange(Get(kMine)).status, 401);
  const Response bad = Exchange(Get(kWatch, "Last-Event-ID: x\r\n"));
  EXPECT_EQ(bad.status, 400);
  EXPECT_EQ(bad.text("/error/details/0/field"), "Last-Event-ID");
  const Response url = Exchange(Get(std::string(kMine) + "?access_token=" + TokenText()));
  EXPECT_EQ(url.status, 400);
  EXPECT_EQ(url.text("/error/details/0/field"), "access_token");
  library_.Stop();
  EXPECT_EQ(Exchange(Get(kWatch)).status, 503);
}

TEST_F(GatewayStreamsTest, AConnectionWhoseStreamWasRefusedGoesOn) {
  Client client(port());
  client.Send(Get("/api/v1/books/404/watch"));
  EXPECT_EQ(client.Receive().status, 404);
  client.Send(Get("/api/v1/books/7"));
  EXPECT_EQ(client.Receive().status, 200);
  EXPECT_EQ(Gauged("http_streams"), 0);
  EXPECT_EQ(Gauged("http_connections"), 1);
}

TEST_F(GatewayStreamsTest, AHeadRequestOpensNoStream) {
  EXPECT_EQ(Exchange(Get(kWatch, "", "HEAD")).headers["content-type"], "text/event-stream");
  EXPECT_EQ(library_.streams, 0);
}

TEST_F(GatewayStreamsTest, AClientThatGoesEndsTheCallOfTheService) {
  {
    const Events events(port(), kWatch);
    const WebSocket socket(port(), kWatch);
    ASSERT_TRUE(Eventually([this] { return library_.streams == 2; }));
  }
  EXPECT_TRUE(Eventually([this] { return library_.streams == 0; }));
  EXPECT_TRUE(Eventually([] { return Gauged("http_streams") == 0; }));
}

TEST_F(GatewayStreamsTest, AClientThatDoesNotReadHoldsItsOwnStreamBackAlone) {
  constexpr int kMany = 200;
  Events slow(port(), kWatch);
  for (int i = 0; i < kMany; ++i) library_.Change(std::string(256 * 1024, 'x'));
  Events quick(port(), kWatch);
  for (int i = 1; i <= kMany; ++i) ASSERT_NE(quick.Next(), "");
  EXPECT_LT(library_.messages_sent, kMany + kMany);
  for (int i = 1; i <= kMany; ++i) ASSERT_NE(slow.Next(), "");
}

TEST_F(GatewayStreamsTest, AnIdleStreamGetsHeartbeatsAndOutlivesTheIdleTimeout) {
  http_.stream_heartbeat = milliseconds(50);
  http_.idle_timeout = milliseconds(300);
  Events events(port(), kWatch);
  WebSocket socket(port(), kWatch);
  for (int i = 0; i < 20; ++i) ASSERT_EQ(events.Next(), ":");
  library_.Change();
  EXPECT_NE(socket.Next(), "");
  EXPECT_GT(socket.pings, 0);
}

TEST_F(GatewayStreamsTest, AServiceThatFailsEndsTheStreamWithTheErrorEnvelope) {
  Events events(port(), kWatch);
  WebSocket socket(port(), kWatch);
  library_.EndStreams(16);
  const std::string event = events.Next();
  EXPECT_TRUE(event.starts_with("event: error\ndata: {\"success\":false,\"statusCode\":401,"))
      << event;
  EXPECT_EQ(events.Next(), "");
  EXPECT_TRUE(events.ended());
  EXPECT_NE(socket.Next().find("\"code\":\"UNAUTHENTICATED\""), std::string::npos);
  EXPECT_EQ(socket.Next(), "");
  EXPECT_EQ(socket.close_code(), 1008);
}

TEST_F(GatewayStreamsTest, AServiceThatGoesEndsTheStreamAsUnavailable) {
  Events events(port(), kWatch);
  WebSocket socket(port(), kWatch);
  library_.EndStreams(14);
  EXPECT_NE(events.Next().find("\"statusCode\":503"), std::string::npos);
  socket.Next();
  EXPECT_EQ(socket.Next(), "");
  EXPECT_EQ(socket.close_code(), 1011);
}

TEST_F(GatewayStreamsTest, AStreamThatHasNoMoreSaysSo) {
  Events events(port(), kWatch);
  WebSocket socket(port(), kWatch);
  library_.EndStreams(0);
  EXPECT_EQ(events.Next(), "event: end\ndata: {}");
  EXPECT_EQ(socket.Next(), "");
  EXPECT_EQ(socket.close_code(), 1000);
}

TEST_F(GatewayStreamsTest, AGatewayThatStopsSendsItsClientsElsewhere) {
  Events events(port(), kWatch);
  WebSocket socket(port(), kWatch);
  std::jthread stopping([this] { server_.reset(); });
  const std::string bye = events.Next();
  EXPECT_TRUE(bye.starts_with("retry: ")) << bye;
  EXPECT_NE(bye.find("\nevent: bye\n"), std::string::npos) << bye;
  EXPECT_EQ(socket.Next(), "");
  EXPECT_EQ(socket.close_code(), 1001);
}

// Keeps all of gRPC's threads that run callbacks from running any.
class BusyCallbackThreads {
 public:
  BusyCallbackThreads() {
    // As many as there are (completion_queue_cc.cc of gRPC 1.51).
    const unsigned threads = std::clamp(std::thread::hardware_concurrency() / 2, 2U, 16U);
    for (unsigned i = 0; i < threads; ++i) {
      Call& call = calls_.emplace_back(*this);
      stub_.PrepareUnaryCall(&call.context, "/nothing/Nothing", {}, &call.request, &call.response,
                             &call);
      call.StartCall();
    }
    EXPECT_TRUE(Eventually([&] { return busy_ == threads; }));
  }
  ~BusyCallbackThreads() {
    Release();
    EXPECT_TRUE(Eventually([&] { return ended_ == calls_.size(); }));
  }
  void Release() {
    released_ = true;
    released_.notify_all();
  }

 private:
  struct Call final : grpc::ClientUnaryReactor {
    explicit Call(BusyCallbackThreads& threads) : threads(threads) {}
    void OnDone(const grpc::Status&) override {
      ++threads.busy_;
      threads.released_.wait(false);
      ++threads.ended_;
    }
    BusyCallbackThreads& threads;
    grpc::ClientContext context;
    const grpc::Slice nothing{std::string()};
    grpc::ByteBuffer request{&nothing, 1};
    grpc::ByteBuffer response;
  };

  std::atomic<bool> released_ = false;
  std::atomic<unsigned> busy_ = 0;
  std::atomic<unsigned> ended_ = 0;
  // Nobody is there: each call ends at once.
  grpc::TemplatedGenericStub<grpc::ByteBuffer, grpc::ByteBuffer> stub_{
      grpc::CreateChannel("unix:/nowhere", grpc::InsecureChannelCredentials())};
  std::deque<Call> calls_;
};

// gRPC's last word on a dropped stream used to end a channel on a thread of gRPC, which then aborted.
TEST_F(GatewayStreamsTest, AGatewayIsGoneOnlyOnceGrpcIsDoneWithItsStreams) {
  auto events = std::make_unique<Events>(port(), kWatch);
  BusyCallbackThreads busy;
  events.reset();
  server_.reset();
  const std::future<void> ending = std::async(std::launch::async, [this] { gateway_.reset(); });
  EXPECT_EQ(ending.wait_for(milliseconds(200)), std::future_status::timeout);
  busy.Release();
  EXPECT_EQ(ending.wait_for(std::chrono::seconds(10)), std::future_status::ready);
}

TEST_F(GatewayStreamsTest, StreamsHaveLimitsOfTheirOwn) {
  http_.max_connections_per_client = 3;
  http_.max_streams = 4;
  http_.max_streams_per_client = 3;
  settings_.max_in_flight = 2;
  const Events one(port(), kWatch), two(port(), kWatch), three(port(), kWatch);
  const Response more = Exchange(Get(kWatch));
  EXPECT_EQ(more.status, 429);
  EXPECT_TRUE(more.headers.contains("retry-after"));
  EXPECT_EQ(Exchange(Get("/api/v1/books/7")).status, 200);
  const Events other(port(), kWatch, "", 2);
  Client third(port(), 3);
  third.Send(Get(kWatch));
  EXPECT_EQ(third.Receive().status, 503);
}

TEST_F(GatewayStreamsTest, AUserHasALimitedNumberOfThemFromWhereverTheyCome) {
  settings_.max_streams_per_user = 2;
  const std::string mine = User();
  const Events one(port(), kMine, mine, 1);
  {
    const Events two(port(), kMine, mine, 2);
    EXPECT_NE(two.head().find("HTTP/1.1 200 "), std::string::npos) << two.head();
    const Response more = Exchange(Get(kMine, mine));
    EXPECT_EQ(more.status, 429);
    EXPECT_EQ(more.headers.at("retry-after"), "1");
    const Events guests(port(), kWatch);
    EXPECT_NE(guests.head().find("HTTP/1.1 200 "), std::string::npos) << guests.head();
    const Events others(port(), kMine, Token(api::v1::ROLE_USER, 8));
    EXPECT_NE(others.head().find("HTTP/1.1 200 "), std::string::npos) << others.head();
  }
  EXPECT_TRUE(Eventually([&] {
    return Events(port(), kMine, mine).head().find("HTTP/1.1 200 ") != std::string::npos;
  }));
}

TEST_F(GatewayStreamsTest, AWebSocketCarriesTheSameEvents) {
  library_.Change("bought");
  library_.Change("sold");
  WebSocket socket(port(), kWatch, {{"Last-Event-ID", "1"}});
  ASSERT_FALSE(socket.error) << socket.error.message();
  EXPECT_TRUE(socket.response.find("X-Request-Id") != socket.response.end());
  EXPECT_EQ(socket.Next(), R"({"id":2,"data":{"seq":2,"what":"sold","price":49.99}})");
}

TEST_F(GatewayStreamsTest, APageGivesTheLastIdInTheUrlAndItsHeaderWins) {
  library_.Change("bought");
  library_.Change("sold");
  library_.Change("read");
  WebSocket socket(port(), std::string(kWatch) + "?lastEventId=1");
  EXPECT_TRUE(socket.Next().starts_with(R"({"id":2,)"));
  Events events(port(), std::string(kWatch) + "?lastEventId=1", "Last-Event-ID: 2\r\n");
  EXPECT_TRUE(events.Next().starts_with("id: 3\n"));
}

TEST_F(GatewayStreamsTest, AWebSocketTakesTheTokenFromHeaderOrSubprotocol) {
  const WebSocket without(port(), kMine);
  EXPECT_EQ(without.response.result_int(), 401);
  const WebSocket by_header(port(), kMine, {{"Authorization", "Bearer " + TokenText()}});
  EXPECT_FALSE(by_header.error) << by_header.error.message();
  const WebSocket by_protocol(port(), kMine,
                              {{"Sec-WebSocket-Protocol", "shop.v1, bearer." + TokenText()}});
  EXPECT_FALSE(by_protocol.error) << by_protocol.error.message();
  EXPECT_EQ(by_protocol.response["Sec-WebSocket-Protocol"], "shop.v1");
  const WebSocket alone(port(), kMine, {{"Sec-WebSocket-Protocol", "bearer." + TokenText()}});
  EXPECT_EQ(alone.response.result_int(), 400);
}

TEST_F(GatewayStreamsTest, APageOfAnotherOriginGetsNoWebSocket) {
  for (const char* origin : {"https://evil.example", "null", "http://shop.evil.example", "shop"}) {
    const WebSocket unlisted(port(), kWatch, {{"Origin", origin}});
    EXPECT_EQ(unlisted.response.result_int(), 403) << origin;
  }
  const WebSocket own(port(), kWatch, {{"Origin", "http://shop"}});
  EXPECT_FALSE(own.error);
}

TEST_F(GatewayStreamsTest, AListedOriginGetsAWebSocket) {
  settings_.cors_origins = {"https://shop.example"};
  const WebSocket other(port(), kWatch, {{"Origin", "https://evil.example"}});
  EXPECT_EQ(other.response.result_int(), 403);
  EXPECT_EQ(library_.streams, 0);
  const WebSocket allowed(port(), kWatch, {{"Origin", "https://shop.example"}});
  EXPECT_FALSE(allowed.error);
  const WebSocket same(port(), kWatch, {{"Origin", "http://shop"}});
  EXPECT_FALSE(same.error);
}

TEST_F(GatewayStreamsTest, WhatAWebSocketSendsIsIgnoredUnlessItIsTooMuch) {
  WebSocket socket(port(), kWatch);
  socket.Send("hello");
  library_.Change();
  EXPECT_NE(socket.Next(), "");
  socket.Send(std::string(5000, 'x'));
  EXPECT_EQ(socket.Next(), "");
  EXPECT_EQ(socket.close_code(), 1009);
}

TEST(OpenApiStreams, AStreamIsDescribedAsEventsWithSchemaAndExample) {
  const boost::json::value document =
      boost::json::parse(OpenApiDocument({Declared("shop.testing.v1.LibraryService")}));
  const boost::json::value& responses =
      document.at_pointer("/paths/~1api~1v1~1books~1{id}~1watch/get/responses");
  const boost::json::value& events = responses.at_pointer("/200/content/text~1event-stream");
  EXPECT_TRUE(events.at_pointer("/schema/contentSchema").is_object());
  EXPECT_TRUE(events.at("example").as_string().starts_with("id: ")) << events.at("example");
  EXPECT_TRUE(events.at("example").as_string().ends_with("\n\n"));
  EXPECT_FALSE(responses.as_object().contains("304"));
  EXPECT_TRUE(responses.as_object().contains("429"));
}

}  // namespace
}  // namespace shop::gateway
