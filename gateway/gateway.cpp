#include "gateway/gateway.h"

#include <absl/cleanup/cleanup.h>
#include <google/protobuf/empty.pb.h>
#include <google/protobuf/message.h>

#include <atomic>
#include <boost/algorithm/string/join.hpp>
#include <boost/asio/this_coro.hpp>
#include <optional>
#include <utility>

#include "common/core/addresses.h"
#include "common/json/codec.h"
#include "common/rpc/access.h"
#include "common/telemetry/log.h"
#include "common/telemetry/metrics.h"
#include "gateway/authenticator.h"
#include "gateway/cache/response_cache.h"
#include "gateway/cache/shared_calls.h"
#include "gateway/envelope.h"
#include "gateway/http/conditional.h"
#include "gateway/http/gzip.h"
#include "gateway/http/request_headers.h"
#include "gateway/limits/client_limits.h"
#include "gateway/limits/user_streams.h"
#include "gateway/request_context.h"
#include "gateway/routing/endpoint.h"
#include "gateway/side_thread.h"
#include "gateway/streaming/event_source.h"
#include "gateway/streaming/stream_request.h"
#include "gateway/streaming/upgrade.h"
#include "gateway/upstream.h"

namespace shop::gateway {
namespace {

namespace asio = boost::asio;
using google::protobuf::Message;
using google::protobuf::ServiceDescriptor;

// Below it, compressing costs more than it saves on the wire: it all fits into one packet.
constexpr size_t kGzipFrom = 1024;
// From here on a response takes longer to make than others should wait for it, and is made in a
// thread of its own. Of a message, the memory it takes; of a body, its length.
constexpr size_t kLongMessage = 48 * 1024;
constexpr size_t kLongBody = 48 * 1024;

// What those that most responses have take, in bytes.
constexpr size_t kCommonHeaders = 256;
// How much of a path a span tells.
constexpr size_t kLongestPath = 200;

// A call of a service, and on whose behalf.
struct UpstreamCall {
  const Endpoint& endpoint;
  std::unique_ptr<Message> message;
  std::chrono::milliseconds timeout;
  std::string request_id;
  TraceContext trace;
  std::string token;  // "" where none is passed on
};

// What can be answered of a request whose path or method has no route.
HttpResponse WithoutRoute(const RequestContext& context, const Router::Found& found,
                          std::string_view allowed_headers) {
  if (found.malformed) {
    return ErrorResponse(context, 400, "INVALID_ARGUMENT",
                         "the path is not percent-encoded properly");
  }
  if (found.allow.empty()) {
    return ErrorResponse(context, 404, "NOT_FOUND", "there is nothing at this path");
  }
  if (context.request.method != "OPTIONS") {
    return MethodNotAllowed(context, found.allow, found.allow);
  }
  HttpResponse response{204};
  response.AddHeader("Allow", found.allow);
  AddPreflightHeaders(context.request, found.allow, allowed_headers, &response);
  return response;
}

Refusal TooManyRequests(int retry_after) {
  return {.code = Code::kResourceExhausted,
          .message = "too many requests, try again later",
          .retry_after = retry_after};
}

// Refuses a body whose header says that it is not JSON as it stands, or, where the body is raw, that
// it is not what its sender wrote.
std::optional<HttpResponse> RefuseMediaType(const RequestContext& context) {
  const HttpRequest& request = context.request;
  if (!context.endpoint->binding.has_raw_body() && !IsJson(request.Header("content-type"))) {
    return ErrorResponse(context, 415, "UNSUPPORTED_MEDIA_TYPE",
                         "the body has to be application/json in UTF-8");
  }
  const std::string_view coding = request.Header("content-encoding");
  if (coding.empty() || EqualsIgnoringCase(coding, "identity")) return std::nullopt;
  const std::vector<FieldViolation> details{{"Content-Encoding", "must not be given"}};
  HttpResponse response = ErrorResponse(context, 415, "UNSUPPORTED_MEDIA_TYPE",
                                        "the body has to come without a content coding", &details);
  response.AddHeader("Accept-Encoding", "identity");
  return response;
}

// With a shared body where responses are cached.
HttpResponse ResponseOf(const Endpoint& endpoint, const Message& answer) {
  if (endpoint.empty_status != 0 && answer.ByteSizeLong() == 0) {
    HttpResponse nothing{endpoint.empty_status};
    nothing.body = Envelope(endpoint.empty_status, google::protobuf::Empty());
    return nothing;
  }
  HttpResponse response{endpoint.status};
  if (endpoint.raw) {
    json::Write(answer, &response.body);
  } else {
    response.body = Envelope(endpoint.status, answer);
  }
  if (endpoint.has_etag) {
    response.etag = EntityTag(response.body, endpoint.versions.Read(answer));
  }
  if (!endpoint.cache_tag.empty()) {
    response.shared_body = std::make_shared<const SharedBody>(std::move(response.body));
    response.body.clear();
  }
  return response;
}

// Decides which form of the response is sent, and whether its body is; the tag is that of the form.
// Returns whether the body is still to be compressed.
bool ApplyConditionals(const RequestContext& context, bool may_gzip, HttpResponse* response) {
  const HttpRequest& request = context.request;
  bool gzip = may_gzip && response->content().size() >= kGzipFrom && AcceptsGzip(request);
  if (!response->etag.empty()) {
    if (gzip) response->etag = GzipTag(response->etag);
    if (IsRead(request.method)) {
      if (!MatchesIfMatch(request, response->etag)) {
        *response = RefusalResponse(context, {Code::kFailedPrecondition,
                                              "this is no longer what If-Match names",
                                              {},
                                              "VERSION_CHANGED"});
        gzip = false;
      } else if (MatchesIfNoneMatch(request, response->etag)) {
        response->status = 304;
        response->body.clear();
        response->shared_body.reset();
        gzip = false;
      }
    }
  }
  if (!response->etag.empty()) response->AddHeader("ETag", response->etag);
  response->gzip = gzip;
  if (gzip) response->AddHeader("Content-Encoding", "gzip");
  return gzip && !(response->shared_body && response->shared_body->compressed());
}

void AddCommonHeaders(const RequestContext& context, const Gateway::Settings& settings,
                      HttpResponse* response) {
  const Endpoint* endpoint = context.endpoint;
  response->headers.reserve(response->headers.size() + kCommonHeaders);
  response->AddHeader("X-Request-Id", context.request_id);
  AddRateHeaders(context.rate, &response->headers);
  // What a caller may see can be theirs alone; a public GET may be cached by anybody.
  if (endpoint != nullptr && (!endpoint->is_public || endpoint->stream_id != nullptr ||
                              context.token_sent || endpoint->http_method != "GET")) {
    response->AddHeader("Cache-Control", "no-store");
  }
  // Which responses are long enough to be compressed is not for a cache to know.
  const bool by_origin = VariesByOrigin(settings.cors_origins);
  if (settings.gzip) {
    response->AddHeader("Vary", by_origin ? "Accept-Encoding, Origin" : "Accept-Encoding");
  } else if (by_origin) {
    response->AddHeader("Vary", "Origin");
  }
  if (settings.hsts.count() > 0) {
    response->AddHeader("Strict-Transport-Security",
                        "max-age=" + std::to_string(settings.hsts.count()));
  }
  AddCorsHeaders(context.request, settings.cors_origins, response);
}

// What goes with the call of a service.
std::vector<std::pair<std::string, std::string>> MetadataOf(const std::string& request_id,
                                                            const TraceContext& trace,
                                                            std::string_view token) {
  std::vector<std::pair<std::string, std::string>> metadata{{"x-request-id", request_id},
                                                            {"traceparent", trace.Header()}};
  if (!token.empty()) metadata.emplace_back("authorization", "Bearer " + std::string(token));
  return metadata;
}

// The call of a service in its caller's trace.
void ExportCall(const Endpoint& endpoint, const TraceContext& parent, const TraceContext& own,
                std::chrono::system_clock::time_point begun,
                const std::optional<Refusal>& refusal) {
  const auto took = std::chrono::system_clock::now() - begun;
  const bool failed = refusal && StatusOf(*refusal) >= 500;
  if (!own.sampled && !traces::IsRemarkable(failed, took)) return;
  SpanRecord span{.kind = SpanKind::kClient,
                  .name = endpoint.path.substr(1),
                  .context = own,
                  .parent_span_id = parent.span_id,
                  .start = begun,
                  .duration = took,
                  .attributes = {{"rpc.system", "grpc"}},
                  .failed = failed};
  if (refusal) span.attributes.emplace_back("error.type", std::string(Name(refusal->code)));
  if (failed) span.error = refusal->message;
  traces::Export(std::move(span));
}

// https://opentelemetry.io/docs/specs/semconv/http/http-spans/
void ExportRequest(const RequestContext& context, int status, std::chrono::nanoseconds took) {
  const bool failed = status >= 500;
  if (!context.trace.sampled && !traces::IsRemarkable(failed, took)) return;
  const HttpRequest& request = context.request;
  const std::string method(request.method);
  SpanRecord span{.kind = SpanKind::kServer,
                  .name = method,
                  .context = context.trace,
                  .parent_span_id = context.client_span_id,
                  .start = std::chrono::system_clock::now() -
                           std::chrono::duration_cast<std::chrono::microseconds>(took),
                  .duration = took,
                  .attributes = {{"http.request.method", method},
                                 {"http.response.status_code", int64_t{status}},
                                 {"url.path", std::string(request.path().substr(0, kLongestPath))},
                                 {"shop.request.id", context.request_id}},
                  .failed = failed};
  if (context.endpoint != nullptr) {
    span.name += " " + context.endpoint->path_template;
    span.attributes.emplace_back("http.route", context.endpoint->path_template);
  }
  if (context.caller.user_id != 0) {
    span.attributes.emplace_back("user.id", std::to_string(context.caller.user_id));
  }
  traces::Export(std::move(span));
}

prometheus::Gauge& NewGauge(const char* name, const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(Metrics()).Add({});
}

}  // namespace

Gateway::Settings Gateway::Settings::Read(Env& env, const Services& services) {
  Settings settings;
  settings.request_timeout =
      std::chrono::milliseconds(env.Integer("REQUEST_TIMEOUT_MS", 10000, 1, 600000));
  settings.cache_max_age =
      std::chrono::milliseconds(env.Integer("ANSWER_CACHE_MS", 1000, 0, 60000));
  if (auto origins = ParseCorsOrigins(env.Text("CORS_ALLOWED_ORIGINS", ""))) {
    settings.cors_origins = *std::move(origins);
  } else {
    env.Wrong("CORS_ALLOWED_ORIGINS", "is neither * nor a list such as https://shop.example");
  }
  if (auto hosts = ParseHosts(env.Text("HTTP_ALLOWED_HOSTS", settings.hosts.front()))) {
    settings.hosts = *std::move(hosts);
  } else {
    env.Wrong("HTTP_ALLOWED_HOSTS", "is neither * nor a list of names such as shop.example");
  }
  settings.max_in_flight = static_cast<size_t>(
      env.Integer("HTTP_MAX_IN_FLIGHT", static_cast<int64_t>(settings.max_in_flight), 1, 1 << 20));
  settings.max_streams_per_user = static_cast<size_t>(
      env.Integer("HTTP_MAX_STREAMS_PER_USER", static_cast<int64_t>(settings.max_streams_per_user),
                  1, 1 << 20));
  settings.hsts = std::chrono::seconds(env.Integer("HTTP_HSTS_SECONDS", 0, 0, 315'360'000));
  settings.gzip = env.Flag("HTTP_GZIP", settings.gzip);
  settings.rate = RateLimits::Settings::Read(env);
  if (auto proxies = TrustedProxies::Parse(env.Text("HTTP_TRUSTED_PROXIES", ""))) {
    settings.proxies = *std::move(proxies);
  } else {
    env.Wrong("HTTP_TRUSTED_PROXIES", "is not a list of addresses and networks such as 10.0.0.0/8");
  }
  for (const ServiceDescriptor* service : services) {
    const std::string process = ProcessOf(*service);
    if (!settings.addresses.contains(process)) {
      settings.addresses.emplace(process, ServiceAddress(env, process));
    }
  }
  return settings;
}

struct Gateway::State {
  State(const Settings& settings, auth::TokenVerifier& tokens, const rpc::Tls& tls)
      : settings(settings),
        tokens(tokens),
        cache(settings.cache_max_age),
        shared_calls(cache),
        rates(settings.rate),
        user_streams(settings.max_streams_per_user),
        upstreams(tls) {}

