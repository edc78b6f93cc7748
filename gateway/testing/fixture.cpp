#include "gateway/testing/fixture.h"

#include <arpa/inet.h>
#include <grpcpp/grpcpp.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cctype>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <thread>
#include <utility>

#include "common/rpc/status.h"
#include "common/telemetry/metrics.h"
#include "common/testing/servers.h"
#include "gateway/testing/library.grpc.pb.h"

namespace shop::gateway {

namespace api = shop::testing::v1;
using std::chrono::milliseconds;

constexpr int64_t kVersion = 3;

// Answers for the library.
class Library::Service final : public api::LibraryService::Service {
 public:
  explicit Service(Library& library) : library_(library) {}

  grpc::Status GetBook(grpc::ServerContext* context, const api::GetBookRequest* request,
                       api::Book* response) override {
    const int number = ++library_.read;
    if (context->client_metadata().contains("authorization")) ++library_.with_token;
    while (library_.IsOnHold(number) && !library_.release) {
      if (context->IsCancelled()) {
        ++library_.cancelled;
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
    ++library_.read;
    response->set_request(request->ShortDebugString());
    for (int64_t id = 0; id < library_.books_in_list; ++id) {
      api::Book& book = *response->add_items();
      book.set_id(id);
      book.set_title("Title");
      book.set_price(4999);
      book.set_genre(api::GENRE_POETRY);
      book.set_shelf(std::to_string(id * 7919));
    }
    return grpc::Status::OK;
  }
  grpc::Status CreateBook(grpc::ServerContext* context, const api::CreateBookRequest* request,
                          api::Book* response) override {
    if (request->key() == "repeated") context->AddTrailingMetadata("idempotent-replayed", "true");
    ++library_.created;
    if (request->title() == "Secret") return grpc::Status::OK;
    response->set_id(static_cast<int64_t>(request->title().size()));
    response->set_title(request->title() + request->key());
    // An answer without anything in it has a status of its own.
    if (response->title().empty()) response->set_title("Untitled");
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
    ++library_.updated;
    *response = request->book();
    return grpc::Status::OK;
  }
  grpc::Status DeleteBook(grpc::ServerContext*, const api::GetBookRequest*,
                          google::protobuf::Empty*) override {
    return grpc::Status::OK;
  }
  grpc::Status ReceiveLetter(grpc::ServerContext*, const api::ReceiveLetterRequest* request,
                             api::ListBooksResponse* response) override {
    response->set_request(request->ShortDebugString());
    return grpc::Status::OK;
  }
  grpc::Status Fail(grpc::ServerContext*, const api::FailRequest* request,
                    google::protobuf::Empty*) override {
    Refusal refusal{static_cast<Code>(request->code()), request->message(), {}, request->reason()};
    for (const std::string& field : request->fields()) refusal.details.push_back({field, "is bad"});
    refusal.retry_after = request->retry_after();
    return rpc::ToStatus(refusal);
  }
  grpc::Status Wait(grpc::ServerContext* context, const google::protobuf::Empty*,
                    google::protobuf::Empty*) override {
    ++library_.waiting;
    while (!context->IsCancelled() && !library_.release)
      std::this_thread::sleep_for(milliseconds(5));
    --library_.waiting;
    return grpc::Status::OK;
  }
  grpc::Status Watch(grpc::ServerContext* context, const api::WatchRequest* request,
                     grpc::ServerWriter<api::BookChange>* writer) override {
    if (request->id() == 404) return {grpc::StatusCode::NOT_FOUND, "no such book"};
    writer->SendInitialMetadata();
    ++library_.streams;
    auto shown = static_cast<size_t>(request->last_event_id());
    const auto next = [&] {
      const std::lock_guard lock(library_.mutex_);
      return shown < library_.changes_.size() ? library_.changes_[shown] : std::string();
    };
    grpc::Status end = grpc::Status::CANCELLED;
    while (!context->IsCancelled() && !library_.release) {
      if (const std::string what = next(); !what.empty()) {
        api::BookChange change;
        change.set_seq(static_cast<int64_t>(++shown));
        change.set_what(what);
        change.set_price(4999);
        if (!writer->Write(change)) break;
        ++library_.messages_sent;
      } else if (const int code = library_.end_code_; code >= 0) {
        end = grpc::Status(static_cast<grpc::StatusCode>(code), "it is over");
        break;
      } else {
        std::this_thread::sleep_for(milliseconds(5));
      }
    }
    --library_.streams;
    return end;
  }
  grpc::Status WatchMine(grpc::ServerContext* context, const api::WatchRequest* request,
                         grpc::ServerWriter<api::BookChange>* writer) override {
    return Watch(context, request, writer);
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

 private:
  Library& library_;
};

Library::Library() : service_(std::make_unique<Service>(*this)) {}

Library::~Library() {
  release = true;
  Stop();
}

void Library::Start() {
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:" + std::to_string(port_), grpc::InsecureServerCredentials(),
                           &port_);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  if (connection_age.count() > 0) {
    builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS,
                               static_cast<int>(connection_age.count()));
  }
  builder.RegisterService(service_.get());
  server_ = builder.BuildAndStart();
  ASSERT_NE(server_, nullptr);
}

void Library::Stop() {
  if (server_) server_->Shutdown(std::chrono::system_clock::now());
  server_.reset();
}

void Library::Hold(std::set<int> numbers) {
  const std::lock_guard lock(mutex_);
  on_hold_ = std::move(numbers);
}

void Library::Change(std::string what) {
  const std::lock_guard lock(mutex_);
  changes_.push_back(std::move(what));
}

void Library::LetGo(int number) {
  const std::lock_guard lock(mutex_);
  on_hold_.erase(number);
}

bool Library::IsOnHold(int number) {
  const std::lock_guard lock(mutex_);
  return on_hold_.contains(number);
}

std::string Response::text(const char* pointer) const {
  const boost::json::value json = boost::json::parse(body);
  const boost::json::value& value = json.at_pointer(pointer);
  return value.is_string() ? std::string(value.as_string()) : boost::json::serialize(value);
}

Client::Client(uint16_t port, uint32_t host) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
  timeval limit{10, 0};
  setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK - 1 + host);
  if (host != 1) bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address);
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  connected_ = ::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  if (connected_ && OverHttps()) connected_ = StartTls();
}

