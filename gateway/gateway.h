// From an HTTP request to its answer: route, caller, access, request message, rpc, envelope.
//
// Everything is worked out at the start from the descriptors of the declared services: routes from
// google.api.http, who may call from shop.api.v1.access, the answer's form from shop.api.v1.answer.
// Nothing here is about any one service. Besides the routes it answers /healthz, /readyz, what was
// published, OPTIONS and CORS preflights.
//
// A 200 to GET or HEAD has an entity tag and heeds If-None-Match and If-Match; so has the answer to
// a PUT or PATCH that shows what GET of the same path would, with the version that a later If-Match
// means. The service decides about If-Match on changes; a method without a field for it ignores it.
// Bodies of 1 KB and more are compressed for clients that accept gzip.
//
// Route, method, the body's declared length, token, access and what the header says of the body's
// form are judged before any of the body is read, so that what is refused costs no memory.
//
// Thread-safe. No thread waits for a service, and none of the caller's threads for a token's check.
// Counts http_requests_total{route,method,status}, http_request_duration_seconds{route},
// http_requests_shed_total and http_requests_in_flight; `route` is a path template or "none", so
// that clients cannot make up labels.
#pragma once

#include <google/protobuf/descriptor.h>

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "common/auth/access_token.h"
#include "common/core/env.h"
#include "gateway/http/message.h"

namespace shop::gateway {

class ResponseCache;

using Services = std::vector<const google::protobuf::ServiceDescriptor*>;

// Every service of a package under shop. that is linked into this process.
Services DeclaredServices();

// The second part of the service's package: shop.orders.v1 is "orders". It names the address.
std::string ProcessOf(const google::protobuf::ServiceDescriptor& service);

class Gateway {
 public:
  struct Settings {
    // How long a request may take. Clients may ask for less with Request-Timeout (seconds) or
    // Grpc-Timeout, never for more.
    std::chrono::milliseconds request_timeout{10000};
    // How long answers that may be kept are given again (ResponseCache); 0 keeps none.
    std::chrono::milliseconds answer_life{0};
    // Who may read answers in a browser: origins, or "*" for everybody.
    std::vector<std::string> cors_origins{"*"};
    // How many requests may be answered at once. More get a 503 with Retry-After without anything
    // being done for them, probes apart: late answers to everybody are of no use to anybody. While
    // its body is on its way a request does not count.
    size_t max_in_flight = 1000;
    // Whether answers are compressed for clients that accept it.
    bool gzip = true;
    std::map<std::string, std::string> addresses;  // by ProcessOf

    // REQUEST_TIMEOUT_MS, ANSWER_CACHE_MS (default 1000), CORS_ALLOWED_ORIGINS (comma-separated,
    // default *), HTTP_MAX_IN_FLIGHT, HTTP_GZIP, <SERVICE>_ADDR.
    static Settings Read(Env& env, const Services& services);
  };

  // Throws std::logic_error for a method without a usable access option or with an HTTP binding
  // that does not fit it. Streaming methods are left out. `tokens` has to outlive the gateway.
  Gateway(const Settings& settings, const Services& services, auth::TokenVerifier& tokens);
  // No request may be running any more.
  ~Gateway();

  // Answers GET of `path` with this from now on. Before the first request alone.
  void Publish(const std::string& path, std::string content_type, std::string body);

  // Answers `request`, whatever it is; it and `body`, which fills it, have to live until then.
  // Status 0: the client has gone, and nobody is to be answered.
  boost::asio::awaitable<HttpResponse> Handle(const HttpRequest& request, BodyReader& body);

  // The answer to what could not be read as a request: counted, logged and shaped like any other.
  HttpResponse Reject(const HttpRequest& request, const HttpFault& fault);

  // What is kept of answers, to be told of changes under these tags.
  ResponseCache& answers();
  std::set<std::string> cache_tags() const;

  // Whether it should get requests: it has had the keys that tokens are checked with, and reaches
  // at least one service. Calls of a service that is away are answered 503, and one absent service
  // must not take the others from the network. /readyz says the same, and names who is missing.
  // Until it is told to stop.
  bool Ready() const;
  // Whether this process, by its name in the settings' addresses, is there.
  bool Reaches(const std::string& process) const;
  // /readyz says no from here on.
  void Stop();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shop::gateway
