// An HTTP request and its response, as the gateway sees them, independent of any HTTP library.
#pragma once

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/address.hpp>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace shop::gateway {

bool EqualsIgnoringCase(std::string_view a, std::string_view b);
// The parts between the separators, at least one.
std::vector<std::string_view> Split(std::string_view text, char separator);
// Without the spaces and tabs around it.
std::string_view Trim(std::string_view text);

struct HttpRequest {
  std::string_view method;
  std::string_view target;  // path and query, as they were sent
  std::string_view body;    // empty until it is read
  std::vector<std::pair<std::string_view, std::string_view>> headers;
  boost::asio::ip::address peer = {};  // whose connection it came on

  std::string_view path() const { return target.substr(0, target.find('?')); }
  std::string_view query() const {
    const size_t mark = target.find('?');
    return mark == std::string_view::npos ? std::string_view() : target.substr(mark + 1);
  }
  // The value of a header, "" when it was not sent; the first of several.
  std::string_view Header(std::string_view name) const;
};

// Why a request could not be read.
struct HttpFault {
  int status = 0;  // 0: it could; negative: the client has gone, and nobody is to be answered
  std::string_view code = {};
  std::string_view message = {};
};

// The body of a request. It is read only when it is needed, and takes no memory until then.
class BodyReader {
 public:
  virtual ~BodyReader() = default;

  // Whether the header says that there is one; it may turn out to be empty.
  virtual bool expected() const = 0;
  // 413 where the length that the header declares is too long.
  virtual HttpFault Declared() const = 0;
  // Reads it and sets the request's body, which lasts as long as the request. At most once.
  virtual boost::asio::awaitable<HttpFault> Read() = 0;
  // Makes the request's connection one of a stream, which has a limit of its own in the place of
  // that of connections; 429 or 503 where there is no room.
  virtual HttpFault BecomeStream() = 0;
};

// A body that many responses share, which may be in other threads. It is compressed once, when the first
// of them wants it so.
class SharedBody {
 public:
  explicit SharedBody(std::string plain) : plain_(std::move(plain)) {}
  SharedBody(std::string plain, std::string gzip)
      : plain_(std::move(plain)), gzip_(std::move(gzip)), compressed_(true) {}

  const std::string& plain() const { return plain_; }
  // The gzip form, once it is compressed.
  const std::string& gzip() const { return gzip_; }
  bool compressed() const { return compressed_; }
  // Waits for another thread that does it.
  void Compress() const;

 private:
  const std::string plain_;
  mutable std::string gzip_;
  mutable std::atomic<bool> compressed_ = false;
  mutable std::once_flag once_;
};

class EventSource;

struct HttpResponse {
  int status = 200;
  std::string headers = {};  // whole lines; Content-Type and Content-Length come from the server
  std::string body = {};
  bool close = false;  // whether the connection ends with it

  std::string_view content_type = "application/json";  // outlives the response
  std::string etag = {};                               // of the body before any coding, "" for none
  std::shared_ptr<const SharedBody> shared_body = {};  // instead of `body`
  bool gzip = false;                                   // whether the content is compressed
  std::shared_ptr<EventSource> stream = {};            // instead of a body: events, to their end
  bool websocket = false;                              // whether they go over a WebSocket,
  std::string subprotocol = {};                        // and its subprotocol, "" for none

  // The bytes of the body that is sent.
  std::string_view content() const {
    return !shared_body ? body : gzip ? shared_body->gzip() : shared_body->plain();
  }

  // `value` must hold no line break.
  void AddHeader(std::string_view name, std::string_view value) {
    headers.append(name).append(": ").append(value).append("\r\n");
  }
};

}  // namespace shop::gateway
