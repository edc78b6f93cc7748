// More requests, bytes or connections than the gateway has room for.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "common/testing/servers.h"
#include "gateway/testing/fixture.h"

namespace shop::gateway {
namespace {

using shop::testing::Eventually;
using std::chrono::milliseconds;
using ::testing::Contains;
using ::testing::Key;
using ::testing::Not;

TEST_F(GatewayTest, RequestsBeyondTheLimitAreRefusedAtOnce) {
  settings_.max_in_flight = 3;
  const double shed = Counted("http_requests_shed_total");
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 3; ++i) {
    clients.push_back(std::make_unique<Client>(port()));
    clients.back()->Send(Get("/api/v1/wait"));
  }
  ASSERT_TRUE(Eventually([this] { return library_.waiting == 3; }));
  Client client(port());
  for (const char* target : {"/api/v1/books/12", "/api/v1/wait", "/nothing"}) {
    client.Send(Get(target));
    const Response refused = client.Receive();
    EXPECT_EQ(refused.status, 503) << target;
    EXPECT_EQ(refused.text("/error/code"), "OVERLOADED");
    EXPECT_EQ(refused.headers.at("retry-after"), "1");
    EXPECT_THAT(refused.headers, Not(Contains(Key("connection"))));
  }
  EXPECT_EQ(Counted("http_requests_shed_total") - std::max(shed, 0.0), 3);
  for (const char* probe : {"/healthz", "/readyz"}) {
    client.Send(Get(probe));
    EXPECT_EQ(client.Receive().status, 200) << probe;
  }
  EXPECT_EQ(library_.waiting, 3);
  library_.release = true;
  for (const auto& waiting : clients) EXPECT_EQ(waiting->Receive().status, 200);
  client.Send(Get("/api/v1/books/12"));
  EXPECT_EQ(client.Receive().status, 200);
}

TEST_F(GatewayTest, EveryRequestThatEndsMakesRoomForAnother) {
  settings_.max_in_flight = 1;
  settings_.request_timeout = milliseconds(100);
  for (const std::string& request :
       {Get("/api/v1/wait"), Get("/api/v1/books/404"), Get("/api/v1/books/x"), Get("/nothing"),
        Get("/api/v1/books/12", "Authorization: x\r\n"), Post("/api/v1/books", "{", User())}) {
    for (int i = 0; i < 3; ++i) EXPECT_NE(Exchange(request).status, 503) << request;
  }
}

class CrowdedGatewayTest : public GatewayTest {
 protected:
  CrowdedGatewayTest() {
    http_.max_buffered_bytes = 300'000;
    http_.max_buffered_bytes_per_client = 200'000;
  }

