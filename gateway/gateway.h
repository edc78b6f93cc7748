// The way of an HTTP request to its response: route, caller, access, request message, rpc, envelope.
//
// Everything follows, at the start, from the descriptors of the declared services: routes from
// google.api.http, who may call from shop.api.v1.access, the response's form from
// shop.api.v1.answer. Nothing here is about any one service. Besides the routes it answers
// /healthz, /readyz, published documents, OPTIONS and CORS preflights.
//
// A 200 to GET or HEAD has an entity tag and obeys If-None-Match and If-Match. The response to a
// PUT or PATCH that shows what GET of the same path would has one too, with the version that a
// later If-Match names. About If-Match on changes the service decides; a method without a field for
// it ignores it. Bodies of 1 KB and more are compressed for clients that accept gzip.
//
// Route, method, the body's declared length, token, access, and the body's form as the header has
// it are checked before any of the body is read, so that a refused request costs no memory.
//
// An answer that a service gives again to a repeated request (metadata `idempotent-replayed`) has the
// header `Idempotent-Replayed: true`.
//
// A request that is beyond its client's quota gets a 429; each response to a route says what is left.
//
// A method that streams its responses answers with events (gateway/streaming/transport.h). What is
// refused before the first event is answered like any other request.
//
// Thread-safe. No thread waits for a service, and none of the caller's threads checks signatures.
// Counts http_requests_total{route,method,status}, http_request_duration_seconds{route},
// http_requests_shed_total and http_requests_in_flight; `route` is a path template or "none", so
// that clients cannot make up labels.
#pragma once

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
#include "common/rpc/tls.h"
#include "gateway/http/cors.h"
#include "gateway/http/hosts.h"
#include "gateway/http/message.h"
#include "gateway/limits/client_address.h"
#include "gateway/limits/rate_limits.h"
#include "gateway/services.h"

namespace shop::gateway {

class ResponseCache;

class Gateway {
 public:
  struct Settings {
    // How long a request may take. Clients may ask for less with Request-Timeout (seconds) or
    // Grpc-Timeout, never for more.
    std::chrono::milliseconds request_timeout{10000};
    // How old a cached response may be (gateway/cache/response_cache.h); 0 caches none.
    std::chrono::milliseconds cache_max_age{0};
    // Whose pages may read responses in a browser: origins, none, or "*" for everybody's.
    CorsOrigins cors_origins;
    // Which names requests may be for (gateway/http/hosts.h); requests for others get a 421.
    Hosts hosts{"localhost"};
    // How many requests may be answered at once. More get a 503 with Retry-After at once, except
    // probes: late answers to everybody are of no use to anybody. A request does not count while
    // its body is on its way.
    size_t max_in_flight = 1000;
    size_t max_streams_per_user = 100;
    // How much a client may ask for in a minute, and whose word counts for who the client is.
    RateLimits::Settings rate;
    TrustedProxies proxies;
    // For how long browsers that have come by HTTPS are to come by nothing else (RFC 6797); 0 says nothing.
    std::chrono::seconds hsts{0};
    // Whether responses are compressed for clients that accept it.
    bool gzip = true;
    std::map<std::string, std::string> addresses;  // by ProcessOf

    // REQUEST_TIMEOUT_MS, ANSWER_CACHE_MS (default 1000), CORS_ALLOWED_ORIGINS and
    // HTTP_ALLOWED_HOSTS (comma-separated), HTTP_MAX_IN_FLIGHT, HTTP_MAX_STREAMS_PER_USER, HTTP_HSTS_SECONDS, HTTP_GZIP,
    // HTTP_TRUSTED_PROXIES (comma-separated addresses and networks), RATE_LIMIT_ENABLED and so on, <SERVICE>_ADDR.
    static Settings Read(Env& env, const Services& services);
  };

  // Throws std::logic_error for a method without a usable access option or with an HTTP binding
  // that does not fit it. `tokens` has to outlive the gateway. `tls` is for the calls of services.
  Gateway(const Settings& settings, const Services& services, auth::TokenVerifier& tokens,
          const rpc::Tls& tls = {});
  // No request may be running any more.
  ~Gateway();

  // Publishes a document: GET of `path` answers it, with these headers (whole lines) besides. Only
  // before the first request. `content_type` has to outlive the gateway.
  void Publish(const std::string& path, std::string_view content_type, std::string body,
               std::string headers = {});

  // The response to `request`, whatever that is; it and `body`, which reads its body, have to live
  // until then. Status 0: the client has gone, and nobody is to be answered.
  boost::asio::awaitable<HttpResponse> Handle(const HttpRequest& request, BodyReader& body);

  // The response to what could not be read as a request: counted, logged and in the same form as
  // any other.
  HttpResponse Reject(const HttpRequest& request, const HttpFault& fault);

  // The cached responses, and the tags whose changes have to be told to the cache.
  ResponseCache& cache();
  // What clients have taken of their quotas, to be shared with other gateways.
  RateLimits& rate_limits();
  std::set<std::string> cache_tags() const;

  // Whether it should get requests, which /readyz says too, naming what is missing: the keys that
  // tokens are checked with have been fetched, at least one service is reachable, and Stop was not
  // called. One service is enough because calls of any other are answered 503, which is better than
  // an end of all of them.
  bool Ready() const;
  // Whether this process, by its name in the settings' addresses, is reachable.
  bool Reaches(const std::string& process) const;
  // Not ready from here on.
  void Stop();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shop::gateway
