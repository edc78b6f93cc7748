// The admin port over real sockets, beside connections that say nothing.
#include "common/telemetry/admin_server.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "common/telemetry/log.h"
#include "common/telemetry/metrics.h"
#include "common/testing/free_port.h"

namespace shop {
namespace {

using testing::FreePort;

// A connection that sends what it is told to, and waits ten seconds for an answer.
class Client {
 public:
  explicit Client(uint16_t port) : socket_(socket(AF_INET, SOCK_STREAM, 0)) {
    const timeval limit{10, 0};
    setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  ~Client() { close(socket_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  void Send(const std::string& text) {
    EXPECT_EQ(send(socket_, text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }
  // Everything until the server closes.
  std::string Receive() {
    std::string all;
    char part[4096];
    for (ssize_t got; (got = recv(socket_, part, sizeof part, 0)) > 0;) {
      all.append(part, static_cast<size_t>(got));
    }
    return all;
  }
  // Whether the server closes within the wait, having said nothing.
  bool Ended() {
    char part[1];
    return recv(socket_, part, sizeof part, 0) == 0;
  }

 private:
  int socket_;
};

class AdminServerTest : public ::testing::Test {
 protected:
  std::string Get(const std::string& target) {
    Client client(port_);
    client.Send("GET " + target + " HTTP/1.1\r\nHost: admin\r\n\r\n");
    return client.Receive();
  }
  static std::string Status(const std::string& answer) {
    return answer.substr(0, answer.find("\r\n"));
  }
  static std::string Body(const std::string& answer) {
    return answer.substr(std::min(answer.find("\r\n\r\n"), answer.size() - 4) + 4);
  }

  ReadinessReport report_;
  const uint16_t port_ = FreePort();
  AdminServer server_{"127.0.0.1", port_, [this] { return report_; }};
};

TEST_F(AdminServerTest, ChangesTheLevelOfTheLog) {
  const auto put = [this](const std::string& target) {
    Client client(port_);
    client.Send("PUT " + target + " HTTP/1.1\r\nHost: admin\r\n\r\n");
    return client.Receive();
  };
  const log::Level before = log::Least();
  EXPECT_EQ(Body(Get("/log-level")), log::Name(before) + std::string("\n"));
  EXPECT_EQ(Status(put("/log-level/debug")), "HTTP/1.1 200 OK");
  EXPECT_EQ(log::Least(), log::Level::kDebug);
  EXPECT_EQ(Body(Get("/log-level")), "debug\n");
  EXPECT_EQ(Status(put("/log-level/loud")), "HTTP/1.1 400 Bad Request");
  EXPECT_EQ(Status(Get("/log-level/error")), "HTTP/1.1 405 Method Not Allowed");
  EXPECT_EQ(Status(put("/log-level")), "HTTP/1.1 405 Method Not Allowed");
  EXPECT_EQ(log::Least(), log::Level::kDebug);
  log::SetLeast(before);
}

TEST_F(AdminServerTest, SilentConnectionsHoldUpNobody) {
  std::vector<std::unique_ptr<Client>> silent;
  for (int i = 0; i < 30; ++i) {
    silent.push_back(std::make_unique<Client>(port_));
    if (i % 2 == 0) silent.back()->Send("GET /heal");
  }
  for (int i = 0; i < 5; ++i) EXPECT_EQ(Status(Get("/healthz")), "HTTP/1.1 200 OK");
}

TEST_F(AdminServerTest, WhoHoldsMoreConnectionsThanItServesHoldsUpNobody) {
  std::vector<std::unique_ptr<Client>> silent;
  for (int i = 0; i < 400; ++i) silent.push_back(std::make_unique<Client>(port_));
  EXPECT_EQ(Status(Get("/healthz")), "HTTP/1.1 200 OK");
}

TEST_F(AdminServerTest, WhoDoesNotReadHoldsUpNobody) {
  // More than two sockets' buffers hold.
  auto& family =
      prometheus::BuildCounter().Name("admin_test").Help(std::string(100, 'x')).Register(Metrics());
  for (int i = 0; i < 60000; ++i) {
    family.Add({{"label", std::string(100, 'y') + std::to_string(i)}});
  }
  Client deaf(port_);
  deaf.Send("GET /metrics HTTP/1.1\r\n\r\n");
  EXPECT_EQ(Status(Get("/healthz")), "HTTP/1.1 200 OK");
  EXPECT_GT(Get("/metrics").size(), 6000000u);
}

TEST_F(AdminServerTest, ASilentConnectionIsClosed) {
  Client silent(port_);
  EXPECT_TRUE(silent.Ended());
}

TEST_F(AdminServerTest, ARequestMayComeInPieces) {
  Client client(port_);
  client.Send("GET /healthz HT");
  EXPECT_EQ(Status(Get("/healthz")), "HTTP/1.1 200 OK");
  client.Send("TP/1.1\r\nHost: admin\r\n\r");
  client.Send("\n");
  EXPECT_EQ(Body(client.Receive()), "ok\n");
}

TEST_F(AdminServerTest, WhatIsNoRequestIsRefused) {
  Client client(port_);
  client.Send("\r\n\r\n");
  EXPECT_EQ(Status(client.Receive()), "HTTP/1.1 400 Bad Request");
  Client endless(port_);
  endless.Send("GET /healthz HTTP/1.1\r\nX: " + std::string(20000, 'x'));
  EXPECT_EQ(Status(endless.Receive()), "HTTP/1.1 431 Request Header Fields Too Large");
}

TEST_F(AdminServerTest, OnlyGetIsTaken) {
  Client client(port_);
  client.Send("POST /healthz HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi");
  EXPECT_EQ(Status(client.Receive()), "HTTP/1.1 405 Method Not Allowed");
  EXPECT_EQ(Status(Get("/nothing")), "HTTP/1.1 404 Not Found");
}

TEST_F(AdminServerTest, WhatIsMissingIsNamed) {
  report_ = {"PostgreSQL", "the consumer of stock"};
  const std::string answer = Get("/readyz");
  EXPECT_EQ(Status(answer), "HTTP/1.1 503 Service Unavailable");
  EXPECT_EQ(Body(answer), "not ready: PostgreSQL; degraded: the consumer of stock\n");
}

TEST_F(AdminServerTest, ADegradedProcessIsReadyAndSaysWhatWaits) {
  report_ = {"", "the consumer of stock"};
  const std::string answer = Get("/readyz");
  EXPECT_EQ(Status(answer), "HTTP/1.1 200 OK");
  EXPECT_EQ(Body(answer), "ready; degraded: the consumer of stock\n");
}

TEST_F(AdminServerTest, WhoAsksStrictlyIsToldThatItIsDegraded) {
  EXPECT_EQ(Status(Get("/readyz?strict")), "HTTP/1.1 200 OK");
  report_ = {"", "the consumer of stock"};
  EXPECT_EQ(Status(Get("/readyz?strict")), "HTTP/1.1 503 Service Unavailable");
}

TEST_F(AdminServerTest, ATakenPortIsNamed) {
  try {
    const AdminServer second("127.0.0.1", port_, [] { return ReadinessReport(); });
    FAIL() << "two servers on one port";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find(std::to_string(port_)), std::string::npos);
  }
}

}  // namespace
}  // namespace shop