  void BeginAnswer();
  void EndAnswer();
  asio::awaitable<HttpResponse> Respond(RequestContext& context, BodyReader& body);
  asio::awaitable<HttpResponse> CallEndpoint(RequestContext& context,
                                             const std::vector<std::string>& values,
                                             BodyReader& body);
  asio::awaitable<Result<void>> CheckCaller(RequestContext& context);
  RateKey AddressOf(const RequestContext& context) const;
  RateKey QuotaOf(const RequestContext& context) const;
  std::optional<HttpResponse> LimitRate(RequestContext& context, int64_t cost);
  asio::awaitable<std::optional<HttpResponse>> ReadBody(RequestContext& context, BodyReader& body);
  asio::awaitable<HttpResponse> CallService(const RequestContext& context,
                                            std::unique_ptr<Message> message);
  asio::awaitable<HttpResponse> OpenStream(const RequestContext& context,
                                           std::unique_ptr<Message> message, BodyReader& body);
  asio::awaitable<HttpResponse> ShareCall(const RequestContext& context, UpstreamCall call);
  asio::awaitable<UpstreamAnswer> Call(UpstreamCall call);
  template <typename Work>
  asio::awaitable<void> MakeAside(Work work);
  HttpResponse Readiness() const;
  HttpResponse Overloaded(const RequestContext& context);
  void CountAndLog(const RequestContext& context, int status);