Client::~Client() {
  SSL_free(tls_);
  ::close(socket_);
}

bool Client::StartTls() {
  std::signal(SIGPIPE, SIG_IGN);  // SSL_write has no MSG_NOSIGNAL
  static SSL_CTX* const context = [] {
    SSL_CTX* made = SSL_CTX_new(TLS_client_method());
    SSL_CTX_load_verify_file(made, NewCertificate().ca.c_str());
    SSL_CTX_set_verify(made, SSL_VERIFY_PEER, nullptr);
    return made;
  }();
  tls_ = SSL_new(context);
  SSL_set_fd(tls_, socket_);
  SSL_set1_host(tls_, "shop");
  return SSL_connect(tls_) == 1;
}

bool Client::WasToldOfTheEnd() {
  return Ended() && (tls_ == nullptr || (SSL_get_shutdown(tls_) & SSL_RECEIVED_SHUTDOWN) != 0);
}

bool Client::Send(std::string_view text) {
  while (!text.empty()) {
    const ssize_t sent = tls_ ? SSL_write(tls_, text.data(), static_cast<int>(text.size()))
                              : ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    text.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

Response Client::Receive(bool with_body) {
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

std::string Client::ReceiveUntil(std::string_view end) {
  size_t at = 0;
  while ((at = buffer_.find(end)) == std::string::npos) {
    if (!More()) return std::exchange(buffer_, {});
  }
  std::string text = buffer_.substr(0, at + end.size());
  buffer_.erase(0, at + end.size());
  return text;
}

bool Client::HasMore() const {
  char byte = 0;
  return !buffer_.empty() || ::recv(socket_, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

bool Client::More() {
  char bytes[65536];
  errno = 0;
  const ssize_t got =
      tls_ ? SSL_read(tls_, bytes, sizeof bytes) : ::recv(socket_, bytes, sizeof bytes, 0);
  if (got <= 0) {
    ended_ = tls_ ? errno != EAGAIN : got == 0 || errno == ECONNRESET;
    return false;
  }
  buffer_.append(bytes, static_cast<size_t>(got));
  return true;
}

bool OverHttps() {
  return std::getenv("SHOP_TEST_HTTPS") != nullptr;
}

TlsFiles NewCertificate() {
  static shop::testing::Authority authority;
  return authority.Issue("shop");
}

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

double Counted(const std::string& name) {
  for (const auto& family : Metrics().Collect()) {
    if (family.name == name) return family.metric.at(0).counter.value;
  }
  return -1;
}

std::string Head(const std::string& target, const std::string& headers, const std::string& method) {
  return method + " " + target + " HTTP/1.1\r\nHost: shop\r\n" + headers + "\r\n";
}

GatewayTest::GatewayTest() : signer_(PrivateKey()) {
  library_.Start();
  settings_.hosts = {"shop"};
  settings_.addresses["testing"] = library_.address();
  if (OverHttps()) http_.tls = NewCertificate();
}

GatewayTest::~GatewayTest() {
  library_.release = true;
  server_.reset();
  gateway_.reset();
}

void GatewayTest::Start() {
  Start({Declared("shop.testing.v1.LibraryService")}, tokens_);
  ASSERT_TRUE(shop::testing::Eventually(
      [this] { return gateway_->Reaches("testing") && (keys_away_ || gateway_->Ready()); }));
}

void GatewayTest::Start(const Services& services, auth::TokenVerifier& tokens) {
  gateway_ = std::make_unique<Gateway>(settings_, services, tokens);
  server_ = std::make_unique<HttpServer>(http_, *gateway_);
}

uint16_t GatewayTest::port() {
  if (!server_) Start();
  return server_->port();
}

Response GatewayTest::Exchange(const std::string& request) {
  Client client(port());
  client.Send(request);
  return client.Receive(!request.starts_with("HEAD"));
}

std::string GatewayTest::Get(const std::string& target, const std::string& headers,
                             const std::string& method) {
  return Head(target, headers, method);
}

std::string GatewayTest::Post(const std::string& target, const std::string& body,
                              const std::string& headers, const std::string& method) {
  return Head(target, headers + "Content-Length: " + std::to_string(body.size()) + "\r\n", method) +
         body;
}

std::string GatewayTest::Token(shop::api::v1::Role role, int64_t id) {
  return "Authorization: Bearer " + signer_.Sign(id, role, std::chrono::seconds(60)) + "\r\n";
}

}  // namespace shop::gateway