  // A client that has sent the first `size` bytes of a body and no more.
  std::unique_ptr<Client> Unfinished(size_t size, uint32_t host = 1) {
    auto client = std::make_unique<Client>(port(), host);
    const double before = Gauged("http_buffered_bytes");
    client->Send(Head("/api/v1/books", "Content-Length: 1000000\r\n" + User() + kJson));
    client->Send(std::string(size, ' '));
    EXPECT_TRUE(Eventually(
        [&] { return Gauged("http_buffered_bytes") >= before + static_cast<double>(size); }));
    return client;
  }
  Response Whole(size_t size, uint32_t host = 1) {
    Client client(port(), host);
    client.Send(Post("/api/v1/books", "{}" + std::string(size, ' '), User() + kJson));
    return client.Receive();
  }
  bool MemoryIsFree() {
    return Eventually([] { return Gauged("http_buffered_bytes") == 0; });
  }
};

TEST_F(CrowdedGatewayTest, AClientWithItsShareOfBytesIsRefusedMoreAndOthersAreServed) {
  auto first = Unfinished(100'000);
  const Response refused = Whole(150'000);
  EXPECT_EQ(refused.status, 429);
  EXPECT_EQ(refused.text("/error/code"), "RESOURCE_EXHAUSTED");
  EXPECT_EQ(refused.headers.at("retry-after"), "1");
  EXPECT_EQ(refused.headers.at("connection"), "close");
  EXPECT_EQ(Whole(1'000).status, 201) << "what fits is accepted";
  EXPECT_EQ(Exchange(Get("/api/v1/books/12")).status, 200);
  EXPECT_EQ(Whole(100'000, 2).status, 201) << "another client has a share of its own";
  first.reset();
  EXPECT_TRUE(Eventually([&] { return Whole(150'000).status == 201; }));
  EXPECT_TRUE(MemoryIsFree());
}

TEST_F(CrowdedGatewayTest, BeyondTheBytesOfAllTogetherTheAnswerIsToTryAgain) {
  const auto first = Unfinished(120'000, 1);
  const auto second = Unfinished(120'000, 2);
  const Response refused = Whole(100'000, 3);
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(refused.text("/error/code"), "OVERLOADED");
  EXPECT_EQ(refused.headers.at("retry-after"), "1");
  EXPECT_EQ(Whole(1'000, 3).status, 201);
}

TEST_F(CrowdedGatewayTest, ChunkedBodiesCountAsTheyCome) {
  const auto first = Unfinished(120'000);
  Client client(port());
  client.Send(Head("/api/v1/books", "Transfer-Encoding: chunked\r\n" + User() + kJson) +
              "186a0\r\n" + std::string(100'000, ' '));
  EXPECT_EQ(client.Receive().status, 429);
}

TEST_F(CrowdedGatewayTest, HeadersCountToo) {
  http_.max_buffered_bytes_per_client = 15'000;
  const std::string part = "GET / HTTP/1.1\r\nX: " + std::string(11'000, 'x');
  Client first(port());
  first.Send(part);
  EXPECT_TRUE(Eventually([] { return Gauged("http_buffered_bytes") >= 8192; }));
  Client second(port());
  second.Send(part);
  EXPECT_EQ(second.Receive().status, 429);
  Client small(port());
  small.Send(Get("/api/v1/books/12"));
  EXPECT_EQ(small.Receive().status, 200);
}

TEST_F(CrowdedGatewayTest, FieldsCountWhileTheirHeaderIsNotWhole) {
  Client client(port());
  std::string part = "GET / HTTP/1.1\r\n";
  for (int i = 0; i < 50; ++i) part += "a:\r\n";
  client.Send(part);
  EXPECT_TRUE(Eventually([] { return Gauged("http_buffered_bytes") >= 49 * 128; }));
}

TEST_F(CrowdedGatewayTest, FieldsCountWhileTheirBodyIsAwaited) {
  http_.max_buffered_bytes_per_client = 15'000;
  std::string head = "POST /api/v1/books HTTP/1.1\r\nHost: shop\r\n" + User() + kJson;
  for (int i = 0; i < 80; ++i) head += "a:\r\n";
  head += "Content-Length: 9\r\n\r\n";
  Client first(port());
  first.Send(head);
  EXPECT_TRUE(Eventually([] { return Gauged("http_buffered_bytes") >= 80 * 128; }));
  Client second(port());
  second.Send(head);
  EXPECT_EQ(second.Receive().status, 429);
  first.Send("{       }");
  EXPECT_EQ(first.Receive().status, 201);
  EXPECT_TRUE(MemoryIsFree());
}

TEST_F(CrowdedGatewayTest, MemoryIsFreedWithTheResponse) {
  Client client(port());
  for (int i = 0; i < 20; ++i) {
    client.Send(Post("/api/v1/books", "{}" + std::string(150'000, ' '), User() + kJson));
    EXPECT_EQ(client.Receive().status, 201);
  }
  client.Send(Post("/api/v1/books", "{" + std::string(150'000, ' '), User() + kJson));
  EXPECT_EQ(client.Receive().status, 400);
  EXPECT_TRUE(MemoryIsFree());
}

TEST_F(CrowdedGatewayTest, RequestsWithUnfinishedBodiesAreNotInFlight) {
  settings_.max_in_flight = 1;
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 5 && !HasFailure(); ++i) clients.push_back(Unfinished(1'000));
  EXPECT_EQ(Exchange(Get("/api/v1/books/12")).status, 200);
  EXPECT_EQ(Whole(10).status, 201);
}

// Over HTTPS there is no handshake for whoever is turned away, and thus no answer.
int StatusBeforeAnyRequest(int status) {
  return OverHttps() ? 0 : status;
}

TEST_F(GatewayTest, ConnectionsBeyondTheLimitAreTurnedAway) {
  http_.max_connections = 2;
  Client first(port());
  first.Send(Get("/healthz"));
  EXPECT_EQ(first.Receive().status, 200);
  {
    Client second(port());
    second.Send(Get("/healthz"));
    EXPECT_EQ(second.Receive().status, 200);
    Client third(port());
    EXPECT_EQ(third.Receive().status, StatusBeforeAnyRequest(503));
    EXPECT_TRUE(third.Ended());
  }
  EXPECT_TRUE(Eventually([this] { return Exchange(Get("/healthz")).status == 200; }));
}

TEST_F(GatewayTest, OneClientCannotTakeAllConnections) {
  http_.max_connections_per_client = 2;
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 2; ++i) {
    clients.push_back(std::make_unique<Client>(port()));
    clients.back()->Send(Get("/healthz"));
    EXPECT_EQ(clients.back()->Receive().status, 200);
  }
  Client third(port());
  const Response refused = third.Receive();
  EXPECT_EQ(refused.status, StatusBeforeAnyRequest(429));
  if (!OverHttps()) {
    EXPECT_EQ(refused.headers.at("retry-after"), "1");
  }
  EXPECT_TRUE(third.Ended());
  Client other(port(), 2);
  other.Send(Get("/healthz"));
  EXPECT_EQ(other.Receive().status, 200);
  clients.clear();
  EXPECT_TRUE(Eventually([this] { return Exchange(Get("/healthz")).status == 200; }));
}

}  // namespace
}  // namespace shop::gateway