  const Settings settings;
  auth::TokenVerifier& tokens;
  ResponseCache cache;
  SharedCalls shared_calls;
  RateLimits rates;
  UserStreams user_streams;
  Upstreams upstreams;
  std::map<std::string, size_t> upstream_numbers;  // by process
  RoutingTable routes;
  std::map<std::string, HttpResponse, std::less<>> documents;  // by path
  std::string allowed_headers;                                 // of a CORS preflight
  std::map<std::string, RouteMetrics, std::less<>> unrouted;   // by method
  prometheus::Gauge& in_flight_gauge =
      NewGauge("http_requests_in_flight", "Requests being answered.");
  prometheus::Gauge& long_answers_gauge =
      NewGauge("http_long_answers",
               "Long answers that are written or compressed, or wait for the thread that does so.");
  prometheus::Counter& shed = prometheus::BuildCounter()
                                  .Name("http_requests_shed_total")
                                  .Help("Requests refused because too many were being answered.")
                                  .Register(Metrics())
                                  .Add({});
  prometheus::Counter& user_streams_refused = LimitRefusals("user_streams");
  std::atomic<size_t> in_flight = 0;
  std::atomic<bool> stopping = false;
  // Destroyed first: what their threads run uses the rest.
  Authenticator authenticator{tokens};
  SideThread long_answers;
};

Gateway::Gateway(const Settings& settings, const Services& services, auth::TokenVerifier& tokens,
                 const rpc::Tls& tls)
    : state_(std::make_unique<State>(settings, tokens, tls)) {
  for (const ServiceDescriptor* service : services) {
    const std::string process = ProcessOf(*service);
    const auto [upstream, added] = state_->upstream_numbers.try_emplace(process);
    if (added) {
      upstream->second = state_->upstreams.Connect(process, settings.addresses.at(process));
    }
    for (int i = 0; i < service->method_count(); ++i) {
      state_->routes.Add(service->method(i), upstream->second);
    }
  }
  state_->routes.Complete();
  tokens.Prepare();
  std::set<std::string> headers{"Authorization", "Content-Type",    "Grpc-Timeout", "If-Match",
                                "If-None-Match", "Request-Timeout", "X-Request-Id", "traceparent"};
  headers.merge(state_->routes.headers());
  state_->allowed_headers = boost::algorithm::join(headers, ", ");
  for (const char* method : {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"}) {
    state_->unrouted.try_emplace(method, "none", method);
  }
}

Gateway::~Gateway() = default;

asio::awaitable<HttpResponse> Gateway::Handle(const HttpRequest& request, BodyReader& body) {
  RequestContext context(request);
  HttpResponse response;
  state_->BeginAnswer();  // a stream counts until it is open
  const absl::Cleanup end_answer = [this] { state_->EndAnswer(); };
  try {
    response = co_await state_->Respond(context, body);
    if (response.status == 0) co_return response;
    if (ApplyConditionals(context, state_->settings.gzip, &response)) {
      const auto compress = [&response] {
        if (response.shared_body) {
          response.shared_body->Compress();
        } else {
          response.body = Gzip(response.body);
        }
      };
      const size_t length =
          response.shared_body ? response.shared_body->plain().size() : response.body.size();
      if (length < kLongBody) {
        compress();
      } else {
        co_await state_->MakeAside(compress);
      }
    }
  } catch (const std::exception& error) {
    log::Error("cannot answer a request",
               {{"error", error.what()}, {"requestId", context.request_id}});
    response = RefusalResponse(context, {Code::kInternal, error.what()});
  }
  AddCommonHeaders(context, state_->settings, &response);
  state_->CountAndLog(context, response.status);
  co_return response;
}

HttpResponse Gateway::Reject(const HttpRequest& request, const HttpFault& fault) {
  const RequestContext context(request);
  HttpResponse response = FaultResponse(context, fault);
  AddCommonHeaders(context, state_->settings, &response);
  state_->CountAndLog(context, response.status);
  return response;
}

// A request is in flight while it is answered.
void Gateway::State::BeginAnswer() {
  ++in_flight;
  in_flight_gauge.Increment();
}

void Gateway::State::EndAnswer() {
  --in_flight;
  in_flight_gauge.Decrement();
}

// Finds what answers the request: a probe, a published document or the endpoint of its route.
asio::awaitable<HttpResponse> Gateway::State::Respond(RequestContext& context, BodyReader& body) {
  const HttpRequest& request = context.request;
  if (!IsServed(request.Header("host"), settings.hosts)) {
    co_return ErrorResponse(context, 421, "MISDIRECTED_REQUEST",
                            "the name in the Host header is not one that is served here");
  }
  const std::string_view path = request.path();
  if (path == "/healthz" || path == "/readyz") {
    if (!IsRead(request.method)) co_return MethodNotAllowed(context, "GET", "GET, HEAD");
    co_return path == "/readyz" ? Readiness() : HttpResponse{200, {}, R"({"status":"ok"})"};
  }
  if (in_flight > settings.max_in_flight) co_return Overloaded(context);
  if (const auto document = documents.find(path); document != documents.end()) {
    if (!IsRead(request.method)) co_return MethodNotAllowed(context, "GET", "GET, HEAD");
    co_return document->second;
  }
  const Router::Found found = routes.Find(request.method, path);
  if (!found.route) {
    if (auto limited = LimitRate(context, 1)) co_return *std::move(limited);
    co_return WithoutRoute(context, found, allowed_headers);
  }
  context.endpoint = &routes.endpoint(*found.route);
  co_return co_await CallEndpoint(context, found.values, body);
}

// `values` are those of the path's variables.
asio::awaitable<HttpResponse> Gateway::State::CallEndpoint(RequestContext& context,
                                                           const std::vector<std::string>& values,
                                                           BodyReader& body) {
  const Endpoint& endpoint = *context.endpoint;
  if (const HttpFault fault = body.Declared(); fault.status != 0) {
    co_return FaultResponse(context, fault);
  }
  if (endpoint.stream_id != nullptr) {
    if (Result<void> fits = CheckStreamRequest(context.request, settings.cors_origins); !fits) {
      co_return RefusalResponse(context, fits.refusal());
    }
  }
  const Result<void> allowed = co_await CheckCaller(context);
  if (auto limited = LimitRate(context, endpoint.cost)) co_return *std::move(limited);
  if (!allowed) co_return RefusalResponse(context, allowed.refusal());
  if (!endpoint.cache_tag.empty()) {
    if (std::optional<HttpResponse> cached = cache.Find(context.request.target)) {
      co_return *std::move(cached);
    }
  }
  if (endpoint.binding.has_body() && body.expected()) {
    std::optional<HttpResponse> refused = co_await ReadBody(context, body);
    if (refused) co_return *std::move(refused);
  }
  std::unique_ptr<Message> message(endpoint.request_type->New());
  const HttpRequest& request = context.request;
  if (const Result<void> bound =
          endpoint.binding.Bind(endpoint.stream_id == nullptr ? request : WithLastEventId(request),
                                values, message.get());
      !bound) {
    co_return RefusalResponse(context, bound.refusal());
  }
  if (endpoint.stream_id != nullptr) {
    co_return co_await OpenStream(context, std::move(message), body);
  }
  co_return co_await CallService(context, std::move(message));
}

// Finds out who calls and how long they wait, and whether they may call the endpoint.
asio::awaitable<Result<void>> Gateway::State::CheckCaller(RequestContext& context) {
  auto token = BearerToken(context.request);
  if (token && !*token && context.endpoint->stream_id != nullptr &&
      WantsWebSocket(context.request)) {
    token = SubprotocolToken(context.request);
  }
  context.token_sent = !token || *token;
  if (!token) co_return token.refusal();
  const Result<std::chrono::milliseconds> timeout =
      RequestTimeout(context.request, settings.request_timeout);
  if (!timeout) co_return timeout.refusal();
  context.deadline = context.start + *timeout;
  if (*token) {
    context.token = **token;
    std::optional<Caller> known = tokens.FindCached(**token);
    if (!known) {
      // To check a token costs more than many a request. LimitRate takes it from the address where it turns
      // out not to be good.
      if (!rates.HasLeft(AddressOf(context), context.endpoint->cost)) co_return TooManyRequests(1);
      Result<Caller> caller = co_await authenticator.Authenticate(**token, context.deadline);
      if (!caller) co_return caller.refusal();
      known = *std::move(caller);
    }
    context.caller = *std::move(known);
  }
  co_return rpc::CheckAccess(*context.endpoint->method, context.caller);
}

RateKey Gateway::State::AddressOf(const RequestContext& context) const {
  return RateKey::Of(ClientAddress(context.request, settings.proxies));
}

// The quota is the user's; who has none, or a token that is not good, takes from that of the address. So does
// whoever changes what anybody may: otherwise an address had a quota of logins more for each user who sends
// their token with them.
RateKey Gateway::State::QuotaOf(const RequestContext& context) const {
  const Endpoint* endpoint = context.endpoint;
  const bool of_anybody =
      endpoint != nullptr && endpoint->is_public && !IsRead(endpoint->http_method);
  if (context.caller.user_id != 0 && !of_anybody) return RateKey::Of(context.caller.user_id);
  return AddressOf(context);
}

std::optional<HttpResponse> Gateway::State::LimitRate(RequestContext& context, int64_t cost) {
  if (!rates.enabled()) return std::nullopt;
  context.rate = rates.Take(QuotaOf(context), cost);
  if (context.rate.allowed) return std::nullopt;
  return RefusalResponse(context, TooManyRequests(context.rate.retry_after));
}

// Nothing when it has been read. The request does not count as in flight while the client sends it.
asio::awaitable<std::optional<HttpResponse>> Gateway::State::ReadBody(RequestContext& context,
                                                                      BodyReader& body) {
  if (std::optional<HttpResponse> refused = RefuseMediaType(context)) co_return refused;
  const auto begun = std::chrono::steady_clock::now();
  HttpFault fault;
  {
    EndAnswer();
    const absl::Cleanup resume = [this] { BeginAnswer(); };
    fault = co_await body.Read();
  }
  if (fault.status < 0) co_return HttpResponse{0};
  if (fault.status > 0) co_return FaultResponse(context, fault);
  context.start = std::chrono::steady_clock::now();
  context.deadline += context.start - begun;  // the client's own time does not count
  if (in_flight > settings.max_in_flight) co_return Overloaded(context);
  co_return std::nullopt;
}

asio::awaitable<HttpResponse> Gateway::State::CallService(const RequestContext& context,
                                                          std::unique_ptr<Message> message) {
  const Endpoint& endpoint = *context.endpoint;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(context.deadline -
                                                                 std::chrono::steady_clock::now());
  UpstreamCall call{endpoint, std::move(message), left, context.request_id, context.trace, {}};
  if (!endpoint.cache_tag.empty() && cache.IsEnabled()) {
    co_return co_await ShareCall(context, std::move(call));
  }
  call.token = context.token;
  UpstreamAnswer answer = co_await Call(std::move(call));
  for (const std::string& tag : endpoint.changes) cache.Changed(tag);
  if (answer.refusal) co_return RefusalResponse(context, *answer.refusal);
  co_return std::move(answer.response);
}

// The response is a stream once the service has accepted the call.
asio::awaitable<HttpResponse> Gateway::State::OpenStream(const RequestContext& context,
                                                         std::unique_ptr<Message> message,
                                                         BodyReader& body) {
  const Endpoint& endpoint = *context.endpoint;
  HttpResponse response{200};
  response.content_type = "text/event-stream";
  if (context.request.method == "HEAD") co_return response;
  std::shared_ptr<void> place;
  if (const int64_t user = context.caller.user_id; user != 0) {
    place = user_streams.Take(user);
    if (place == nullptr) {
      user_streams_refused.Increment();
      co_return RefusalResponse(context, {.code = Code::kResourceExhausted,
                                          .message = "too many of your streams are open"});
    }
  }
  if (const HttpFault fault = body.BecomeStream(); fault.status != 0) {
    co_return FaultResponse(context, fault);
  }
  const auto read = [id = endpoint.stream_id](const Message& event) {
    EventSource::Event shown{event.GetReflection()->GetInt64(event, id), {}};
    json::Write(event, &shown.data);
    return shown;
  };
  const auto describe = [target = std::string(context.request.target),
                         id = context.request_id](const Refusal& refusal) {
    const HttpRequest request{"GET", target, {}, {{"x-request-id", id}}};
    HttpResponse error = RefusalResponse(RequestContext(request), refusal);
    return EventSource::Error{error.status, std::move(error.body)};
  };
  const asio::any_io_executor executor = co_await asio::this_coro::executor;
  Upstreams::Request request{endpoint.upstream,
                             endpoint.path,
                             *message,
                             *endpoint.response_type,
                             {},  // no deadline
                             MetadataOf(context.request_id, context.trace.Child(), context.token)};
  response.stream = std::make_shared<EventSource>(executor, read, describe, std::move(place));
  const EventSource::Start start = [&](std::function<void()> on_change) {
    return upstreams.OpenStream(request, executor, std::move(on_change));
  };
  if (const auto end = co_await response.stream->Open(start, context.deadline)) {
    co_return RefusalResponse(context, *end->refusal);
  }
  if (WantsWebSocket(context.request)) {
    response.status = 101;
    response.websocket = true;
    if (OffersSubprotocol(context.request)) response.subprotocol = kSubprotocol;
  }
  co_return response;
}

// Nobody's token goes with a shared call: its answer is everybody's.
asio::awaitable<HttpResponse> Gateway::State::ShareCall(const RequestContext& context,
                                                        UpstreamCall call) {
  ResponseCache::Subject subject{call.endpoint.cache_tag};
  if (const auto* id = call.endpoint.cache_id; id != nullptr) {
    subject.id = call.message->GetReflection()->GetInt64(*call.message, id);
  }
  const auto deadline = std::chrono::steady_clock::now() + call.timeout;
  // Others may have more time than the one who calls first.
  call.timeout = settings.request_timeout;
  asio::awaitable<UpstreamAnswer> begin = Call(std::move(call));
  const auto answer =
      co_await shared_calls.Get(context.request.target, subject, deadline, std::move(begin));
  if (answer == nullptr) co_return RefusalResponse(context, {Code::kDeadlineExceeded, "too late"});
  if (answer->refusal) co_return RefusalResponse(context, *answer->refusal);
  co_return answer->response;
}

asio::awaitable<UpstreamAnswer> Gateway::State::Call(UpstreamCall call) {
  const Endpoint& endpoint = call.endpoint;
  const auto begun = std::chrono::system_clock::now();
  const TraceContext trace = call.trace.Child();
  Upstreams::Request request{endpoint.upstream,    endpoint.path,
                             *call.message,        *endpoint.response_type,
                             begun + call.timeout, MetadataOf(call.request_id, trace, call.token)};
  const auto reply = co_await upstreams.Call(std::move(request));
  ExportCall(endpoint, call.trace, trace, begun, reply->refusal);
  if (reply->refusal) {
    if (StatusOf(*reply->refusal) >= 500) {
      // The client is not told what went wrong in there; the operator is.
      log::Warning("a service failed a request", {{"method", endpoint.method->full_name()},
                                                  {"code", Name(reply->refusal->code)},
                                                  {"error", reply->refusal->message},
                                                  {"requestId", call.request_id},
                                                  {"traceId", call.trace.trace_id}});
    }
    co_return UpstreamAnswer{{}, reply->refusal};
  }
  UpstreamAnswer answer;
  const auto make = [&] { answer.response = ResponseOf(endpoint, *reply->message); };
  if (reply->arena.SpaceUsed() < kLongMessage) {
    make();
  } else {
    co_await MakeAside(make);
  }
  if (reply->replayed) answer.response.AddHeader("Idempotent-Replayed", "true");
  co_return answer;
}

// Makes a long response in the thread for those.
template <typename Work>
asio::awaitable<void> Gateway::State::MakeAside(Work work) {
  long_answers_gauge.Increment();
  const absl::Cleanup made = [this] { long_answers_gauge.Decrement(); };
  co_await long_answers.Run(std::move(work));
}

HttpResponse Gateway::State::Readiness() const {
  std::vector<std::string> missing;
  for (const auto& [process, upstream] : upstream_numbers) {
    if (!upstreams.IsReachable(upstream)) missing.push_back(process);
  }
  const bool reaches_any = upstream_numbers.empty() || missing.size() < upstream_numbers.size();
  const bool ready = reaches_any && tokens.HasKeys() && !stopping;
  HttpResponse response{ready ? 200 : 503};
  response.body = R"({"status":")";
  response.body += stopping          ? "stopping"
                   : !ready          ? "waiting"
                   : missing.empty() ? "ready"
                                     : "degraded";
  response.body += R"(","missing":[)";
  for (const std::string& name : missing) {
    if (response.body.back() != '[') response.body += ',';
    json::WriteString(name, &response.body);
  }
  if (!tokens.HasKeys()) response.body += missing.empty() ? R"("keys")" : R"(,"keys")";
  response.body += "]}";
  return response;
}

HttpResponse Gateway::State::Overloaded(const RequestContext& context) {
  shed.Increment();
  HttpResponse response =
      ErrorResponse(context, 503, "OVERLOADED", "too much is asked at once, try again later");
  response.AddHeader("Retry-After", "1");
  return response;
}

void Gateway::State::CountAndLog(const RequestContext& context, int status) {
  const HttpRequest& request = context.request;
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - context.start;
  if (context.endpoint != nullptr) {
    context.endpoint->metrics.Count(status, taken, context.trace);
  } else {
    auto method = unrouted.find(request.method);
    if (method == unrouted.end()) method = unrouted.find("other");
    method->second.Count(status, taken, context.trace);
  }
  log::Info("request", {{"method", request.method},
                        {"path", request.path()},
                        {"status", status},
                        {"ms", taken.count() * 1000},
                        {"userId", context.caller.user_id},
                        {"requestId", context.request_id},
                        {"traceId", context.trace.trace_id}});
  ExportRequest(context, status, std::chrono::duration_cast<std::chrono::nanoseconds>(taken));
}

void Gateway::Publish(const std::string& path, std::string_view content_type, std::string body,
                      std::string headers) {
  HttpResponse& response = state_->documents[path];
  response.headers = std::move(headers);
  response.content_type = content_type;
  response.etag = EntityTag(body);
  std::string gzip = GzipSmall(body);
  response.shared_body = std::make_shared<const SharedBody>(std::move(body), std::move(gzip));
}

ResponseCache& Gateway::cache() {
  return state_->cache;
}

RateLimits& Gateway::rate_limits() {
  return state_->rates;
}

std::set<std::string> Gateway::cache_tags() const {
  return state_->routes.cache_tags();
}

bool Gateway::Ready() const {
  return state_->Readiness().status == 200;
}

bool Gateway::Reaches(const std::string& process) const {
  const auto found = state_->upstream_numbers.find(process);
  return found != state_->upstream_numbers.end() && state_->upstreams.IsReachable(found->second);
}

void Gateway::Stop() {
  state_->stopping = true;
}

}  // namespace shop::gateway
