#include "gateway/testing/fixture.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <thread>
#include <utility>

#include "common/rpc/status.h"
#include "common/telemetry/metrics.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace shop::gateway {

namespace api = shop::testing::v1;
using std::chrono::milliseconds;

constexpr int64_t kVersion = 3;

grpc::Status Library::GetBook(grpc::ServerContext* context, const api::GetBookRequest* request,
                              api::Book* response) {
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

grpc::Status Library::ListBooks(grpc::ServerContext*, const api::ListBooksRequest* request,
                                api::ListBooksResponse* response) {
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

grpc::Status Library::CreateBook(grpc::ServerContext*, const api::CreateBookRequest* request,
                                 api::Book* response) {
  ++created;
  response->set_id(static_cast<int64_t>(request->title().size()));
  response->set_title(request->title() + request->key());
  response->set_price(request->price());
  return grpc::Status::OK;
}

grpc::Status Library::UpdateBook(grpc::ServerContext*, const api::UpdateBookRequest* request,
                                 api::Book* response) {
  const auto& versions = request->if_match();
  if (!versions.empty() &&
      std::find(versions.begin(), versions.end(), kVersion) == versions.end()) {
    return rpc::ToStatus({Code::kAborted, "it has changed", {}, "VERSION_CHANGED"});
  }
  ++updated;
  *response = request->book();
  return grpc::Status::OK;
}

grpc::Status Library::DeleteBook(grpc::ServerContext*, const api::GetBookRequest*,
                                 google::protobuf::Empty*) {
  return grpc::Status::OK;
}

grpc::Status Library::Fail(grpc::ServerContext*, const api::FailRequest* request,
                           google::protobuf::Empty*) {
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

grpc::Status Library::Wait(grpc::ServerContext* context, const google::protobuf::Empty*,
                           google::protobuf::Empty*) {
  ++waiting;
  while (!context->IsCancelled() && !release) std::this_thread::sleep_for(milliseconds(5));
  --waiting;
  return grpc::Status::OK;
}

grpc::Status Library::Echo(grpc::ServerContext* context, const google::protobuf::Empty*,
                           api::EchoResponse* response) {
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
}

Client::~Client() {
  ::close(socket_);
}

bool Client::Send(std::string_view text) {
  while (!text.empty()) {
    const ssize_t sent = ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL);
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

bool Client::HasMore() const {
  char byte = 0;
  return !buffer_.empty() || ::recv(socket_, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

bool Client::More() {
  char bytes[65536];
  const ssize_t got = ::recv(socket_, bytes, sizeof bytes, 0);
  if (got <= 0) {
    ended_ = got == 0 || errno == ECONNRESET;
    return false;
  }
  buffer_.append(bytes, static_cast<size_t>(got));
  return true;
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

}  // namespace shop::gateway
