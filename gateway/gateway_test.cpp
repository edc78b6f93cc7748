// The whole gateway over real sockets, in front of a service that only this test knows.
#include "gateway/gateway.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <boost/json.hpp>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "common/rpc/status.h"
#include "common/telemetry/metrics.h"
#include "common/testing/servers.h"
#include "gateway/cache/response_cache.h"
#include "gateway/http/gzip.h"
#include "gateway/http_server.h"
#include "gateway/openapi/docs.h"
#include "gateway/routing/http_rule.h"
#include "gateway/testing/library.grpc.pb.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace shop::gateway {
namespace {

using shop::testing::Eventually;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::Key;
using ::testing::MatchesRegex;
using ::testing::Not;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAre;
namespace api = shop::testing::v1;

constexpr int64_t kVersion = 3;
constexpr int64_t kVersioned = 70;  // the book that has a version
constexpr int64_t kLong = 5000;     // the book that is worth compressing
constexpr int64_t kNumbered = 71;   // the book that says how many reads there were

class Library final : public api::LibraryService::Service {
 public:
  grpc::Status GetBook(grpc::ServerContext* context, const api::GetBookRequest* request,
                       api::Book* response) override {
    const int number = ++read;
    if (context->client_metadata().contains("authorization")) ++with_token;
    while (IsHeld(number) && !release) {
      if (context->IsCancelled()) {
        ++cancelled;
        break;
      }
      std::this_thread::sleep_for(milliseconds(5));
    }
    if (request->id() == 404) return {grpc::StatusCode::NOT_FOUND, "no such book"};
    response->set_id(request->id());
    response->set_title("Title");
    response->set_price(4999);
    response->set_genre(api::GENRE_POETRY);
    if (!request->shelf().empty()) response->set_shelf(request->shelf());
    if (request->id() == kVersioned) response->set_version(kVersion);
    if (request->id() == kNumbered) response->set_title("read " + std::to_string(number));
    if (request->id() == kLong) response->set_title(std::string(5000, 'x'));
    return grpc::Status::OK;
  }
  grpc::Status ListBooks(grpc::ServerContext*, const api::ListBooksRequest* request,
                         api::ListBooksResponse* response) override {
    ++read;
    response->set_request(request->ShortDebugString());
    for (int64_t id = 0; id < books_in_list; ++id) {
      api::Book& book = *response->add_items();
      book.set_id(id);
      book.set_title("Title");
      book.set_price(4999);
      book.set_genre(api::GENRE_POETRY);
      book.set_shelf(std::to_string(id * 7919));
    }
    return grpc::Status::OK;
  }
  grpc::Status CreateBook(grpc::ServerContext*, const api::CreateBookRequest* request,
                          api::Book* response) override {
    ++created;
    response->set_id(static_cast<int64_t>(request->title().size()));
    response->set_title(request->title() + request->key());
    response->set_price(request->price());
    return grpc::Status::OK;
  }
  grpc::Status UpdateBook(grpc::ServerContext*, const api::UpdateBookRequest* request,
                          api::Book* response) override {
    const auto& versions = request->if_match();
    if (!versions.empty() &&
        std::find(versions.begin(), versions.end(), kVersion) == versions.end()) {
      return rpc::ToStatus({Code::kAborted, "it has changed", {}, "VERSION_CHANGED"});
    }
    ++updated;
    *response = request->book();
    return grpc::Status::OK;
  }
  grpc::Status DeleteBook(grpc::ServerContext*, const api::GetBookRequest*,
                          google::protobuf::Empty*) override {
    return grpc::Status::OK;
  }
  grpc::Status Fail(grpc::ServerContext*, const api::FailRequest* request,
                    google::protobuf::Empty*) override {
    Refusal refusal{static_cast<Code>(request->code()), request->message(), {}, request->reason()};
    for (const std::string& field : request->fields()) refusal.details.push_back({field, "is bad"});
    const grpc::Status status = rpc::ToStatus(refusal);
    google::rpc::Status details;
    details.ParseFromString(status.error_details());
    if (request->retry_after() > 0) {
      google::rpc::RetryInfo info;
      info.mutable_retry_delay()->set_seconds(request->retry_after());
      details.add_details()->PackFrom(info);
    }
    return {status.error_code(), status.error_message(), details.SerializeAsString()};
  }
  grpc::Status Wait(grpc::ServerContext* context, const google::protobuf::Empty*,
                    google::protobuf::Empty*) override {
    ++waiting;
    while (!context->IsCancelled() && !release) std::this_thread::sleep_for(milliseconds(5));
    --waiting;
    return grpc::Status::OK;
  }
  grpc::Status Echo(grpc::ServerContext* context, const google::protobuf::Empty*,
                    api::EchoResponse* response) override {
    for (const auto& [name, value] : context->client_metadata()) {
      (*response->mutable_metadata())[std::string(name.data(), name.size())] =
          std::string(value.data(), value.size());
    }
    (*response->mutable_metadata())["peer"] = context->peer();
    response->set_deadline_ms(std::chrono::duration_cast<milliseconds>(
                                  context->deadline() - std::chrono::system_clock::now())
                                  .count());
    return grpc::Status::OK;
  }

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

// A client that sends just the bytes it is told to.
class Client {
 public:
  // From 127.0.0.`host`, which is another client to the gateway.
  explicit Client(uint16_t port, uint32_t host = 1) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    timeval limit{10, 0};
    setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK - 1 + host);
    if (host != 1) bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address);
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  ~Client() { ::close(socket_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  bool connected() const { return connected_; }

  bool Send(std::string_view text) {
    while (!text.empty()) {
      const ssize_t sent = ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      text.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }

  Response Receive(bool with_body = true) {
    Response response;
    while (buffer_.find("\r\n\r\n") == std::string::npos) {
      if (!More()) return response;
    }
    const size_t end = buffer_.find("\r\n\r\n");
    std::string head = buffer_.substr(0, end + 2);
    buffer_.erase(0, end + 4);
    const int status = std::stoi(head.substr(9, 3));
    for (size_t at = head.find("\r\n") + 2; at < head.size();) {
      const size_t colon = head.find(": ", at);
      const size_t line_end = head.find("\r\n", at);
      std::string name = head.substr(at, colon - at);
      for (char& c : name) c = static_cast<char>(std::tolower(c));
      response.headers[name] = head.substr(colon + 2, line_end - colon - 2);
      at = line_end + 2;
    }
    const size_t length = with_body && response.headers.contains("content-length")
                              ? std::stoul(response.headers["content-length"])
                              : 0;
    while (buffer_.size() < length) {
      if (!More()) return response;
    }
    response.body = buffer_.substr(0, length);
    buffer_.erase(0, length);
    response.status = status;
    return response;
  }

  // Whether something has come that was not received yet.
  bool HasMore() const {
    char byte = 0;
    return !buffer_.empty() || ::recv(socket_, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
  }
  // Whether the other side has closed, having sent nothing more.
  bool Ended() { return buffer_.empty() && !More() && ended_; }

 private:
  bool More() {
    char bytes[65536];
    const ssize_t got = ::recv(socket_, bytes, sizeof bytes, 0);
    if (got <= 0) {
      ended_ = got == 0 || errno == ECONNRESET;
      return false;
    }
    buffer_.append(bytes, static_cast<size_t>(got));
    return true;
  }

  int socket_;
  bool connected_ = false;
  bool ended_ = false;
  std::string buffer_;
};

std::string PrivateKey() {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  BIO* bio = BIO_new(BIO_s_mem());
  PEM_write_bio_PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::string pem(data, static_cast<size_t>(size));
  BIO_free(bio);
  EVP_PKEY_free(key);
  return pem;
}

const google::protobuf::ServiceDescriptor* Declared(const char* service) {
  return google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(service);
}

double Gauged(const std::string& name) {
  for (const auto& family : Metrics().Collect()) {
    if (family.name == name) return family.metric.at(0).gauge.value;
  }
  return -1;
}

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
    ASSERT_TRUE(Eventually(
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
    return "Authorization: Bearer " + signer_.Sign(id, role, seconds(60)) + "\r\n";
  }
  std::string User() { return Token(shop::api::v1::ROLE_USER); }
  std::string Admin() { return Token(shop::api::v1::ROLE_ADMIN); }

  Library library_;
  int service_port_ = 0;
  milliseconds connection_age_{0};  // 0 keeps connections
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

TEST_F(GatewayTest, AnswersInTheEnvelope) {
  const Response response = Exchange(Get("/api/v1/books/12"));
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.body, R"({"success":true,"statusCode":200,)"
                           R"("data":{"id":12,"title":"Title","price":49.99,"genre":"POETRY"}})");
  EXPECT_EQ(response.headers.at("content-type"), "application/json");
  EXPECT_EQ(response.headers.at("x-content-type-options"), "nosniff");
}

// A gateway that keeps answers, and hears of changes.
class KeepingGatewayTest : public GatewayTest {
 protected:
  KeepingGatewayTest() {
    settings_.answer_life = std::chrono::hours(1);
    Start();
    gateway_->answers().SetSubscribed(true);
  }
  // How often the service was asked for the answer.
  int Asked(const std::string& request) {
    const int before = library_.read;
    EXPECT_LT(Exchange(request).status, 500);
    return library_.read - before;
  }
};

TEST_F(KeepingGatewayTest, AskedAgainItAnswersTheSameBytesByItself) {
  for (const std::string target :
       {"/api/v1/books/12", "/api/v1/books?page=2", "/api/v1/books/5000"}) {
    for (const std::string headers : {"", "Accept-Encoding: gzip\r\n"}) {
      const Response first = Exchange(Get(target, headers));
      const Response second = Exchange(Get(target, headers));
      EXPECT_EQ(second.status, 200);
      EXPECT_EQ(second.body, first.body);
      EXPECT_EQ(second.headers.at("etag"), first.headers.at("etag"));
      EXPECT_NE(second.headers.at("x-request-id"), first.headers.at("x-request-id"));
      EXPECT_EQ(Asked(Get(target, headers)), 0);
    }
  }
  EXPECT_EQ(Asked(Get("/api/v1/books?page=3")), 1);
  EXPECT_EQ(Asked(Get("/api/v1/books/12", "", "HEAD")), 0);
  const std::string etag = Exchange(Get("/api/v1/books/12")).headers.at("etag");
  EXPECT_EQ(Exchange(Get("/api/v1/books/12", "If-None-Match: " + etag + "\r\n")).status, 304);
}

TEST_F(KeepingGatewayTest, AChangeItIsToldOfEndsWhatIsAboutIt) {
  EXPECT_EQ(Asked(Get("/api/v1/books/12")), 1);
  EXPECT_EQ(Asked(Get("/api/v1/books/13")), 1);
  EXPECT_EQ(Asked(Get("/api/v1/books")), 1);
  gateway_->answers().Changed("books", {12});
  EXPECT_EQ(Asked(Get("/api/v1/books/12")), 1);
  EXPECT_EQ(Asked(Get("/api/v1/books/13")), 0);
  EXPECT_EQ(Asked(Get("/api/v1/books")), 1);
}

TEST_F(KeepingGatewayTest, AChangeThroughItIsSeenByTheNextRead) {
  EXPECT_EQ(Asked(Get("/api/v1/books/12")), 1);
  EXPECT_EQ(Exchange(Get("/api/v1/books/5", Admin(), "DELETE")).status, 200);
  EXPECT_EQ(Asked(Get("/api/v1/books/12")), 1);
}

TEST_F(KeepingGatewayTest, WhoMayNotAskIsNotAnswered) {
  EXPECT_EQ(Asked(Get("/api/v1/books/12")), 1);
  EXPECT_EQ(Exchange(Get("/api/v1/books/12", "Authorization: Bearer no\r\n")).status, 401);
  EXPECT_EQ(Exchange(Get("/api/v1/books/12", "Request-Timeout: soon\r\n")).status, 400);
  const Response known = Exchange(Get("/api/v1/books/12", User()));
  EXPECT_EQ(known.status, 200);
  EXPECT_EQ(known.headers.at("cache-control"), "no-store");
}

TEST_F(KeepingGatewayTest, RefusalsAreNotKept) {
  EXPECT_EQ(Asked(Get("/api/v1/books/404")), 1);
  EXPECT_EQ(Asked(Get("/api/v1/books/404")), 1);
}

TEST_F(KeepingGatewayTest, ASaleEndsWhatIsAboutThatThingAndNoList) {
  EXPECT_EQ(Asked(Get("/api/v1/books/12")), 1);
  EXPECT_EQ(Asked(Get("/api/v1/books/13")), 1);
  EXPECT_EQ(Asked(Get("/api/v1/books")), 1);
  gateway_->answers().Sold("books", {12});
  EXPECT_EQ(Asked(Get("/api/v1/books/12")), 1);
  EXPECT_EQ(Asked(Get("/api/v1/books/13")), 0);
  EXPECT_EQ(Asked(Get("/api/v1/books")), 0);
}

double Counted(const std::string& name) {
  for (const auto& family : Metrics().Collect()) {
    if (family.name == name) return family.metric.at(0).counter.value;
  }
  return -1;
}

// A gateway in front of a service whose answers come when the test lets them.
class SharingGatewayTest : public KeepingGatewayTest {
 protected:
  // Clients who have asked all this; the service's first answer waits from here on.
  std::vector<std::unique_ptr<Client>> AskAtOnce(const std::vector<std::string>& requests) {
    library_.Hold({library_.read + 1});
    std::vector<std::unique_ptr<Client>> clients;
    for (const std::string& request : requests) clients.push_back(Ask(request));
    const auto others = static_cast<double>(requests.size() - 1);
    EXPECT_TRUE(Eventually([&] { return Shared() == others; }));
    EXPECT_TRUE(Eventually([&] { return library_.read > 0; }));
    return clients;
  }
  std::unique_ptr<Client> Ask(const std::string& request) {
    auto client = std::make_unique<Client>(port());
    client->Send(request);
    return client;
  }
  // How many have joined another one's question in this test.
  double Shared() const { return Counted("answer_cache_shared_total") - before_; }
  const std::string book_ = "/api/v1/books/" + std::to_string(kNumbered);

 private:
  const double before_ = Counted("answer_cache_shared_total");
};

TEST_F(SharingGatewayTest, WhoAsksTheSameAtOnceAsksTheServiceOnce) {
  const auto clients = AskAtOnce(std::vector<std::string>(20, Get(book_)));
  library_.LetGo(1);
  for (const auto& client : clients) {
    const Response response = client->Receive();
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(response.text("/data/title"), "read 1");
  }
  EXPECT_EQ(library_.read, 1);
  EXPECT_EQ(Asked(Get(book_)), 0);
}

TEST_F(SharingGatewayTest, OneQuestionServesEveryMethodAndForm) {
  const std::string target = "/api/v1/books/" + std::to_string(kLong);
  const auto clients =
      AskAtOnce({Get(target), Get(target, "Accept-Encoding: gzip\r\n"), Get(target, User()),
                 Get(target, "If-None-Match: *\r\n"), Get(target, "", "HEAD")});
  library_.LetGo(1);
  const std::string plain = clients[0]->Receive().body;
  EXPECT_EQ(clients[1]->Receive().body, Gzip(plain));
  const Response known = clients[2]->Receive();
  EXPECT_EQ(known.body, plain);
  EXPECT_EQ(known.headers.at("cache-control"), "no-store");
  EXPECT_EQ(clients[3]->Receive().status, 304);
  EXPECT_EQ(clients[4]->Receive(false).status, 200);
  EXPECT_EQ(library_.read, 1);
}

TEST_F(SharingGatewayTest, AnotherTargetIsAnotherQuestion) {
  library_.Hold({1});
  const auto first = Ask(Get(book_));
  EXPECT_TRUE(Eventually([&] { return library_.read == 1; }));
  EXPECT_EQ(Exchange(Get(book_ + "?x=1")).text("/data/title"), "read 2");
  EXPECT_EQ(Exchange(Get("/api/v1/books/12")).status, 200);
  library_.LetGo(1);
  EXPECT_EQ(first->Receive().text("/data/title"), "read 1");
}

TEST_F(SharingGatewayTest, AFailedQuestionIsAnsweredToAllAndNotKept) {
  const auto clients = AskAtOnce(std::vector<std::string>(5, Get("/api/v1/books/404")));
  library_.LetGo(1);
  std::set<std::string> ids;
  for (const auto& client : clients) {
    const Response response = client->Receive();
    EXPECT_EQ(response.status, 404);
    ids.insert(response.text("/requestId"));
  }
  EXPECT_EQ(ids.size(), clients.size()) << "each has its own envelope";
  EXPECT_EQ(library_.read, 1);
  EXPECT_EQ(Asked(Get("/api/v1/books/404")), 1);
}

TEST_F(SharingGatewayTest, WhoComesAfterAChangeIsNotGivenWhatWasAskedForBefore) {
  library_.Hold({1, 2});
  const auto before = Ask(Get(book_));
  ASSERT_TRUE(Eventually([&] { return library_.read == 1; }));
  gateway_->answers().Sold("books", {kNumbered});
  const auto after = Ask(Get(book_));
  ASSERT_TRUE(Eventually([&] { return library_.read == 2; }));
  const auto too = Ask(Get(book_));
  ASSERT_TRUE(Eventually([&] { return Shared() == 1; }));
  library_.LetGo(2);
  EXPECT_EQ(after->Receive().text("/data/title"), "read 2");
  EXPECT_EQ(too->Receive().text("/data/title"), "read 2");
  library_.LetGo(1);
  EXPECT_EQ(before->Receive().text("/data/title"), "read 1");
  EXPECT_EQ(Exchange(Get(book_)).text("/data/title"), "read 2") << "the newer one was kept";
}

TEST_F(SharingGatewayTest, WhatWasAskedForBeforeAChangeAndCameAfterItIsNotKept) {
  library_.Hold({1});
  const auto before = Ask(Get(book_));
  ASSERT_TRUE(Eventually([&] { return library_.read == 1; }));
  gateway_->answers().Changed("books", {kNumbered});
  library_.LetGo(1);
  EXPECT_EQ(before->Receive().status, 200);
  EXPECT_EQ(Exchange(Get(book_)).text("/data/title"), "read 2");
}

TEST_F(SharingGatewayTest, AListOnItsWayIsSharedThroughASaleAndNotThroughAChange) {
  library_.Hold({1});
  const auto held = Ask(Get(book_));
  ASSERT_TRUE(Eventually([&] { return library_.read == 1; }));
  gateway_->answers().Sold("books", {12});
  const auto other = Ask(Get(book_));
  ASSERT_TRUE(Eventually([&] { return Shared() == 1; })) << "another thing was sold";
  gateway_->answers().Changed("books");
  EXPECT_EQ(Exchange(Get(book_)).text("/data/title"), "read 2");
  library_.LetGo(1);
  EXPECT_EQ(held->Receive().text("/data/title"), "read 1");
  EXPECT_EQ(other->Receive().text("/data/title"), "read 1");
}

TEST_F(SharingGatewayTest, EachWaitsAsLongAsItSaid) {
  const auto clients = AskAtOnce(
      {Get(book_, "Request-Timeout: 0.2\r\n"), Get(book_), Get(book_, "Request-Timeout: 0.3\r\n")});
  EXPECT_EQ(clients[0]->Receive().status, 504) << "it has asked for all";
  EXPECT_EQ(clients[2]->Receive().status, 504);
  EXPECT_EQ(library_.cancelled, 0);
  library_.LetGo(1);
  EXPECT_EQ(clients[1]->Receive().text("/data/title"), "read 1");
}

TEST_F(SharingGatewayTest, AQuestionThatNobodyWaitsForIsCancelled) {
  server_.reset();
  settings_.request_timeout = std::chrono::minutes(10);  // its own end is far away
  Start();
  gateway_->answers().SetSubscribed(true);
  const auto clients =
      AskAtOnce({Get(book_, "Request-Timeout: 0.1\r\n"), Get(book_, "Request-Timeout: 0.2\r\n")});
  for (const auto& client : clients) EXPECT_EQ(client->Receive().status, 504);
  EXPECT_TRUE(Eventually([&] { return library_.cancelled == 1; }));
  EXPECT_EQ(Exchange(Get(book_)).text("/data/title"), "read 2");
}

TEST_F(SharingGatewayTest, NothingIsSharedWhileChangesAreNotHeard) {
  gateway_->answers().SetSubscribed(false);
  library_.Hold({1});
  const auto first = Ask(Get(book_));
  ASSERT_TRUE(Eventually([&] { return library_.read == 1; }));
  EXPECT_EQ(Exchange(Get(book_)).text("/data/title"), "read 2");
  library_.LetGo(1);
  EXPECT_EQ(first->Receive().text("/data/title"), "read 1");
  EXPECT_EQ(Exchange(Get(book_)).text("/data/title"), "read 3") << "nor was it kept";
}

TEST_F(SharingGatewayTest, NobodysTokenGoesWithAnAnswerForEverybody) {
  EXPECT_EQ(Exchange(Get(book_, User())).status, 200);
  EXPECT_EQ(library_.read, 1);
  EXPECT_EQ(library_.with_token, 0);
}

TEST_F(SharingGatewayTest, StoppingDoesNotWaitForASharedQuestion) {
  server_.reset();
  http_.grace = milliseconds(300);
  server_ = std::make_unique<HttpServer>(http_, *gateway_);
  const auto clients = AskAtOnce({Get(book_), Get(book_)});
  const auto start = std::chrono::steady_clock::now();
  server_.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - start, seconds(5));
  EXPECT_TRUE(Eventually([&] { return library_.cancelled == 1; }));
}

TEST_F(SharingGatewayTest, SeveralThreadsShareToo) {
  server_.reset();
  http_.threads = 3;
  server_ = std::make_unique<HttpServer>(http_, *gateway_);
  std::atomic<int> good = 0;
  std::vector<std::thread> clients;
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back([&] {
      Client client(port());
      for (int round = 0; round < 100; ++round) {
        gateway_->answers().Sold("books", {kNumbered});
        const std::string timeout = round % 10 == 0 ? "Request-Timeout: 0.001\r\n" : "";
        client.Send(Get(book_, timeout));
        const int status = client.Receive().status;
        if (status == 200 || (status == 504 && !timeout.empty())) ++good;
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(good, 800);
}

TEST_F(GatewayTest, AnswersForTheCallerAloneCannotBeKept) {
  EXPECT_THROW(Gateway(settings_, Services{Declared("shop.testing.v1.IndiscreetService")}, tokens_),
               std::logic_error);
}

TEST_F(GatewayTest, ServesEveryBindingOfAMethod) {
  EXPECT_EQ(Exchange(Get("/api/v1/shelves/top%20left/books/12")).text("/data/shelf"), "top left");
}

TEST_F(GatewayTest, TakesTheQuery) {
  EXPECT_EQ(Exchange(Get("/api/v1/books?page=2&tag=a&tag=b&nonsense=1")).text("/data/request"),
            R"(page: 2 tags: "a" tags: "b")");
}

TEST_F(GatewayTest, AnswersTheStatusThatTheMethodNames) {
  const Response response = Exchange(
      Post("/api/v1/books", R"({"title":"T","price":9.99})",
           User() + "Content-Type: application/json; charset=utf-8\r\nIdempotency-Key: k\r\n"));
  EXPECT_EQ(response.status, 201);
  EXPECT_EQ(response.text("/statusCode"), "201");
  EXPECT_EQ(response.text("/data/title"), "Tk");
  EXPECT_EQ(response.text("/data/price"), "9.99E0");
  EXPECT_THAT(response.body, HasSubstr("\"price\":9.99,"));
}

TEST_F(GatewayTest, ABodyCanBeAFieldOfTheRequest) {
  const Response response = Exchange(Post("/api/v1/books/5", R"({"title":"new"})",
                                          Admin() + "Content-Type: application/json\r\n", "PATCH"));
  EXPECT_EQ(response.text("/data/id"), "5");
  EXPECT_EQ(response.text("/data/title"), "new");
}

TEST_F(GatewayTest, DeletesAnswerAnEmptyObject) {
  EXPECT_EQ(Exchange(Get("/api/v1/books/5", Admin(), "DELETE")).body,
            R"({"success":true,"statusCode":200,"data":{}})");
}

TEST_F(GatewayTest, RawAnswersHaveNoEnvelope) {
  EXPECT_THAT(Exchange(Get("/echo")).body, StartsWith(R"({"metadata":{)"));
}

TEST_F(GatewayTest, RefusesWhatDoesNotFitNamingTheField) {
  const Response response = Exchange(Get("/api/v1/books/twelve?x=1"));
  EXPECT_EQ(response.status, 400);
  EXPECT_EQ(response.text("/success"), "false");
  EXPECT_EQ(response.text("/statusCode"), "400");
  EXPECT_EQ(response.text("/path"), "/api/v1/books/twelve");
  EXPECT_EQ(response.text("/error/code"), "INVALID_ARGUMENT");
  EXPECT_EQ(response.text("/error/details/0/field"), "id");
  EXPECT_EQ(response.text("/requestId"), response.headers.at("x-request-id"));
  EXPECT_THAT(response.text("/timestamp"),
              MatchesRegex("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\\.[0-9]{3}Z"));
}

TEST_F(GatewayTest, PassesOnWhatTheServiceRefuses) {
  const Response response =
      Exchange(Get("/api/v1/fail/9?reason=OUT_OF_STOCK&message=none+left&fields=items%5B0%5D"));
  EXPECT_EQ(response.status, 409);
  EXPECT_EQ(response.text("/error/code"), "OUT_OF_STOCK");
  EXPECT_EQ(response.text("/error/message"), "none left");
  EXPECT_EQ(response.text("/error/details"), R"([{"field":"items[0]","message":"is bad"}])");
}

TEST_F(GatewayTest, EveryCodeOfAServiceHasItsStatus) {
  const std::pair<int, int> expected[] = {
      {1, 503}, {2, 500},  {3, 400},  {4, 504},  {5, 404},  {6, 409},  {7, 403},  {8, 429},
      {9, 409}, {10, 409}, {11, 400}, {12, 501}, {13, 500}, {14, 503}, {15, 500}, {16, 401}};
  for (const auto& [code, status] : expected) {
    const Response response =
        Exchange(Get("/api/v1/fail/" + std::to_string(code) + "?message=secret"));
    EXPECT_EQ(response.status, status) << code;
    EXPECT_EQ(response.body.find("secret") != std::string::npos, status < 500) << code;
  }
  EXPECT_EQ(Exchange(Get("/api/v1/fail/9?reason=IDEMPOTENCY_KEY_REUSED")).status, 422);
}

TEST_F(GatewayTest, SaysWhenToTryAgain) {
  EXPECT_EQ(Exchange(Get("/api/v1/fail/8?retryAfter=17")).headers.at("retry-after"), "17");
  EXPECT_EQ(Exchange(Get("/api/v1/fail/8")).headers.at("retry-after"), "1");
  EXPECT_EQ(Exchange(Get("/api/v1/fail/14")).headers.at("retry-after"), "1");
}

TEST_F(GatewayTest, UnknownPathsAreNotFound) {
  const Response response = Exchange(Get("/api/v1/bookshelf\"%3Cb%3E"));
  EXPECT_EQ(response.status, 404);
  EXPECT_EQ(response.text("/error/code"), "NOT_FOUND");
  EXPECT_EQ(response.text("/path"), "/api/v1/bookshelf\"%3Cb%3E");
}

TEST_F(GatewayTest, OtherMethodsAreToldWhichThereAre) {
  const Response response = Exchange(Get("/api/v1/books/7", "", "PUT"));
  EXPECT_EQ(response.status, 405);
  EXPECT_EQ(response.headers.at("allow"), "GET, HEAD, PATCH, DELETE, OPTIONS");
}

TEST_F(GatewayTest, MethodsWithoutABindingAreNotServed) {
  for (const char* path : {"/shop.testing.v1.LibraryService/Internal", "/api/v1/books/7/watch"}) {
    EXPECT_EQ(Exchange(Get(path)).status, 404) << path;
  }
}

TEST_F(GatewayTest, HeadAnswersWithoutABody) {
  Client client(port());
  client.Send(Get("/api/v1/books/12", "", "HEAD") + Get("/api/v1/books/13"));
  const Response head = client.Receive(false);
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.headers.at("content-length"), client.Receive().headers.at("content-length"));
}

TEST_F(GatewayTest, OptionsListTheMethods) {
  const Response response = Exchange(Get("/api/v1/books", "", "OPTIONS"));
  EXPECT_EQ(response.status, 204);
  EXPECT_EQ(response.headers.at("allow"), "GET, HEAD, POST, OPTIONS");
  EXPECT_THAT(response.headers, Not(Contains(Key("content-length"))));
}

// Access.

TEST_F(GatewayTest, WithoutATokenTheCallerIsAskedForOne) {
  const Response response = Exchange(Post("/api/v1/books", "{}"));
  EXPECT_EQ(response.status, 401);
  EXPECT_EQ(response.text("/error/code"), "UNAUTHENTICATED");
  EXPECT_EQ(response.headers.at("www-authenticate"), "Bearer");
  EXPECT_EQ(library_.created, 0);
}

TEST_F(GatewayTest, ABadTokenIsRefusedEverywhere) {
  for (const char* value : {"Bearer nonsense", "Bearer a.b.c", "Bearer", "Bearer ", "Basic dTpw",
                            "bearer a b", "token"}) {
    const Response response =
        Exchange(Get("/api/v1/books/12", std::string("Authorization: ") + value + "\r\n"));
    EXPECT_EQ(response.status, 401) << value;
    EXPECT_EQ(response.headers.at("www-authenticate"), "Bearer error=\"invalid_token\"") << value;
  }
}

TEST_F(GatewayTest, AnExpiredTokenIsRefused) {
  const std::string token = signer_.Sign(7, shop::api::v1::ROLE_USER, seconds(-3600));
  EXPECT_EQ(Exchange(Post("/api/v1/books", "{}", "Authorization: Bearer " + token + "\r\n")).status,
            401);
}

TEST_F(GatewayTest, TwoTokensAreRefused) {
  EXPECT_EQ(Exchange(Get("/api/v1/books/12", User() + User())).status, 401);
}

TEST_F(GatewayTest, TheSchemeIsReadInAnyCase) {
  const std::string token = signer_.Sign(7, shop::api::v1::ROLE_USER, seconds(60));
  EXPECT_EQ(Exchange(Get("/api/v1/books/12", "authorization: bearer  " + token + "\r\n")).status,
            200);
}

TEST_F(GatewayTest, ARoleThatIsTooLittleIsForbidden) {
  const Response response = Exchange(Get("/api/v1/books/5", User(), "DELETE"));
  EXPECT_EQ(response.status, 403);
  EXPECT_EQ(response.text("/error/code"), "PERMISSION_DENIED");
  EXPECT_EQ(
      Exchange(Get("/api/v1/books/5", Token(shop::api::v1::ROLE_SUPER_ADMIN), "DELETE")).status,
      200);
}

TEST_F(GatewayTest, WhileNoKeyCanBeHadTheAnswerIsToTryAgain) {
  keys_away_ = true;
  const Response response = Exchange(Get("/api/v1/books/12", User()));
  EXPECT_EQ(response.status, 503);
  EXPECT_EQ(response.headers.at("retry-after"), "1");
}

TEST_F(GatewayTest, AnUnknownKeyWhileAuthIsSlowHoldsUpNoOtherToken) {
  std::atomic<bool> slow = false;
  std::atomic<int> fetches = 0;
  std::atomic<seconds> passed{seconds(0)};
  auth::TokenVerifier tokens(
      [&]() -> std::vector<auth::PublicKey> {
        ++fetches;
        while (slow) std::this_thread::sleep_for(milliseconds(1));
        return {signer_.public_key()};
      },
      [&] { return std::chrono::system_clock::now() + passed.load(); });
  gateway_ = std::make_unique<Gateway>(
      settings_, Services{Declared("shop.testing.v1.LibraryService")}, tokens);
  server_ = std::make_unique<HttpServer>(http_, *gateway_);
  const struct End {
    ~End() { run(); }
    std::function<void()> run;
  } before_the_tokens_go{[&] {
    slow = false;
    server_.reset();
    gateway_.reset();
  }};
  ASSERT_TRUE(Eventually([&] { return gateway_->Ready(); }));

  slow = true;
  passed = seconds(6);  // so that the next unknown key is asked for
  const auth::TokenSigner stranger(PrivateKey());
  std::vector<std::unique_ptr<Client>> strangers;
  for (int64_t id = 1; id <= 150; ++id) {
    strangers.push_back(std::make_unique<Client>(port()));
    strangers.back()->Send(Get(
        "/api/v1/books/12", "Authorization: Bearer " +
                                stranger.Sign(id, shop::api::v1::ROLE_USER, seconds(60)) + "\r\n"));
  }
  ASSERT_TRUE(Eventually([&] { return fetches == 2; }));
  // Tokens that were never seen, of a key that is known.
  for (int64_t id = 1; id <= 20; ++id) {
    ASSERT_EQ(Exchange(Get("/api/v1/books/12", Token(shop::api::v1::ROLE_USER, id))).status, 200);
  }
  for (const auto& client : strangers) EXPECT_EQ(client->Receive().status, 503);
  slow = false;
  ASSERT_TRUE(Eventually([&] {
    return Exchange(Get("/api/v1/books/12",
                        "Authorization: Bearer " +
                            stranger.Sign(7, shop::api::v1::ROLE_USER, seconds(60)) + "\r\n"))
               .status == 401;
  }));
}

// A gateway that gets new keys only once `slow_` is false.
class SlowKeysGatewayTest : public GatewayTest {
 protected:
  ~SlowKeysGatewayTest() override {
    slow_ = false;
    server_.reset();
    gateway_.reset();
  }
  // Starts it with the keys of `signer_`; from then on fetching is slow.
  void StartSlow() {
    gateway_ = std::make_unique<Gateway>(
        settings_, Services{Declared("shop.testing.v1.LibraryService")}, slow_tokens_);
    server_ = std::make_unique<HttpServer>(http_, *gateway_);
    ASSERT_TRUE(Eventually([&] { return gateway_->Ready(); }));
    slow_ = true;
    passed_ = seconds(6);  // so that the next unknown key is asked for
  }
  std::string NewKeysToken() {
    return "Authorization: Bearer " + new_signer_.Sign(7, shop::api::v1::ROLE_USER, seconds(60)) +
           "\r\n";
  }

  std::atomic<bool> slow_ = false;
  std::atomic<int> fetches_ = 0;
  std::atomic<seconds> passed_{seconds(0)};
  auth::TokenSigner new_signer_{PrivateKey()};
  auth::TokenVerifier slow_tokens_{
      [this]() -> std::vector<auth::PublicKey> {
        if (++fetches_ == 1) return {signer_.public_key()};
        while (slow_) std::this_thread::sleep_for(milliseconds(1));
        return {signer_.public_key(), new_signer_.public_key()};
      },
      [this] { return std::chrono::system_clock::now() + passed_.load(); }};
};

TEST_F(SlowKeysGatewayTest, WhoHasNoTimeToWaitForAKeyIsAnsweredBeforeWhoHas) {
  StartSlow();
  // Whoever came first would be answered first, if all waited as long.
  EXPECT_TRUE(Eventually([&] {
    Client patient(port());
    patient.Send(Get("/echo", NewKeysToken()));
    EXPECT_TRUE(Eventually([] { return Gauged("http_requests_in_flight") == 1; }));
    Client hasty(port());
    hasty.Send(Get("/echo", NewKeysToken() + "Request-Timeout: 0.1\r\n"));
    EXPECT_EQ(hasty.Receive().status, 503);
    const bool before = !patient.HasMore();
    EXPECT_EQ(patient.Receive().status, 503);
    return before;
  }));
}

TEST_F(SlowKeysGatewayTest, TheServiceIsGivenTheTimeThatWaitingForAKeyLeft) {
  StartSlow();
  Client client(port());
  client.Send(Get("/echo", NewKeysToken() + "Request-Timeout: 5\r\n"));
  ASSERT_TRUE(Eventually([&] { return fetches_ == 2; }));
  const auto asked = std::chrono::steady_clock::now();
  ASSERT_TRUE(
      Eventually([&] { return std::chrono::steady_clock::now() >= asked + milliseconds(200); }));
  slow_ = false;
  const Response response = client.Receive();
  ASSERT_EQ(response.status, 200);
  EXPECT_LE(std::stoi(response.text("/deadlineMs")), 4800);
}

TEST_F(GatewayTest, AnswersToACallerAreNotToBeKept) {
  EXPECT_EQ(Exchange(Get("/api/v1/books/12", User())).headers.at("cache-control"), "no-store");
  EXPECT_EQ(Exchange(Post("/api/v1/books", "{}")).headers.at("cache-control"), "no-store");
  EXPECT_THAT(Exchange(Get("/api/v1/books/12")).headers, Not(Contains(Key("cache-control"))));
}

// What travels with a call.

TEST_F(GatewayTest, PassesOnTokenRequestIdAndTrace) {
  const std::string trace = "0af7651916cd43dd8448eb211c80319c";
  const std::string token = User();
  const Response response =
      Exchange(Get("/echo", token + "X-Request-Id: my-id\r\nX-Service-Token: forged\r\n" +
                                "traceparent: 00-" + trace + "-b7ad6b7169203331-01\r\n"));
  EXPECT_EQ("Authorization: " + response.text("/metadata/authorization") + "\r\n", token);
  EXPECT_EQ(response.text("/metadata/x-request-id"), "my-id");
  EXPECT_THAT(response.text("/metadata/traceparent"),
              AllOf(StartsWith("00-" + trace + "-"), Not(HasSubstr("b7ad6b7169203331"))));
  EXPECT_THAT(response.body, Not(HasSubstr("forged")));
  EXPECT_EQ(response.headers.at("x-request-id"), "my-id");
}

TEST_F(GatewayTest, MakesARequestIdWhereNoneOfUseCame) {
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

TEST_F(GatewayTest, AWaitingRequestHoldsUpNobodyElse) {
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
  StopService();
  ASSERT_TRUE(Eventually([this] { return Exchange(Get("/api/v1/books/12")).status == 503; }));
  const Response away = Exchange(Get("/readyz"));
  EXPECT_EQ(away.status, 503);
  EXPECT_EQ(away.text("/missing"), "[\"testing\"]");
  StartService();
  EXPECT_TRUE(Eventually([this] { return Exchange(Get("/api/v1/books/12")).status == 200; }));
  EXPECT_TRUE(Eventually([this] { return Exchange(Get("/readyz")).status == 200; }));
}

TEST_F(GatewayTest, AnIdleGatewayIsReadyThroughEveryRenewalOfItsConnections) {
  StopService();
  connection_age_ = milliseconds(20);
  StartService();
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

TEST_F(GatewayTest, OneAbsentServiceLeavesTheGatewayReadyAndIsNamed) {
  settings_.addresses["orders"] = "127.0.0.1:1";
  gateway_ = std::make_unique<Gateway>(settings_,
                                       Services{Declared("shop.testing.v1.LibraryService"),
                                                Declared("shop.orders.v1.OrdersService")},
                                       tokens_);
  server_ = std::make_unique<HttpServer>(http_, *gateway_);
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
  // Those it has had stay good.
  keys_away_ = true;
  EXPECT_EQ(Exchange(Get("/readyz")).status, 200);
}

TEST_F(GatewayTest, IsHealthyWhateverElseIsAway) {
  StopService();
  gateway_ = std::make_unique<Gateway>(settings_, Services{}, tokens_);
  server_ = std::make_unique<HttpServer>(http_, *gateway_);
  EXPECT_EQ(Exchange(Get("/healthz")).status, 200);
  EXPECT_EQ(Exchange(Get("/healthz", "", "POST")).status, 405);
}

// More than it can do.

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

TEST_F(GatewayTest, WhatEndsInAnyWayMakesRoomForMore) {
  settings_.max_in_flight = 1;
  settings_.request_timeout = milliseconds(100);
  for (const std::string& request :
       {Get("/api/v1/wait"), Get("/api/v1/books/404"), Get("/api/v1/books/x"), Get("/nothing"),
        Get("/api/v1/books/12", "Authorization: x\r\n"), Post("/api/v1/books", "{", User())}) {
    for (int i = 0; i < 3; ++i) EXPECT_NE(Exchange(request).status, 503) << request;
  }
}

// Bodies.

TEST_F(GatewayTest, ABodyHasToBeJson) {
  for (const char* type :
       {"", "Content-Type: text/plain\r\n", "Content-Type: application/jsonx\r\n",
        "Content-Type: application/json; charset=latin1\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\n"}) {
    const Response response = Exchange(Post("/api/v1/books", "{}", User() + type));
    EXPECT_EQ(response.status, 415) << type;
  }
  for (const char* type : {"Content-Type: application/json\r\n",
                           "content-type: Application/JSON ;charset=\"UTF-8\"\r\n",
                           "Content-Type: application/json; charset=UTF-8; x=y\r\n"}) {
    EXPECT_EQ(Exchange(Post("/api/v1/books", "{}", User() + type)).status, 201) << type;
  }
}

TEST_F(GatewayTest, AnEmptyBodyIsAnEmptyObject) {
  EXPECT_EQ(Exchange(Post("/api/v1/books", "", User())).status, 201);
  EXPECT_EQ(Exchange(Get("/api/v1/books", User(), "POST")).status, 201);
}

TEST_F(GatewayTest, ABodyThatIsNotJsonIsRefused) {
  for (const char* body :
       {"{", "[]", "null", "{}{}", "\xff", "{\"title\":5}", "{\"title\":\"\\u0000\"}",
        "{\"title\":\"a\",\"title\":\"b\"}", "{\"price\":1.234}"}) {
    const Response response =
        Exchange(Post("/api/v1/books", body, User() + "Content-Type: application/json\r\n"));
    EXPECT_EQ(response.status, 400) << body;
  }
  EXPECT_EQ(library_.created, 0);
}

TEST_F(GatewayTest, ChunkedBodiesAreRead) {
  const Response response = Exchange(
      "POST /api/v1/books HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\n" + User() +
      "Transfer-Encoding: chunked\r\n\r\n9\r\n{\"title\":\r\n6;x=y\r\n\"abc\"}\r\n0\r\n\r\n");
  EXPECT_EQ(response.status, 201);
  EXPECT_EQ(response.text("/data/title"), "abc");
}

TEST_F(GatewayTest, ABodyThatComesInPiecesIsPutTogether) {
  Client client(port());
  const std::string request =
      Post("/api/v1/books", R"({"title":"abc"})", User() + "Content-Type: application/json\r\n");
  for (const char c : request) ASSERT_TRUE(client.Send(std::string_view(&c, 1)));
  EXPECT_EQ(client.Receive().status, 201);
}

TEST_F(GatewayTest, ABodyAtTheLimitIsTakenAndOneBeyondIsNot) {
  http_.max_body_bytes = 100'000;
  const auto of_size = [](size_t size) { return "{\"x\":\"" + std::string(size - 8, 'x') + "\"}"; };
  const std::string headers = User() + "Content-Type: application/json\r\n";
  EXPECT_EQ(Exchange(Post("/api/v1/books", of_size(100'000), headers)).status, 201);
  const Response response = Exchange(Post("/api/v1/books", of_size(100'001), headers));
  EXPECT_EQ(response.status, 413);
  EXPECT_EQ(response.text("/error/code"), "PAYLOAD_TOO_LARGE");
  EXPECT_EQ(response.text("/path"), "/api/v1/books");
  EXPECT_EQ(response.headers.at("connection"), "close");
}

TEST_F(GatewayTest, ABodyFarBeyondTheLimitStillGetsItsAnswer) {
  Client client(port());
  EXPECT_TRUE(client.Send(Post("/api/v1/books", std::string(5'000'000, ' '))));
  EXPECT_EQ(client.Receive().status, 413);
}

TEST_F(GatewayTest, AChunkedBodyBeyondTheLimitIsRefused) {
  http_.max_body_bytes = 1000;
  std::string request =
      "POST /api/v1/books HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n" + User() +
      "Content-Type: application/json\r\n\r\n";
  for (int i = 0; i < 20; ++i) request += "64\r\n" + std::string(100, ' ') + "\r\n";
  EXPECT_EQ(Exchange(request + "0\r\n\r\n").status, 413);
}

TEST_F(GatewayTest, AClientThatWaitsForLeaveToSendGetsIt) {
  Client client(port());
  const std::string body = R"({"title":"abc"})";
  client.Send("POST /api/v1/books HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\n" +
              User() + "Expect: 100-continue\r\nContent-Length: " + std::to_string(body.size()) +
              "\r\n\r\n");
  EXPECT_EQ(client.Receive().status, 100);
  client.Send(body);
  EXPECT_EQ(client.Receive().status, 201);
}

TEST_F(GatewayTest, NoLeaveIsGivenForWhatIsTooLarge) {
  EXPECT_EQ(Exchange("POST /api/v1/books HTTP/1.1\r\nHost: shop\r\nExpect: 100-continue\r\n"
                     "Content-Length: 99999999\r\n\r\n")
                .status,
            413);
}

// Bodies that need not be read.

// The header of a request whose body is not sent with it.
std::string Head(const std::string& target, const std::string& headers,
                 const std::string& method = "POST") {
  return method + " " + target + " HTTP/1.1\r\nHost: shop\r\n" + headers + "\r\n";
}
constexpr char kJson[] = "Content-Type: application/json\r\n";

TEST_F(GatewayTest, WhatTheHeaderIsRefusedForIsAnsweredBeforeTheBodyComes) {
  const std::string length = "Content-Length: 1000\r\n";
  const std::tuple<std::string, std::string, std::string, int> refused[] = {
      {"POST", "/nothing", length, 404},
      {"PUT", "/api/v1/books", length, 405},
      {"POST", "/api/v1/books", "Content-Length: 1048577\r\n" + User() + kJson, 413},
      {"POST", "/api/v1/books", length + kJson, 401},
      {"POST", "/api/v1/books", "Transfer-Encoding: chunked\r\n", 401},
      {"PATCH", "/api/v1/books/5", length + User() + kJson, 403},
      {"POST", "/api/v1/books", length + User() + "Content-Type: text/plain\r\n", 415},
      {"POST", "/api/v1/books", length + User() + "Request-Timeout: soon\r\n" + kJson, 400},
  };
  for (const auto& [method, target, headers, status] : refused) {
    EXPECT_EQ(Exchange(Head(target, headers, method)).status, status) << method << target;
    const Response leave = Exchange(Head(target, headers + "Expect: 100-continue\r\n", method));
    EXPECT_EQ(leave.status, status) << "and no leave is given to send it";
    EXPECT_EQ(leave.headers.at("connection"), "close") << "it may come or not";
  }
}

TEST_F(GatewayTest, AfterAShortBodyThatNobodyWantedTheConnectionGoesOn) {
  const std::string chunked =
      Head("/nothing", "Transfer-Encoding: chunked\r\n") + "5\r\nhello\r\n0\r\n\r\n";
  for (const std::string& unwanted :
       {Post("/nothing", "GET /healthz HTTP/1.1\r\n\r\n"), Post("/api/v1/books", "{}"),
        Get("/api/v1/books/12", "Content-Length: 2\r\n") + "{}", chunked,
        Post("/nothing", std::string(64 * 1024, 'x'))}) {
    Client client(port());
    client.Send(unwanted + Get("/api/v1/books/13"));
    EXPECT_EQ(client.Receive().headers.count("connection"), 0);
    EXPECT_EQ(client.Receive().text("/data/id"), "13");
  }
}

TEST_F(GatewayTest, ABodyThatNobodyWantedMayComeAfterItsAnswer) {
  Client client(port());
  client.Send(Head("/nothing", "Content-Length: 10\r\n"));
  EXPECT_EQ(client.Receive().status, 404);
  client.Send("0123456789" + Get("/api/v1/books/13"));
  EXPECT_EQ(client.Receive().text("/data/id"), "13");
}

TEST_F(GatewayTest, ALongBodyThatNobodyWantedEndsItsConnectionAfterTheAnswer) {
  for (const std::string& headers :
       {std::string("Content-Length: 900000\r\n"), std::string("Transfer-Encoding: chunked\r\n")}) {
    Client client(port());
    client.Send(Head("/nothing", headers));
    client.Send(std::string(600'000, '0'));
    const Response response = client.Receive();
    EXPECT_EQ(response.status, 404);
    EXPECT_EQ(response.headers.at("connection"), "close");
    EXPECT_TRUE(client.Ended());
  }
}

// More than there is memory for.

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
  bool NothingIsKept() {
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
  EXPECT_EQ(Whole(1'000).status, 201) << "what fits is taken";
  EXPECT_EQ(Exchange(Get("/api/v1/books/12")).status, 200);
  EXPECT_EQ(Whole(100'000, 2).status, 201) << "another client has a share of its own";
  first.reset();
  EXPECT_TRUE(Eventually([&] { return Whole(150'000).status == 201; }));
  EXPECT_TRUE(NothingIsKept());
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
  EXPECT_TRUE(NothingIsKept());
}

TEST_F(CrowdedGatewayTest, WhatIsKeptIsLetGoWithTheAnswer) {
  Client client(port());
  for (int i = 0; i < 20; ++i) {
    client.Send(Post("/api/v1/books", "{}" + std::string(150'000, ' '), User() + kJson));
    EXPECT_EQ(client.Receive().status, 201);
  }
  client.Send(Post("/api/v1/books", "{" + std::string(150'000, ' '), User() + kJson));
  EXPECT_EQ(client.Receive().status, 400);
  EXPECT_TRUE(NothingIsKept());
}

TEST_F(CrowdedGatewayTest, UnfinishedBodiesKeepNobodyFromBeingAnswered) {
  settings_.max_in_flight = 1;
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 5 && !HasFailure(); ++i) clients.push_back(Unfinished(1'000));
  EXPECT_EQ(Exchange(Get("/api/v1/books/12")).status, 200);
  EXPECT_EQ(Whole(10).status, 201);
}

TEST_F(GatewayTest, OtherExpectationsFail) {
  EXPECT_EQ(Exchange(Get("/api/v1/books/1", "Expect: coffee\r\n")).status, 417);
}

// Requests that are none.

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

TEST_F(GatewayTest, WhatDoesNotEndOfAChunkedBodyIsRefused) {
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

TEST_F(GatewayTest, ABrokenPathEncodingIsRefused) {
  EXPECT_EQ(Exchange(Get("/api/v1/books/%zz")).status, 400);
}

TEST_F(GatewayTest, TheWholeAddressMayStandInTheRequestLine) {
  EXPECT_EQ(Exchange(Get("http://shop/api/v1/books/12?x=1")).status, 200);
}

// Connections.

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
    EXPECT_EQ(third.Receive().status, 503);
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
  EXPECT_EQ(refused.status, 429);
  EXPECT_EQ(refused.headers.at("retry-after"), "1");
  EXPECT_TRUE(third.Ended());
  Client other(port(), 2);
  other.Send(Get("/healthz"));
  EXPECT_EQ(other.Receive().status, 200);
  clients.clear();
  EXPECT_TRUE(Eventually([this] { return Exchange(Get("/healthz")).status == 200; }));
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
  Client kept(port());
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
  kept.Send(Get("/api/v1/books/12"));
  EXPECT_EQ(kept.Receive().status, 200);
  stop.join();
  EXPECT_GE(std::chrono::steady_clock::now() - start, seconds(2));
  EXPECT_TRUE(kept.Ended());
  EXPECT_FALSE(Client(port).connected());
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

// Conditional requests.

TEST_F(GatewayTest, AReadThatTheClientHasIsNotSentAgain) {
  const Response first = Exchange(Get("/api/v1/books/12"));
  const std::string tag = first.headers.at("etag");
  EXPECT_THAT(tag, MatchesRegex("\"[0-9a-f]{16}\""));
  EXPECT_NE(Exchange(Get("/api/v1/books/13")).headers.at("etag"), tag);
  Client client(port());
  for (const char* method : {"GET", "HEAD"}) {
    client.Send(Get("/api/v1/books/12", "If-None-Match: \"x\", W/" + tag + "\r\n", method));
    const Response same = client.Receive();
    EXPECT_EQ(same.status, 304);
    EXPECT_EQ(same.headers.at("etag"), tag);
    EXPECT_EQ(same.headers.at("vary"), first.headers.at("vary"));
    EXPECT_THAT(same.headers, Not(Contains(Key("content-length"))));
    EXPECT_THAT(same.headers, Not(Contains(Key("content-type"))));
  }
  // Nothing of a body was left in the connection.
  client.Send(Get("/api/v1/books/12", "If-None-Match: \"x\"\r\n"));
  const Response other = client.Receive();
  EXPECT_EQ(other.status, 200);
  EXPECT_EQ(other.body, first.body);
  EXPECT_EQ(Exchange(Get("/api/v1/books/12", "", "HEAD")).headers.at("etag"), tag);
}

TEST_F(GatewayTest, A304ToACallerIsNotToBeKeptEither) {
  const std::string tag = Exchange(Get("/api/v1/books/12", User())).headers.at("etag");
  const Response same = Exchange(Get("/api/v1/books/12", User() + "If-None-Match: *\r\n"));
  EXPECT_EQ(same.status, 304);
  EXPECT_EQ(same.headers.at("etag"), tag);
  EXPECT_EQ(same.headers.at("cache-control"), "no-store");
}

TEST_F(GatewayTest, AReadOfSomethingElseThanTheClientMeansIs412) {
  const std::string tag = Exchange(Get("/api/v1/books/12")).headers.at("etag");
  EXPECT_EQ(Exchange(Get("/api/v1/books/12", "If-Match: " + tag + "\r\n")).status, 200);
  const Response changed = Exchange(Get("/api/v1/books/12", "If-Match: \"x\"\r\n"));
  EXPECT_EQ(changed.status, 412);
  EXPECT_EQ(changed.text("/error/code"), "VERSION_CHANGED");
  EXPECT_THAT(changed.headers, Not(Contains(Key("etag"))));
}

TEST_F(GatewayTest, OnlyGoodAnswersToReadsHaveATag) {
  for (const std::string& request :
       {Get("/api/v1/books/404", "If-None-Match: *\r\n"), Get("/nothing"), Get("/healthz"),
        Post("/api/v1/books", "{}", User() + "Content-Type: application/json\r\n"),
        Get("/api/v1/books/5", Admin(), "DELETE"), Get("/api/v1/books", "", "OPTIONS")}) {
    const Response response = Exchange(request);
    EXPECT_NE(response.status, 304) << request;
    EXPECT_THAT(response.headers, Not(Contains(Key("etag")))) << request;
  }
}

TEST_F(GatewayTest, AVersionIsAPartOfItsTag) {
  const std::string tag = Exchange(Get("/api/v1/books/70")).headers.at("etag");
  EXPECT_THAT(tag, MatchesRegex("\"3-[0-9a-f]{16}\""));
  const Response updated = Exchange(
      Post("/api/v1/books/70", R"({"title":"Title","price":49.99,"genre":"POETRY","version":3})",
           Admin() + "Content-Type: application/json\r\n", "PATCH"));
  EXPECT_EQ(updated.status, 200);
  EXPECT_EQ(updated.headers.at("etag"), tag);
}

TEST_F(GatewayTest, TheVersionOfAPartStandsBehindIt) {
  const Response updated =
      Exchange(Post("/api/v1/books/70", R"({"title":"Title","version":3,"copiesVersion":12})",
                    Admin() + "Content-Type: application/json\r\n", "PATCH"));
  EXPECT_THAT(updated.headers.at("etag"), MatchesRegex("\"3[.]12-[0-9a-f]{16}\""));
}

TEST_F(GatewayTest, AChangeHappensOnlyToTheVersionThatTheClientMeans) {
  const std::string tag = Exchange(Get("/api/v1/books/70")).headers.at("etag");
  const auto update = [this](const std::string& condition) {
    return Exchange(Post("/api/v1/books/70", "{}",
                         Admin() + "Content-Type: application/json\r\n" + condition, "PATCH"));
  };
  EXPECT_EQ(update("If-Match: " + tag + "\r\n").status, 200);
  EXPECT_EQ(update("If-Match: \"2-0123456789abcdef\", " + tag + "\r\n").status, 200);
  EXPECT_EQ(update("If-Match: *\r\n").status, 200);
  EXPECT_EQ(update("").status, 200);
  EXPECT_EQ(library_.updated, 4);
  for (const std::string& value :
       {std::string("\"2-0123456789abcdef\""), "W/" + tag, std::string("\"foreign\"")}) {
    const Response changed = update("If-Match: " + value + "\r\n");
    EXPECT_EQ(changed.status, 412) << value;
    EXPECT_EQ(changed.text("/error/code"), "VERSION_CHANGED");
  }
  const Response malformed = update("If-Match: 3\r\n");
  EXPECT_EQ(malformed.status, 400);
  EXPECT_EQ(malformed.text("/error/details/0/field"), "If-Match");
  EXPECT_EQ(library_.updated, 4);
}

TEST_F(GatewayTest, PublishedDocumentsHaveATag) {
  Start();
  gateway_->Publish("/page", "text/html; charset=utf-8", "<!doctype html>");
  const Response first = Exchange(Get("/page"));
  EXPECT_EQ(first.body, "<!doctype html>");
  const Response same =
      Exchange(Get("/page", "If-None-Match: " + first.headers.at("etag") + "\r\n"));
  EXPECT_EQ(same.status, 304);
}

TEST_F(GatewayTest, TheRootLeadsToWhatThereIs) {
  Start();
  PublishDocs("", {Declared("shop.testing.v1.LibraryService")}, gateway_.get());
  const Response page = Exchange(Get("/"));
  EXPECT_EQ(page.status, 200);
  EXPECT_EQ(page.headers.at("content-type"), "text/html; charset=utf-8");
  EXPECT_THAT(page.body, Not(HasSubstr("href=\"/docs\""))) << "it is not there without its files";
  for (const char* target : {"/openapi.json", "/healthz", "/readyz"}) {
    EXPECT_THAT(page.body, HasSubstr("href=\"" + std::string(target) + "\""));
    EXPECT_EQ(Exchange(Get(target)).status, 200) << target;
  }
}

// Compression.

constexpr char kGzip[] = "Accept-Encoding: gzip\r\n";

TEST_F(GatewayTest, ALongAnswerIsCompressedForWhoAcceptsIt) {
  const Response plain = Exchange(Get("/api/v1/books/5000"));
  const Response compressed = Exchange(Get("/api/v1/books/5000", kGzip));
  EXPECT_THAT(plain.headers, Not(Contains(Key("content-encoding"))));
  EXPECT_EQ(compressed.headers.at("content-encoding"), "gzip");
  EXPECT_EQ(compressed.body, Gzip(plain.body));
  for (const Response& response : {plain, compressed}) {
    EXPECT_EQ(response.headers.at("vary"), "Accept-Encoding");
  }
  const Response refused = Exchange(Get("/api/v1/books/5000", "Accept-Encoding: gzip;q=0\r\n"));
  EXPECT_EQ(refused.body, plain.body);
}

TEST_F(GatewayTest, AShortAnswerIsNot) {
  const Response response = Exchange(Get("/api/v1/books/12", kGzip));
  EXPECT_THAT(response.headers, Not(Contains(Key("content-encoding"))));
  EXPECT_EQ(response.headers.at("vary"), "Accept-Encoding");
}

TEST_F(GatewayTest, EachFormHasItsOwnTag) {
  const std::string plain = Exchange(Get("/api/v1/books/5000")).headers.at("etag");
  const std::string gzip = Exchange(Get("/api/v1/books/5000", kGzip)).headers.at("etag");
  EXPECT_EQ(gzip, plain.substr(0, plain.size() - 1) + "-gzip\"");
  const auto status = [this](const std::string& tag, const std::string& headers) {
    return Exchange(Get("/api/v1/books/5000", "If-None-Match: " + tag + "\r\n" + headers)).status;
  };
  EXPECT_EQ(status(gzip, kGzip), 304);
  EXPECT_EQ(status(plain, ""), 304);
  EXPECT_EQ(status(plain, kGzip), 200);
  EXPECT_EQ(status(gzip, ""), 200);
}

TEST_F(GatewayTest, HeadHasTheLengthOfTheCompressedForm) {
  const Response get = Exchange(Get("/api/v1/books/5000", kGzip));
  const Response head = Exchange("HEAD" + Get("/api/v1/books/5000", kGzip).substr(3));
  EXPECT_EQ(head.headers.at("content-length"), get.headers.at("content-length"));
  EXPECT_EQ(head.headers.at("content-encoding"), "gzip");
}

TEST_F(GatewayTest, ALongRefusalIsCompressedToo) {
  const std::string target = "/api/v1/fail/9?message=" + std::string(2000, 'm');
  const Response response = Exchange(Get(target, kGzip));
  EXPECT_EQ(response.status, 409);
  EXPECT_EQ(response.headers.at("content-encoding"), "gzip");
  EXPECT_LT(response.body.size(), 1000);
}

TEST_F(GatewayTest, PublishedDocumentsAreCompressed) {
  Start();
  const std::string script(50'000, ';');
  gateway_->Publish("/script.js", "text/javascript; charset=utf-8", script);
  const Response compressed = Exchange(Get("/script.js", kGzip));
  EXPECT_EQ(compressed.headers.at("content-encoding"), "gzip");
  EXPECT_EQ(compressed.headers.at("content-type"), "text/javascript; charset=utf-8");
  EXPECT_EQ(compressed.body, GzipSmall(script));
  EXPECT_EQ(Exchange(Get("/script.js")).body, script);
}

TEST_F(GatewayTest, ALongAnswerHoldsUpNobodyElseWhileItIsMade) {
  library_.books_in_list = 300'000;
  settings_.request_timeout = seconds(60);
  Client patient(port());
  std::atomic<bool> answered = false;
  std::jthread asking([&] {
    patient.Send(Get("/api/v1/books", kGzip));
    EXPECT_EQ(patient.Receive().headers.at("content-encoding"), "gzip");
    answered = true;
  });
  const auto being_made = [] { return Gauged("http_long_answers") == 1; };
  Client quick(port());
  int meanwhile = 0;
  while (!answered) {
    const bool before = being_made();
    quick.Send(Get("/healthz"));
    ASSERT_EQ(quick.Receive().status, 200);
    if (before && being_made()) ++meanwhile;
  }
  // Not one, were it made where everybody is served: it would be there before the next answer.
  EXPECT_GE(meanwhile, 3);
}

TEST_F(GatewayTest, CompressionCanBeSwitchedOff) {
  settings_.gzip = false;
  const Response response = Exchange(Get("/api/v1/books/5000", kGzip));
  EXPECT_THAT(response.headers, Not(Contains(Key("content-encoding"))));
  EXPECT_THAT(response.headers, Not(Contains(Key("vary"))));
}

TEST_F(GatewayTest, ACompressedRequestIsRefused) {
  const Response response =
      Exchange(Post("/api/v1/books", "{}",
                    User() + "Content-Type: application/json\r\nContent-Encoding: gzip\r\n"));
  EXPECT_EQ(response.status, 415);
  EXPECT_EQ(response.text("/error/details/0/field"), "Content-Encoding");
  EXPECT_EQ(response.headers.at("accept-encoding"), "identity");
  EXPECT_EQ(library_.created, 0);
}

// Metrics.

// A path that the template takes, with something else in the place of each variable.
std::string Filled(const std::string& path_template, const std::string& value) {
  std::string path = path_template;
  for (size_t open = path.find('{'); open != std::string::npos; open = path.find('{', open)) {
    path.replace(open, path.find('}', open) - open + 1, value);
  }
  return path;
}

TEST_F(GatewayTest, EveryRouteIsCountedUnderLabelsThatNoClientChooses) {
  Services services = DeclaredServices();
  std::erase(services, Declared("shop.testing.v1.ForgetfulService"));
  std::erase(services, Declared("shop.testing.v1.IndiscreetService"));
  for (const auto* service : services) {
    settings_.addresses.try_emplace(ProcessOf(*service), "127.0.0.1:1");
  }
  settings_.request_timeout = milliseconds(200);
  gateway_ = std::make_unique<Gateway>(settings_, services, tokens_);
  server_ = std::make_unique<HttpServer>(http_, *gateway_);

  std::set<std::string> templates{"none"};
  std::set<std::pair<std::string, std::string>> routes;
  Client client(port());
  const auto ask = [&](const std::string& method, const std::string& target) {
    client.Send(Get(target, "", method));
    ASSERT_NE(client.Receive(method != "HEAD").status, 0) << method << ' ' << target;
  };
  for (const auto* service : services) {
    for (int i = 0; i < service->method_count(); ++i) {
      const auto* method = service->method(i);
      if (method->server_streaming() || method->client_streaming()) continue;
      for (const HttpBinding& http : HttpBindings(*method)) {
        templates.insert(http.path_template);
        routes.emplace(http.path_template, http.method);
        for (const char* value : {"7", "unlikely-6f1a", "%27%20OR%201=1", "%2e%2e%2F"}) {
          const std::string path = Filled(http.path_template, value);
          ask(http.method, path + "?unlikely=6f1a");
          ask("HEAD", path);
          ask("UNLIKELY", path);
        }
      }
    }
  }
  for (const char* target :
       {"/unlikely-6f1a", "/", "//", "*", "/%zz", "/api/v1/unlikely-6f1a/7", "/healthz", "/readyz",
        "/healthz/unlikely-6f1a", "http://unlikely/x"}) {
    for (const char* method : {"GET", "POST", "OPTIONS", "UNLIKELY", "get", "G!"}) {
      ask(method, target);
    }
  }
  Exchange("nonsense\r\n\r\n");
  Exchange(Get("/" + std::string(20'000, 'x')));

  std::set<std::pair<std::string, std::string>> counted;
  std::set<std::string> timed;
  for (const auto& family : Metrics().Collect()) {
    if (!family.name.starts_with("http_request")) continue;
    for (const auto& metric : family.metric) {
      std::map<std::string, std::string> labels;
      for (const auto& label : metric.label) labels[label.name] = label.value;
      if (family.name == "http_requests_total") {
        EXPECT_THAT(labels, UnorderedElementsAre(Key("route"), Key("method"), Key("status")));
        EXPECT_THAT(labels["status"], MatchesRegex("[1-5][0-9][0-9]"));
        EXPECT_THAT(labels["method"],
                    AnyOf("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"));
        if (metric.counter.value > 0) counted.emplace(labels["route"], labels["method"]);
      } else if (family.name == "http_request_duration_seconds") {
        EXPECT_THAT(labels, ElementsAre(Key("route")));
        if (metric.histogram.sample_count > 0) timed.insert(labels["route"]);
      } else {
        EXPECT_THAT(labels, IsEmpty()) << family.name;
        continue;
      }
      EXPECT_THAT(templates, Contains(labels["route"]));
    }
  }
  EXPECT_THAT(counted, IsSupersetOf(routes));
  EXPECT_THAT(counted, IsSupersetOf({std::pair<std::string, std::string>("none", "other"),
                                     {"none", "GET"}}));
  EXPECT_THAT(timed, ElementsAreArray(templates));
}

// Browsers.

TEST_F(GatewayTest, APreflightIsAnswered) {
  const Response response =
      Exchange(Get("/api/v1/books",
                   "Origin: https://a.example\r\nAccess-Control-Request-Method: POST\r\n"
                   "Access-Control-Request-Headers: authorization\r\n",
                   "OPTIONS"));
  EXPECT_EQ(response.status, 204);
  EXPECT_EQ(response.headers.at("access-control-allow-origin"), "*");
  EXPECT_EQ(response.headers.at("access-control-allow-methods"), "GET, HEAD, POST, OPTIONS");
  EXPECT_THAT(response.headers.at("access-control-allow-headers"),
              AllOf(HasSubstr("Authorization"), HasSubstr("Idempotency-Key"), HasSubstr("If-Match"),
                    HasSubstr("If-None-Match")));
}

TEST_F(GatewayTest, EveryAnswerSaysWhoMayReadIt) {
  const std::string origin = "Origin: https://a.example\r\n";
  const Response response = Exchange(Get("/api/v1/books/1", origin));
  EXPECT_EQ(response.headers.at("access-control-allow-origin"), "*");
  EXPECT_THAT(response.headers.at("access-control-expose-headers"), HasSubstr("ETag"));
  EXPECT_EQ(Exchange(Get("/nothing", origin)).headers.at("access-control-allow-origin"), "*");
  EXPECT_THAT(Exchange(Get("/api/v1/books/1")).headers,
              Not(Contains(Key("access-control-allow-origin"))));
}

TEST_F(GatewayTest, OnlyTheListedOriginsMayReadWhereThereIsAList) {
  settings_.cors_origins = {"https://a.example", "https://b.example"};
  const Response listed = Exchange(Get("/api/v1/books/1", "Origin: https://b.example\r\n"));
  EXPECT_EQ(listed.headers.at("access-control-allow-origin"), "https://b.example");
  EXPECT_EQ(listed.headers.at("vary"), "Accept-Encoding, Origin");
  const Response other = Exchange(Get("/api/v1/books/1", "Origin: https://c.example\r\n"));
  EXPECT_THAT(other.headers, Not(Contains(Key("access-control-allow-origin"))));
}

// The start.

TEST(Start, StopsAtAMethodThatDoesNotSayWhoMayCallIt) {
  auth::TokenVerifier tokens([] { return std::vector<auth::PublicKey>(); });
  Gateway::Settings settings;
  settings.addresses["testing"] = "127.0.0.1:1";
  const auto* service = Declared("shop.testing.v1.ForgetfulService");
  EXPECT_THROW(Gateway(settings, {service}, tokens), std::logic_error);
}

TEST(Start, KnowsEveryServiceOfThePlatform) {
  std::vector<std::string> processes;
  for (const auto* service : DeclaredServices()) processes.push_back(ProcessOf(*service));
  for (const char* process :
       {"auth", "users", "products", "cart", "orders", "shipping", "testing"}) {
    EXPECT_THAT(processes, Contains(process));
  }
}

TEST(Start, EveryServiceOfThePlatformCanBeRouted) {
  Services services = DeclaredServices();
  std::erase_if(services, [](const auto* service) { return ProcessOf(*service) == "testing"; });
  Env env([](const std::string&) { return std::nullopt; });
  auth::TokenVerifier tokens([] { return std::vector<auth::PublicKey>(); });
  EXPECT_NO_THROW(Gateway(Gateway::Settings::Read(env, services), services, tokens));
  EXPECT_THAT(env.problems(), IsEmpty());
}

TEST(Start, ReadsItsSettings) {
  std::map<std::string, std::string> values{
      {"REQUEST_TIMEOUT_MS", "2500"},
      {"CORS_ALLOWED_ORIGINS", "https://a.example/, http://b"},
      {"TESTING_ADDR", "books:1"},
      {"HTTP_MAX_IN_FLIGHT", "50"},
      {"HTTP_GZIP", "off"},
      {"HTTP_DRAIN_DELAY_MS", "1500"},
      {"GATEWAY_PORT", "4000"},
      {"GATEWAY_THREADS", "3"},
      {"HTTP_MAX_BODY_BYTES", "2000"},
      {"HTTP_MAX_BUFFERED_BYTES", "90000"},
      {"HTTP_MAX_BUFFERED_BYTES_PER_CLIENT", "4000"},
      {"HTTP_MAX_CONNECTIONS", "70"},
      {"HTTP_MAX_CONNECTIONS_PER_CLIENT", "7"}};
  Env env([&](const std::string& name) -> std::optional<std::string> {
    const auto found = values.find(name);
    return found == values.end() ? std::nullopt : std::optional(found->second);
  });
  const auto* service = Declared("shop.testing.v1.LibraryService");
  const auto settings = Gateway::Settings::Read(env, {service});
  EXPECT_EQ(settings.request_timeout, milliseconds(2500));
  EXPECT_THAT(settings.cors_origins, ElementsAre("https://a.example", "http://b"));
  EXPECT_EQ(settings.addresses.at("testing"), "books:1");
  EXPECT_EQ(settings.max_in_flight, 50);
  EXPECT_FALSE(settings.gzip);
  const auto http = HttpServer::Settings::Read(env);
  EXPECT_EQ(http.port, 4000);
  EXPECT_EQ(http.threads, 3);
  EXPECT_EQ(http.drain_delay, milliseconds(1500));
  EXPECT_EQ(http.max_body_bytes, 2000);
  EXPECT_EQ(http.max_buffered_bytes, 90000);
  EXPECT_EQ(http.max_buffered_bytes_per_client, 4000);
  EXPECT_EQ(http.max_connections, 70);
  EXPECT_EQ(http.max_connections_per_client, 7);
  EXPECT_THAT(env.problems(), IsEmpty());
  values["CORS_ALLOWED_ORIGINS"] = "a.example";
  Gateway::Settings::Read(env, {service});
  EXPECT_THAT(env.problems(), ElementsAre(StartsWith("CORS_ALLOWED_ORIGINS")));
}

TEST(Start, TheLimitsOfBytesHaveToTakeOneBody) {
  std::map<std::string, std::string> values{{"HTTP_MAX_BODY_BYTES", "50000000"}};
  Env env([&](const std::string& name) -> std::optional<std::string> {
    const auto found = values.find(name);
    return found == values.end() ? std::nullopt : std::optional(found->second);
  });
  EXPECT_EQ(HttpServer::Settings::Read(env).max_buffered_bytes_per_client, 50'000'000)
      << "by default they do";
  EXPECT_THAT(env.problems(), IsEmpty());
  values["HTTP_MAX_BUFFERED_BYTES"] = "40000000";
  values["HTTP_MAX_BUFFERED_BYTES_PER_CLIENT"] = "30000000";
  HttpServer::Settings::Read(env);
  EXPECT_THAT(env.problems(), ElementsAre(StartsWith("HTTP_MAX_BUFFERED_BYTES "),
                                          StartsWith("HTTP_MAX_BUFFERED_BYTES_PER_CLIENT ")));
}

}  // namespace
}  // namespace shop::gateway
