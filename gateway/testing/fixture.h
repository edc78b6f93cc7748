// The whole gateway over real sockets, in front of a service that only tests know. For tests.
#pragma once

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <boost/json.hpp>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>

#include "common/auth/tokens.h"
#include "common/testing/servers.h"
#include "gateway/gateway.h"
#include "gateway/http_server.h"
#include "gateway/testing/library.grpc.pb.h"

namespace shop::gateway {

constexpr int64_t kVersioned = 70;  // the book that has a version
constexpr int64_t kLong = 5000;     // the book that is worth compressing
constexpr int64_t kNumbered = 71;   // the book that says how many reads there were

class Library final : public shop::testing::v1::LibraryService::Service {
 public:
  grpc::Status GetBook(grpc::ServerContext* context,
                       const shop::testing::v1::GetBookRequest* request,
                       shop::testing::v1::Book* response) override;
  grpc::Status ListBooks(grpc::ServerContext*, const shop::testing::v1::ListBooksRequest* request,
                         shop::testing::v1::ListBooksResponse* response) override;
  grpc::Status CreateBook(grpc::ServerContext*, const shop::testing::v1::CreateBookRequest* request,
                          shop::testing::v1::Book* response) override;
  grpc::Status UpdateBook(grpc::ServerContext*, const shop::testing::v1::UpdateBookRequest* request,
                          shop::testing::v1::Book* response) override;
  grpc::Status DeleteBook(grpc::ServerContext*, const shop::testing::v1::GetBookRequest*,
                          google::protobuf::Empty*) override;
  grpc::Status Fail(grpc::ServerContext*, const shop::testing::v1::FailRequest* request,
                    google::protobuf::Empty*) override;
  grpc::Status Wait(grpc::ServerContext* context, const google::protobuf::Empty*,
                    google::protobuf::Empty*) override;
  grpc::Status Echo(grpc::ServerContext* context, const google::protobuf::Empty*,
                    shop::testing::v1::EchoResponse* response) override;

  // The answers to reads with these numbers, counted from 1, wait.
  void Hold(std::set<int> numbers) {
    const std::lock_guard lock(mutex_);
    held_ = std::move(numbers);
  }
  void LetGo(int number) {
    const std::lock_guard lock(mutex_);
    held_.erase(number);
  }

  std::atomic<int> read = 0;
  std::atomic<int> with_token = 0;
  std::atomic<int> cancelled = 0;
  std::atomic<int64_t> books_in_list = 0;
  std::atomic<int> created = 0;
  std::atomic<int> updated = 0;
  std::atomic<int> waiting = 0;
  std::atomic<bool> release = false;

 private:
  bool IsHeld(int number) {
    const std::lock_guard lock(mutex_);
    return held_.contains(number);
  }

  std::mutex mutex_;
  std::set<int> held_;
};

struct Response {
  int status = 0;                              // 0: the connection ended before a whole answer
  std::map<std::string, std::string> headers;  // by lower-case name
  std::string body;

  boost::json::value json() const { return boost::json::parse(body); }
  std::string text(const char* pointer) const {
    const boost::json::value value = json().at_pointer(pointer);
    return value.is_string() ? std::string(value.as_string()) : boost::json::serialize(value);
  }
};

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
  // Whether something has come that was not received yet.
  bool HasMore() const;
  // Whether the other side has closed, having sent nothing more.
  bool Ended() { return buffer_.empty() && !More() && ended_; }

 private:
  bool More();

  int socket_;
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

class GatewayTest : public ::testing::Test {
 protected:
  GatewayTest() : signer_(PrivateKey()) {
    StartService();
    settings_.addresses["testing"] = "127.0.0.1:" + std::to_string(service_port_);
  }
  ~GatewayTest() override {
    library_.release = true;
    server_.reset();
    gateway_.reset();
    StopService();
  }

  void StartService() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:" + std::to_string(service_port_),
                             grpc::InsecureServerCredentials(), &port);
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    if (connection_age_.count() > 0) {
      builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS,
                                 static_cast<int>(connection_age_.count()));
    }
    builder.RegisterService(&library_);
    service_ = builder.BuildAndStart();
    ASSERT_NE(service_, nullptr);
    service_port_ = port;
  }
  void StopService() {
    if (service_) service_->Shutdown(std::chrono::system_clock::now());
    service_.reset();
  }

  // Starts the gateway with what `settings_` and `http_` say by then, and waits for the service.
  void Start() {
    gateway_ = std::make_unique<Gateway>(
        settings_, Services{Declared("shop.testing.v1.LibraryService")}, tokens_);
    server_ = std::make_unique<HttpServer>(http_, *gateway_);
    ASSERT_TRUE(shop::testing::Eventually(
        [this] { return gateway_->Reaches("testing") && (keys_away_ || gateway_->Ready()); }));
  }

  uint16_t port() {
    if (!server_) Start();
    return server_->port();
  }

  Response Exchange(const std::string& request) {
    Client client(port());
    client.Send(request);
    return client.Receive(!request.starts_with("HEAD"));
  }
  static std::string Get(const std::string& target, const std::string& headers = "",
                         const std::string& method = "GET") {
    return method + " " + target + " HTTP/1.1\r\nHost: shop\r\n" + headers + "\r\n";
  }
  static std::string Post(const std::string& target, const std::string& body,
                          const std::string& headers = "Content-Type: application/json\r\n",
                          const std::string& method = "POST") {
    return method + " " + target + " HTTP/1.1\r\nHost: shop\r\n" + headers +
           "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  }
  std::string Token(shop::api::v1::Role role, int64_t id = 7) {
    return "Authorization: Bearer " + signer_.Sign(id, role, std::chrono::seconds(60)) + "\r\n";
  }
  std::string User() { return Token(shop::api::v1::ROLE_USER); }
  std::string Admin() { return Token(shop::api::v1::ROLE_ADMIN); }

  Library library_;
  int service_port_ = 0;
  std::chrono::milliseconds connection_age_{0};  // 0 keeps connections
  std::unique_ptr<grpc::Server> service_;
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
