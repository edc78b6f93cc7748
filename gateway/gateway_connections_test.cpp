// HTTP on the wire: what is no request, connections and their time-outs, and stopping.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "common/testing/servers.h"
#include "gateway/testing/fixture.h"

namespace shop::gateway {
namespace {

using shop::testing::Eventually;
using std::chrono::milliseconds;
using std::chrono::seconds;

TEST_F(GatewayTest, AHeaderThatIsTooLargeIsRefused) {
  const auto with = [](size_t size) {
    return Get("/echo", "X: " + std::string(size, 'x') + "\r\n");
  };
  EXPECT_EQ(Exchange(with(15'000)).status, 200);
  const Response response = Exchange(with(17'000));
  EXPECT_EQ(response.status, 431);
  EXPECT_EQ(response.text("/error/code"), "HEADER_TOO_LARGE");
  EXPECT_EQ(Exchange(with(300'000)).status, 431);
  EXPECT_EQ(Exchange(Get("/" + std::string(17'000, 'x'))).status, 431);
}

TEST_F(GatewayTest, AHeaderOfTooManyFieldsIsRefused) {
  const auto with = [](size_t fields) {
    std::string headers;
    for (size_t i = 1; i < fields; ++i) headers += "a:\r\n";
    return Get("/echo", headers);  // and Host
  };
  EXPECT_EQ(Exchange(with(100)).status, 200);
  const Response response = Exchange(with(101));
  EXPECT_EQ(response.status, 431);
  EXPECT_EQ(response.text("/error/code"), "HEADER_TOO_LARGE");
  EXPECT_EQ(response.text("/error/message"), "the header has too many fields");
  EXPECT_EQ(response.headers.at("connection"), "close");
}

TEST_F(GatewayTest, ATrailerCountsAmongTheFields) {
  std::string request = Head("/api/v1/books", "Transfer-Encoding: chunked\r\n" + User() + kJson);
  request += "2\r\n{}\r\n0\r\n";
  EXPECT_EQ(Exchange(request + "a: b\r\n\r\n").status, 201);
  for (int i = 0; i < 100; ++i) request += "a:\r\n";
  EXPECT_EQ(Exchange(request + "\r\n").status, 431);
}

TEST_F(GatewayTest, AnEndlessChunkExtensionOrTrailerIsRefused) {
  const std::string head = Head("/api/v1/books", "Transfer-Encoding: chunked\r\n" + User() + kJson);
  for (const std::string start : {"1;", "2\r\n{}\r\n0;", "2\r\n{}\r\n0\r\na: "}) {
    EXPECT_EQ(Exchange(head + start + std::string(4000, 'a') +
                       (start == "1;" ? "\r\n{\r\n1\r\n}\r\n0\r\n\r\n" : "\r\n\r\n"))
                  .status,
              201)
        << start;
    for (const size_t size : {9'000, 90'000}) {
      const Response response = Exchange(head + start + std::string(size, 'a'));
      EXPECT_EQ(response.status, 400) << start;
      EXPECT_EQ(response.text("/error/message"),
                "a chunk's extensions or the trailer are too long");
      EXPECT_EQ(response.headers.at("connection"), "close");
    }
  }
}

TEST_F(GatewayTest, WhatIsNotHttpIsRefused) {
  for (const char* request :
       {"nonsense\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET /\r\n\r\n", "GET  / HTTP/1.1\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: a\r\nBad Header: x\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost : a\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"}) {
    const Response response = Exchange(request);
    EXPECT_EQ(response.status, 400) << request;
    EXPECT_EQ(response.headers.at("connection"), "close") << request;
  }
}

TEST_F(GatewayTest, ARequestWithTwoLengthsIsRefused) {
  const std::string start = "POST /api/v1/books HTTP/1.1\r\nHost: shop\r\n";
  for (const char* headers :
       {"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
        "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "Content-Length: 2, 3\r\n\r\n{}",
        "Content-Length: -1\r\n\r\n", "Content-Length: 2x\r\n\r\n{}",
        "Content-Length: 99999999999999999999999\r\n\r\n", "Transfer-Encoding: gzip\r\n\r\n",
        "Transfer-Encoding: chunked, gzip\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n"}) {
    EXPECT_EQ(Exchange(start + headers).status, 400) << headers;
  }
}

TEST_F(GatewayTest, ThereHasToBeOneHost) {
  EXPECT_EQ(Exchange("GET /healthz HTTP/1.1\r\n\r\n").status, 400);
  EXPECT_EQ(Exchange("GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").status, 400);
  EXPECT_EQ(Exchange("GET /healthz HTTP/1.0\r\n\r\n").status, 200);
}

TEST_F(GatewayTest, TheWholeAddressMayStandInTheRequestLine) {
  EXPECT_EQ(Exchange(Get("http://shop/api/v1/books/12?x=1")).status, 200);
}

TEST_F(GatewayTest, AConnectionServesManyRequests) {
  Client client(port());
  for (int i = 1; i < 50; ++i) {
    client.Send(Get("/api/v1/books/" + std::to_string(i)));
    EXPECT_EQ(client.Receive().text("/data/id"), std::to_string(i));
  }
}

TEST_F(GatewayTest, PipelinedRequestsAreAnsweredInTheirOrder) {
  Client client(port());
  std::string requests;
  const std::string headers = User() + "Content-Type: application/json\r\n";
  for (int i = 1; i <= 20; ++i) {
    requests += Get("/api/v1/books/" + std::to_string(i));
    requests += Post("/api/v1/books", "{\"title\":\"" + std::string(i, 'x') + "\"}", headers);
  }
  client.Send(requests);
  for (int i = 1; i <= 20; ++i) {
    EXPECT_EQ(client.Receive().text("/data/id"), std::to_string(i));
    EXPECT_EQ(client.Receive().text("/data/title"), std::string(i, 'x'));
  }
}

TEST_F(GatewayTest, AConnectionEndsWhenTheClientSaysSo) {
  Client client(port());
  client.Send(Get("/api/v1/books/1", "Connection: close\r\n"));
  const Response response = client.Receive();
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.headers.at("connection"), "close");
  EXPECT_TRUE(client.Ended());
}

TEST_F(GatewayTest, AnOldClientGetsOneAnswerUnlessItAsksForMore) {
  Client once(port());
  once.Send("GET /healthz HTTP/1.0\r\n\r\n");
  EXPECT_EQ(once.Receive().status, 200);
  EXPECT_TRUE(once.Ended());
  Client more(port());
  more.Send("GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_EQ(more.Receive().headers.at("connection"), "keep-alive");
  more.Send("GET /healthz HTTP/1.0\r\n\r\n");
  EXPECT_EQ(more.Receive().status, 200);
}

TEST_F(GatewayTest, ASlowHeaderIsTimedOut) {
  http_.header_timeout = milliseconds(300);
  Client client(port());
  client.Send("GET /healthz HTTP/1.1\r\nHo");
  const Response response = client.Receive();
  EXPECT_EQ(response.status, 408);
  EXPECT_EQ(response.text("/error/code"), "REQUEST_TIMEOUT");
  EXPECT_TRUE(client.Ended());
}

TEST_F(GatewayTest, ADrippingHeaderIsTimedOut) {
  http_.header_timeout = milliseconds(300);
  Client client(port());
  client.Send("GET /healthz HTTP/1.1\r\n");
  EXPECT_TRUE(Eventually([&] { return !client.Send("X: y\r\n"); }));
}

TEST_F(GatewayTest, ASlowBodyIsTimedOut) {
  http_.body_timeout = milliseconds(300);
  Client client(port());
  client.Send("POST /api/v1/books HTTP/1.1\r\nHost: shop\r\nContent-Length: 10\r\n" + User() +
              "Content-Type: application/json\r\n\r\n{");
  const Response response = client.Receive();
  EXPECT_EQ(response.status, 408);
  EXPECT_EQ(response.text("/path"), "/api/v1/books");
}

TEST_F(GatewayTest, AnIdleConnectionJustEnds) {
  http_.idle_timeout = milliseconds(300);
  Client silent(port());
  EXPECT_TRUE(silent.Ended());
  Client idle(port());
  idle.Send(Get("/healthz"));
  EXPECT_EQ(idle.Receive().status, 200);
  EXPECT_TRUE(idle.Ended());
}

TEST_F(GatewayTest, AClientThatGoesAwayDoesNoHarm) {
  {
    Client client(port());
    client.Send(Get("/api/v1/wait"));
    ASSERT_TRUE(Eventually([this] { return library_.waiting == 1; }));
  }
  Client(port()).Send("GET /heal");
  library_.release = true;
  EXPECT_EQ(Exchange(Get("/healthz")).status, 200);
}

TEST_F(GatewayTest, StoppingLetsRequestsFinish) {
  Client idle(port());
  idle.Send(Get("/healthz"));
  EXPECT_EQ(idle.Receive().status, 200);
  Client busy(port());
  busy.Send(Get("/api/v1/wait"));
  ASSERT_TRUE(Eventually([this] { return library_.waiting == 1; }));
  const uint16_t port = server_->port();
  std::jthread stop([this] { server_.reset(); });
  EXPECT_TRUE(idle.Ended());
  EXPECT_TRUE(Eventually([port] { return !Client(port).connected(); }));
  library_.release = true;
  const Response response = busy.Receive();
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.headers.at("connection"), "close");
}

TEST_F(GatewayTest, StoppingWaitsForTheRestOfARequest) {
  const std::string request =
      Post("/api/v1/books", R"({"title":"abc"})", User() + "Content-Type: application/json\r\n");
  std::vector<std::unique_ptr<Client>> clients;
  std::vector<std::string> rests;
  for (const size_t sent : {size_t{1}, size_t{30}, request.size() - 5}) {
    clients.push_back(std::make_unique<Client>(port()));
    // The first request shows that the connection has been taken.
    clients.back()->Send(Get("/healthz"));
    EXPECT_EQ(clients.back()->Receive().status, 200);
    clients.back()->Send(request.substr(0, sent));
    rests.push_back(request.substr(sent));
  }
  Client busy(port());
  busy.Send(Get("/api/v1/wait"));
  ASSERT_TRUE(Eventually([this] { return library_.waiting == 1; }));
  const uint16_t port = server_->port();
  std::jthread stop([this] { server_.reset(); });
  EXPECT_TRUE(Eventually([port] { return !Client(port).connected(); }));
  for (size_t i = 0; i < clients.size(); ++i) {
    clients[i]->Send(rests[i]);
    const Response response = clients[i]->Receive();
    EXPECT_EQ(response.status, 201) << i;
    EXPECT_EQ(response.headers.at("connection"), "close");
    EXPECT_TRUE(clients[i]->Ended());
  }
  library_.release = true;
}

TEST_F(GatewayTest, StoppingIsToldBeforeConnectionsAreRefused) {
  http_.drain_delay = seconds(2);
  Client open(port());
  const uint16_t port = server_->port();
  const auto start = std::chrono::steady_clock::now();
  std::jthread stop([this] { server_.reset(); });
  const auto ask = [port](const std::string& target) {
    Client client(port);
    client.Send(Get(target));
    return client.Receive();
  };
  ASSERT_TRUE(Eventually([&] { return ask("/readyz").status == 503; }));
  EXPECT_EQ(ask("/readyz").text("/status"), "stopping");
  EXPECT_EQ(ask("/healthz").status, 200);
  EXPECT_EQ(ask("/api/v1/books/12").status, 200);
  open.Send(Get("/api/v1/books/12"));
  const Response last = open.Receive();
  EXPECT_EQ(last.status, 200);
  EXPECT_EQ(last.headers.at("connection"), "close") << "so that clients come back elsewhere";
  stop.join();
  EXPECT_GE(std::chrono::steady_clock::now() - start, seconds(2));
  EXPECT_TRUE(open.Ended());
  EXPECT_FALSE(Client(port).connected());
}

// A request that takes the gateway's thread longer than a client needs to connect.
std::string Work(const std::string& user) {
  std::string body = R"({"title":"a","unknown":[1)";
  for (int i = 0; i < 5000; ++i) body += ",1";
  body += "]}";
  return Head("/api/v1/books",
              user + kJson + "Content-Length: " + std::to_string(body.size()) + "\r\n") +
         body;
}

// Clients that have sent a request each, faster than they are taken.
std::vector<std::unique_ptr<Client>> Crowd(uint16_t port, const std::string& request) {
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 200; ++i) {
    clients.push_back(std::make_unique<Client>(port));
    clients.back()->Send(request);
  }
  return clients;
}

TEST_F(GatewayTest, StoppingServesTheConnectionsThatWaitToBeAccepted) {
  const auto clients = Crowd(port(), Work(User()));
  std::jthread stop([this] { server_.reset(); });
  for (const auto& client : clients) EXPECT_EQ(client->Receive().status, 201);
}

TEST_F(GatewayTest, AGatewayHandsItsPortOverToAnother) {
  http_.reuse_port = true;
  http_.drain_delay = milliseconds(500);
  http_.port = port();
  Client open(http_.port);
  open.Send(Get("/healthz"));
  EXPECT_EQ(open.Receive().headers.count("connection"), 0);

  Gateway next(settings_, {Declared("shop.testing.v1.LibraryService")}, tokens_);
  const HttpServer other(http_, next);
  ASSERT_TRUE(Eventually([&next] { return next.Ready(); }));
  const auto clients = Crowd(http_.port, Work(User()));
  std::jthread stop([this] { server_.reset(); });
  for (const auto& client : clients) EXPECT_EQ(client->Receive().status, 201);
  EXPECT_TRUE(Eventually([&open] {
    open.Send(Get("/api/v1/books/12"));
    const Response response = open.Receive();
    EXPECT_EQ(response.status, 200);
    return response.headers.contains("connection");
  })) << "who has a connection still is told to leave it";
  for (const auto& client : Crowd(http_.port, Get("/readyz"))) {
    EXPECT_EQ(client->Receive().text("/status"), "ready")
        << "new connections come to the other one";
  }
}

TEST_F(GatewayTest, APortIsSharedByThoseAloneThatSaySo) {
  http_.port = port();
  EXPECT_THROW(HttpServer(http_, *gateway_), std::runtime_error);
  http_.reuse_port = true;
  EXPECT_THROW(HttpServer(http_, *gateway_), std::runtime_error);
}

TEST_F(GatewayTest, StoppingDoesNotWaitForEver) {
  http_.grace = milliseconds(300);
  Client half(port());
  half.Send("GET /healthz HTTP/1.1\r\nHo");
  Client silent(port());
  Client busy(port());
  busy.Send(Get("/api/v1/wait"));
  ASSERT_TRUE(Eventually([this] { return library_.waiting == 1; }));
  const auto start = std::chrono::steady_clock::now();
  server_.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - start, seconds(5));
  EXPECT_TRUE(Eventually([this] { return library_.waiting == 0; }));
}

TEST_F(GatewayTest, SeveralThreadsServeTheSame) {
  http_.threads = 3;
  const uint16_t port = this->port();
  const std::string user = User();
  std::atomic<int> good = 0;
  std::vector<std::thread> clients;
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back([&, i] {
      Client client(port);
      for (int j = 1; j <= 50; ++j) {
        const std::string id = std::to_string(i * 1000 + j);
        client.Send(Get("/api/v1/books/" + id, user));
        if (client.Receive().text("/data/id") == id) ++good;
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(good, 400);
}

}  // namespace
}  // namespace shop::gateway
