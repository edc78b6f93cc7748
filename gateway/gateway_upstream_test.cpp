// Calls to the services: what travels with them, their time, and services that are away.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "common/testing/recorded_spans.h"
#include "common/testing/servers.h"
#include "gateway/testing/fixture.h"

namespace shop::gateway {
namespace {

using shop::testing::Eventually;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;
using ::testing::StartsWith;

TEST_F(GatewayTest, PassesOnTokenRequestIdAndTrace) {
  const std::string trace = "0af7651916cd43dd8448eb211c80319c";
  const std::string token = User();
  const Response response =
      Exchange(Get("/echo", token + "X-Request-Id: my-id\r\nX-Service-Token: forged\r\n" +
                                "traceparent: 00-" + trace + "-b7ad6b7169203331-01\r\n"));
  EXPECT_EQ("Authorization: " + response.text("/metadata/authorization") + "\r\n", token);
  EXPECT_EQ(response.text("/metadata/x-request-id"), "my-id");
  EXPECT_THAT(response.text("/metadata/traceparent"),
              AllOf(StartsWith("00-" + trace + "-"), Not(HasSubstr("b7ad6b7169203331")),
                    ::testing::EndsWith("-00")));  // nothing is recorded here
  EXPECT_THAT(response.body, Not(HasSubstr("forged")));
  EXPECT_EQ(response.headers.at("x-request-id"), "my-id");
}

TEST_F(GatewayTest, ARequestAndItsCallAreSpansOfItsTrace) {
  shop::testing::RecordedSpans spans;
  const Response response = Exchange(
      Get("/echo", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\r\n"));
  ASSERT_TRUE(Eventually([&] { return spans.All().size() == 2; }));
  const SpanRecord request = spans.Find("GET /echo");
  const SpanRecord call = spans.All().front();
  EXPECT_EQ(request.kind, SpanKind::kServer);
  EXPECT_EQ(request.context.trace_id, "0af7651916cd43dd8448eb211c80319c");
  EXPECT_EQ(request.parent_span_id, "b7ad6b7169203331");
  EXPECT_EQ(shop::testing::AttributeOf(request, "http.response.status_code"), "200");
  EXPECT_EQ(shop::testing::AttributeOf(request, "http.route"), "/echo");
  EXPECT_EQ(call.kind, SpanKind::kClient);
  EXPECT_EQ(call.parent_span_id, request.context.span_id);
  EXPECT_EQ(response.text("/metadata/traceparent"), call.context.Header());
  EXPECT_LE(call.duration, request.duration);
}

// A client's flag would let it have everything traced, or nothing.
TEST_F(GatewayTest, WhatIsSampledIsForTheGatewayToSay) {
  shop::testing::RecordedSpans spans({.ratio = 0, .slow = milliseconds(600'000)});
  const Response response = Exchange(
      Get("/echo", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"));
  EXPECT_THAT(response.text("/metadata/traceparent"), ::testing::EndsWith("-00"));
  EXPECT_TRUE(spans.All().empty());
}

TEST_F(GatewayTest, MakesARequestIdWithoutAUsableOne) {
  for (const std::string& header : {std::string(), std::string("X-Request-Id: a b\r\n"),
                                    "X-Request-Id: " + std::string(129, 'x') + "\r\n",
                                    std::string("X-Request-Id: \xc3\xbc\r\n")}) {
    const Response response = Exchange(Get("/echo", header));
    EXPECT_THAT(response.headers.at("x-request-id"), MatchesRegex("[0-9a-f]{32}")) << header;
    EXPECT_EQ(response.text("/metadata/x-request-id"), response.headers.at("x-request-id"));
  }
  EXPECT_EQ(Exchange(Get("/echo", "X-Request-Id: " + std::string(128, 'x') + "\r\n"))
                .headers.at("x-request-id"),
            std::string(128, 'x'));
}

TEST_F(GatewayTest, PassesOnTheDeadline) {
  settings_.request_timeout = seconds(8);
  const auto deadline = [this](const std::string& headers) {
    return std::stoi(Exchange(Get("/echo", headers)).text("/deadlineMs"));
  };
  const auto about = [](int expected) {
    return AllOf(::testing::Gt(expected - 1500), ::testing::Le(expected + 100));
  };
  EXPECT_THAT(deadline(""), about(8000));
  EXPECT_THAT(deadline("Request-Timeout: 5\r\n"), about(5000));
  EXPECT_THAT(deadline("Request-Timeout: 3.5\r\n"), about(3500));
  EXPECT_THAT(deadline("Grpc-Timeout: 4S\r\n"), about(4000));
  EXPECT_THAT(deadline("Grpc-Timeout: 6000m\r\n"), about(6000));
  EXPECT_THAT(deadline("Grpc-Timeout: 7000000u\r\n"), about(7000));
  EXPECT_THAT(deadline("Request-Timeout: 3600\r\n"), about(8000));
  EXPECT_THAT(deadline("Grpc-Timeout: 99999999H\r\n"), about(8000));
}

TEST_F(GatewayTest, RefusesATimeoutThatIsNone) {
  for (const char* header :
       {"Request-Timeout: soon\r\n", "Request-Timeout: -1\r\n", "Request-Timeout: nan\r\n",
        "Request-Timeout: inf\r\n", "Request-Timeout: infinity\r\n", "Request-Timeout: 1e3\r\n",
        "Request-Timeout: 0x10\r\n", "Request-Timeout: -0\r\n", "Request-Timeout: 1.5.2\r\n",
        "Grpc-Timeout: 5\r\n", "Grpc-Timeout: 5s\r\n", "Grpc-Timeout: S\r\n",
        "Grpc-Timeout: 123456789S\r\n", "Grpc-Timeout: 1.5S\r\n"}) {
    EXPECT_EQ(Exchange(Get("/echo", header)).status, 400) << header;
  }
}

TEST_F(GatewayTest, WhatTakesTooLongIs504) {
  settings_.request_timeout = milliseconds(200);
  const Response response = Exchange(Get("/api/v1/wait"));
  EXPECT_EQ(response.status, 504);
  EXPECT_EQ(response.text("/error/code"), "DEADLINE_EXCEEDED");
  EXPECT_TRUE(Eventually([this] { return library_.waiting == 0; }));
}

TEST_F(GatewayTest, AWaitingRequestDelaysNobodyElse) {
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 5; ++i) {
    clients.push_back(std::make_unique<Client>(port()));
    clients.back()->Send(Get("/api/v1/wait"));
  }
  ASSERT_TRUE(Eventually([this] { return library_.waiting == 5; }));
  EXPECT_EQ(Exchange(Get("/api/v1/books/12")).status, 200);
  library_.release = true;
  for (const auto& client : clients) EXPECT_EQ(client->Receive().status, 200);
}

TEST_F(GatewayTest, AServiceThatIsAwayIs503UntilItIsBack) {
  EXPECT_EQ(Exchange(Get("/api/v1/books/12")).status, 200);
  EXPECT_EQ(Exchange(Get("/readyz")).status, 200);
  library_.Stop();
  ASSERT_TRUE(Eventually([this] { return Exchange(Get("/api/v1/books/12")).status == 503; }));
  const Response away = Exchange(Get("/readyz"));
  EXPECT_EQ(away.status, 503);
  EXPECT_EQ(away.text("/missing"), "[\"testing\"]");
  library_.Start();
  EXPECT_TRUE(Eventually([this] { return Exchange(Get("/api/v1/books/12")).status == 200; }));
  EXPECT_TRUE(Eventually([this] { return Exchange(Get("/readyz")).status == 200; }));
}

TEST_F(GatewayTest, AnIdleGatewayIsReadyThroughEveryRenewalOfItsConnections) {
  library_.Stop();
  library_.connection_age = milliseconds(20);
  library_.Start();
  Client client(port());
  const auto connection = [&] {
    client.Send(Get("/echo"));
    return client.Receive().text("/metadata/peer");
  };
  std::set<std::string> connections{connection()};
  for (int probe = 1; probe <= 10'000; ++probe) {
    client.Send(Get("/readyz"));
    const Response response = client.Receive();
    ASSERT_EQ(response.status, 200) << "probe " << probe << ": " << response.body;
    ASSERT_EQ(response.text("/status"), "ready") << "probe " << probe;
    if (probe % 1'000 == 0) connections.insert(connection());
  }
  EXPECT_GT(connections.size(), 2u) << "the connections were not renewed";
}

// Services end their connections twice a minute, and whatever is given to one at that moment goes to the next.
TEST_F(GatewayTest, NoRequestFailsBecauseAConnectionEnds) {
  library_.Stop();
  library_.connection_age = milliseconds(50);
  library_.Start();
  constexpr int kClients = 16;
  const int gateway = port();
  std::atomic<int> failed = 0;
  std::vector<std::jthread> clients;
  for (int number = 0; number < kClients; ++number) {
    clients.emplace_back([&] {
      Client client(gateway);
      for (int request = 0; request < 2'000; ++request) {
        client.Send(Get("/api/v1/books/12"));
        if (client.Receive().status != 200) ++failed;
      }
    });
  }
  clients.clear();
  EXPECT_EQ(failed, 0);
}

TEST_F(GatewayTest, OneAbsentServiceLeavesTheGatewayReadyAndIsNamed) {
  settings_.addresses["orders"] = "127.0.0.1:1";
  Start(Services{Declared("shop.testing.v1.LibraryService"),
                 Declared("shop.orders.v1.OrdersService")},
        tokens_);
  ASSERT_TRUE(Eventually([this] { return gateway_->Ready(); }));
  const Response response = Exchange(Get("/readyz"));
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.body, R"({"status":"degraded","missing":["orders"]})");
  EXPECT_TRUE(gateway_->Reaches("testing"));
  EXPECT_FALSE(gateway_->Reaches("orders"));
  EXPECT_EQ(Exchange(Get("/api/v1/books/12")).status, 200);
  EXPECT_EQ(Exchange(Get("/api/v1/orders/12", User())).status, 503);
}

TEST_F(GatewayTest, WithoutTheKeysOfAuthTheGatewayIsNotReady) {
  keys_away_ = true;
  const Response waiting = Exchange(Get("/readyz"));
  EXPECT_EQ(waiting.status, 503);
  EXPECT_EQ(waiting.body, R"({"status":"waiting","missing":["keys"]})");
  keys_away_ = false;
  EXPECT_TRUE(Eventually([this] { return Exchange(Get("/readyz")).status == 200; }));
  // Keys that were fetched stay valid.
  keys_away_ = true;
  EXPECT_EQ(Exchange(Get("/readyz")).status, 200);
}

TEST_F(GatewayTest, IsHealthyWhateverElseIsAway) {
  library_.Stop();
  Start(Services{}, tokens_);
  EXPECT_EQ(Exchange(Get("/healthz")).status, 200);
  EXPECT_EQ(Exchange(Get("/healthz", "", "POST")).status, 405);
}

}  // namespace
}  // namespace shop::gateway
