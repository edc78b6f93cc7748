// The whole gateway over real sockets, in front of a service that only tests know. For tests.
//
// With SHOP_TEST_HTTPS set, gateway and clients speak TLS: CMakeLists.txt has most tests run once so and once so.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "common/auth/access_token.h"
#include "common/core/result.h"
#include "common/testing/certificates.h"
#include "gateway/gateway.h"
#include "gateway/http_server.h"

namespace grpc {
class Server;
}
struct ssl_st;

namespace shop::gateway {

constexpr int64_t kVersioned = 70;  // the book that has a version
constexpr int64_t kLong = 5000;     // the book that is worth compressing
constexpr int64_t kNumbered = 71;   // the book that says how many reads there were

// A service that only tests know, and what it is to do. Thread-safe.
class Library {
 public:
  Library();
  ~Library();

  // On the same port each time.
  void Start();
  void Stop();
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

  // The answers to reads with these numbers, counted from 1, wait.
  void Hold(std::set<int> numbers);
  void LetGo(int number);

  // Something happens to the book that is watched: the next message of each stream, and of those to
  // come.
  void Change(std::string what = "read");
  // Ends the streams once they have shown everything; 0 is their proper end.
  void EndStreams(int code) { end_code_ = code; }

  std::atomic<int> streams = 0;        // that are open
  std::atomic<int> messages_sent = 0;  // on all of them
  std::atomic<int> read = 0;
  std::atomic<int> with_token = 0;
  std::atomic<int> cancelled = 0;
  std::atomic<int64_t> books_in_list = 0;
  std::atomic<int> created = 0;
  std::atomic<int> updated = 0;
  std::atomic<int> waiting = 0;
  std::atomic<bool> release = false;            // whether nothing waits any more
  std::chrono::milliseconds connection_age{0};  // 0 does not end connections; for Start

 private:
  class Service;

  bool IsOnHold(int number);

  std::mutex mutex_;
  std::set<int> on_hold_;
  std::vector<std::string> changes_;
  std::atomic<int> end_code_ = -1;
  int port_ = 0;
  std::unique_ptr<Service> service_;
  std::unique_ptr<grpc::Server> server_;
};

struct Response {
  int status = 0;                              // 0: the connection ended before a whole answer
  std::map<std::string, std::string> headers;  // by lower-case name
  std::string body;

  // The value at `pointer` (RFC 6901) of the body, which is JSON.
  std::string text(const char* pointer) const;
};

bool OverHttps();
// The files of the gateway's certificate, issued anew.
TlsFiles NewCertificate();

// A client that sends just the bytes it is given.
class Client {
 public:
  // From 127.0.0.`host`, which is another client to the gateway.
  explicit Client(uint16_t port, uint32_t host = 1);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  bool connected() const { return connected_; }
  // False once the other side takes no more.
  bool Send(std::string_view text);
  Response Receive(bool with_body = true);
  // What comes up to and with `end`; what there is when the connection ends, or nothing comes.
  std::string ReceiveUntil(std::string_view end);
  // Whether something has come that was not received yet.
  bool HasMore() const;
  // Whether it is the gateway that ended the connection, and not somebody in between: with TLS it says so.
  bool WasToldOfTheEnd();
  // Whether the other side has closed, having sent nothing more.
  bool Ended() { return buffer_.empty() && !More() && ended_; }

 private:
  bool StartTls();
  bool More();

  int socket_;
  ssl_st* tls_ = nullptr;
  bool connected_ = false;
  bool ended_ = false;
  std::string buffer_;
};

// A new P-256 key as PEM.
std::string PrivateKey();

const google::protobuf::ServiceDescriptor* Declared(const char* service);

// The value of a metric without labels; -1 where there is none.
double Gauged(const std::string& name);
double Counted(const std::string& name);

// The header of a request whose body is not sent with it.
std::string Head(const std::string& target, const std::string& headers,
                 const std::string& method = "POST");
constexpr char kJson[] = "Content-Type: application/json\r\n";

// A gateway in front of the library, with what `settings_` and `http_` say when it starts.
class GatewayTest : public ::testing::Test {
 protected:
  GatewayTest();
  ~GatewayTest() override;

  // Starts the gateway, and waits for the service.
  void Start();
  // Starts a gateway of these services, and does not wait.
  void Start(const Services& services, auth::TokenVerifier& tokens);

  // Starts the gateway unless it runs.
  uint16_t port();

  Response Exchange(const std::string& request);
  static std::string Get(const std::string& target, const std::string& headers = "",
                         const std::string& method = "GET");
  static std::string Post(const std::string& target, const std::string& body,
                          const std::string& headers = kJson, const std::string& method = "POST");
  // The header of a token.
  std::string Token(api::v1::Role role, int64_t id = 7);
  std::string User() { return Token(api::v1::ROLE_USER); }
  std::string Admin() { return Token(api::v1::ROLE_ADMIN); }

  Library library_;
  auth::TokenSigner signer_;
  std::atomic<bool> keys_away_ = false;
  auth::TokenVerifier tokens_{[this]() -> std::vector<auth::PublicKey> {
    if (keys_away_) throw Unavailable("auth is away");
    return {signer_.public_key()};
  }};
  Gateway::Settings settings_;
  HttpServer::Settings http_;
  std::unique_ptr<Gateway> gateway_;
  std::unique_ptr<HttpServer> server_;
};

}  // namespace shop::gateway
