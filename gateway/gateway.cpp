#include "gateway/gateway.h"

#include <google/protobuf/message.h>

#include <algorithm>
#include <atomic>
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
#include "gateway/http/cors.h"
#include "gateway/http/gzip.h"
#include "gateway/http/request_headers.h"
#include "gateway/request_context.h"
#include "gateway/routing/endpoint.h"
#include "gateway/side_thread.h"
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

// A call of a service, and on whose behalf.
struct UpstreamCall {
  const Endpoint& endpoint;
  std::unique_ptr<Message> message;
  std::chrono::milliseconds timeout;
  std::string request_id;
  TraceContext trace;
  std::string token;  // "" where none is passed on
};

// What the response to a call of the endpoint with this message is about.
ResponseCache::Subject SubjectOf(const Endpoint& endpoint, const Message& message) {
  ResponseCache::Subject subject{endpoint.cache_tag};
  if (endpoint.cache_id != nullptr) {
    subject.id = message.GetReflection()->GetInt64(message, endpoint.cache_id);
  }
  return subject;
}

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

// Refuses a body whose header says that it is not JSON as it stands.
std::optional<HttpResponse> RefuseMediaType(const RequestContext& context) {
  const HttpRequest& request = context.request;
  if (!IsJson(request.Header("content-type"))) {
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
  if (auto origins = ParseCorsOrigins(env.Text("CORS_ALLOWED_ORIGINS", "*"))) {
    settings.cors_origins = *std::move(origins);
  } else {
    env.Wrong("CORS_ALLOWED_ORIGINS", "is neither * nor a list such as https://shop.example");
  }
  settings.max_in_flight = static_cast<size_t>(
      env.Integer("HTTP_MAX_IN_FLIGHT", static_cast<int64_t>(settings.max_in_flight), 1, 1 << 20));
  settings.gzip = env.Flag("HTTP_GZIP", settings.gzip);
  for (const ServiceDescriptor* service : services) {
    const std::string process = ProcessOf(*service);
    if (!settings.addresses.contains(process)) {
      settings.addresses.emplace(process, ServiceAddress(env, process));
    }
  }
  return settings;
}

struct Gateway::State {
  // Counts a request for as long as it is answered, however that ends.
  class InFlight {
   public:
    explicit InFlight(State& state) : state_(state) { Resume(); }
    ~InFlight() { Pause(); }
    InFlight(const InFlight&) = delete;
    InFlight& operator=(const InFlight&) = delete;
    void Resume() {
      if (std::exchange(counted_, true)) return;
      ++state_.in_flight;
      state_.in_flight_gauge.Increment();
    }
    void Pause() {
      if (!std::exchange(counted_, false)) return;
      --state_.in_flight;
      state_.in_flight_gauge.Decrement();
    }

   private:
    State& state_;
    bool counted_ = false;
  };

  State(const Settings& settings, auth::TokenVerifier& tokens)
      : settings(settings), tokens(tokens), cache(settings.cache_max_age), shared_calls(cache) {}

  asio::awaitable<HttpResponse> Respond(RequestContext& context, BodyReader& body,
                                        InFlight& counted);
  asio::awaitable<HttpResponse> CallEndpoint(RequestContext& context,
                                             const std::vector<std::string>& values,
                                             BodyReader& body, InFlight& counted);
  asio::awaitable<Result<void>> CheckCaller(RequestContext& context);
  asio::awaitable<std::optional<HttpResponse>> ReadBody(RequestContext& context, BodyReader& body,
                                                        InFlight& counted);
  asio::awaitable<HttpResponse> CallService(const RequestContext& context,
                                            std::unique_ptr<Message> message);
  asio::awaitable<HttpResponse> ShareCall(const RequestContext& context, UpstreamCall call);
  asio::awaitable<UpstreamAnswer> Call(UpstreamCall call);
  HttpResponse ResponseOf(const Endpoint& endpoint, const Message& answer) const;
  template <typename Work>
  asio::awaitable<void> MakeAside(Work work);
  HttpResponse Probe(const RequestContext& context) const;
  HttpResponse Readiness() const;
  HttpResponse Overloaded(const RequestContext& context);
  bool ApplyConditionals(const RequestContext& context, HttpResponse* response) const;
  void AddCommonHeaders(const RequestContext& context, HttpResponse* response) const;
  void CountAndLog(const RequestContext& context, int status);
  std::vector<std::string> Missing() const;

  const Settings settings;
  auth::TokenVerifier& tokens;
  ResponseCache cache;
  SharedCalls shared_calls;
  Upstreams upstreams;
  std::vector<std::string> upstream_names;
  RoutingTable routes;
  struct Document {
    std::string content_type;
    std::shared_ptr<const SharedBody> body;
  };
  std::map<std::string, Document, std::less<>> documents;     // by path
  std::string allowed_headers;                                // of a CORS preflight
  std::map<std::string, RouteMetrics, std::less<>> unrouted;  // by method
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
  std::atomic<size_t> in_flight = 0;
  std::atomic<bool> stopping = false;
  // Destroyed first: what their threads run uses the rest.
  Authenticator authenticator{tokens};
  SideThread long_answers;
};

Gateway::Gateway(const Settings& settings, const Services& services, auth::TokenVerifier& tokens)
    : state_(std::make_unique<State>(settings, tokens)) {
  std::map<std::string, size_t> upstreams;
  for (const ServiceDescriptor* service : services) {
    const std::string process = ProcessOf(*service);
    if (!upstreams.contains(process)) {
      upstreams[process] = state_->upstreams.Connect(settings.addresses.at(process));
      state_->upstream_names.push_back(process);
    }
    for (int i = 0; i < service->method_count(); ++i) {
      state_->routes.Add(service->method(i), upstreams[process]);
    }
  }
  state_->routes.Complete();
  tokens.Prepare();
  std::set<std::string> headers{"Authorization", "Content-Type",    "Grpc-Timeout", "If-Match",
                                "If-None-Match", "Request-Timeout", "X-Request-Id", "traceparent"};
  headers.merge(state_->routes.headers());
  for (const std::string& header : headers) {
    state_->allowed_headers += (state_->allowed_headers.empty() ? "" : ", ") + header;
  }
  for (const char* method : {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"}) {
    state_->unrouted.try_emplace(method, "none", method);
  }
}

Gateway::~Gateway() = default;

asio::awaitable<HttpResponse> Gateway::Handle(const HttpRequest& request, BodyReader& body) {
  RequestContext context(request);
  HttpResponse response;
  State::InFlight counted(*state_);
  try {
    response = co_await state_->Respond(context, body, counted);
    if (response.status == 0) co_return response;
    if (state_->ApplyConditionals(context, &response)) {
      const auto compress = [&response] { response.body = Gzip(response.body); };
      if (response.body.size() < kLongBody) {
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
  state_->AddCommonHeaders(context, &response);
  state_->CountAndLog(context, response.status);
  co_return response;
}

HttpResponse Gateway::Reject(const HttpRequest& request, const HttpFault& fault) {
  const RequestContext context(request);
  HttpResponse response = FaultResponse(context, fault);
  state_->AddCommonHeaders(context, &response);
  state_->CountAndLog(context, response.status);
  return response;
}

// Finds what answers the request: a probe, a published document or the endpoint of its route.
asio::awaitable<HttpResponse> Gateway::State::Respond(RequestContext& context, BodyReader& body,
                                                      InFlight& counted) {
  const HttpRequest& request = context.request;
  const std::string_view path = request.path();
  if (path == "/healthz" || path == "/readyz") co_return Probe(context);
  if (in_flight > settings.max_in_flight) co_return Overloaded(context);
  if (const auto document = documents.find(path); document != documents.end()) {
    if (!IsRead(request.method)) co_return MethodNotAllowed(context, "GET", "GET, HEAD");
    HttpResponse response;
    response.content_type = document->second.content_type;
    response.shared_body = document->second.body;
    response.etag = response.shared_body->etag;
    co_return response;
  }
  const Router::Found found = routes.Find(request.method, path);
  if (!found.route) co_return WithoutRoute(context, found, allowed_headers);
  context.endpoint = &routes.endpoint(*found.route);
  co_return co_await CallEndpoint(context, found.values, body, counted);
}

// `values` are those of the path's variables.
asio::awaitable<HttpResponse> Gateway::State::CallEndpoint(RequestContext& context,
                                                           const std::vector<std::string>& values,
                                                           BodyReader& body, InFlight& counted) {
  const Endpoint& endpoint = *context.endpoint;
  if (const HttpFault fault = body.Declared(); fault.status != 0) {
    co_return FaultResponse(context, fault);
  }
  const Result<void> allowed = co_await CheckCaller(context);
  if (!allowed) co_return RefusalResponse(context, allowed.refusal());
  if (!endpoint.cache_tag.empty()) {
    if (std::optional<HttpResponse> cached = cache.Find(context.request.target)) {
      co_return *std::move(cached);
    }
  }
  if (endpoint.binding.has_body() && body.expected()) {
    std::optional<HttpResponse> refused = co_await ReadBody(context, body, counted);
    if (refused) co_return *std::move(refused);
  }
  std::unique_ptr<Message> message(endpoint.request_type->New());
  if (const Result<void> bound = endpoint.binding.Bind(context.request, values, message.get());
      !bound) {
    co_return RefusalResponse(context, bound.refusal());
  }
  co_return co_await CallService(context, std::move(message));
}

// Finds out who calls and how long they wait, and whether they may call the endpoint.
asio::awaitable<Result<void>> Gateway::State::CheckCaller(RequestContext& context) {
  const auto token = BearerToken(context.request);
  context.token_sent = !token || *token;
  if (!token) co_return token.refusal();
  const Result<std::chrono::milliseconds> timeout =
      RequestTimeout(context.request, settings.request_timeout);
  if (!timeout) co_return timeout.refusal();
  context.deadline = context.start + *timeout;
  if (*token) {
    context.token = **token;
    Result<Caller> caller = co_await authenticator.Authenticate(**token, context.deadline);
    if (!caller) co_return caller.refusal();
    context.caller = *std::move(caller);
  }
  co_return rpc::CheckAccess(*context.endpoint->method, context.caller);
}

// Nothing when it has been read. The request does not count as in flight while the client sends it.
asio::awaitable<std::optional<HttpResponse>> Gateway::State::ReadBody(RequestContext& context,
                                                                      BodyReader& body,
                                                                      InFlight& counted) {
  if (std::optional<HttpResponse> refused = RefuseMediaType(context)) co_return refused;
  counted.Pause();
  const auto begun = std::chrono::steady_clock::now();
  const HttpFault fault = co_await body.Read();
  counted.Resume();
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
  if (answer.refusal) co_return RefusalResponse(context, *answer.refusal, answer.retry_after);
  co_return std::move(answer.response);
}

// Nobody's token goes with a shared call: its answer is everybody's.
asio::awaitable<HttpResponse> Gateway::State::ShareCall(const RequestContext& context,
                                                        UpstreamCall call) {
  const ResponseCache::Subject subject = SubjectOf(call.endpoint, *call.message);
  const auto deadline = std::chrono::steady_clock::now() + call.timeout;
  // Others may have more time than the one who calls first.
  call.timeout = settings.request_timeout;
  asio::awaitable<UpstreamAnswer> begin = Call(std::move(call));
  const auto answer =
      co_await shared_calls.Get(context.request.target, subject, deadline, std::move(begin));
  if (answer == nullptr) co_return RefusalResponse(context, {Code::kDeadlineExceeded, "too late"});
  if (answer->refusal) co_return RefusalResponse(context, *answer->refusal, answer->retry_after);
  co_return answer->response;
}

asio::awaitable<UpstreamAnswer> Gateway::State::Call(UpstreamCall call) {
  const Endpoint& endpoint = call.endpoint;
  Upstreams::Request request{
      endpoint.upstream,
      endpoint.path,
      *call.message,
      *endpoint.response_type,
      std::chrono::system_clock::now() + call.timeout,
      {{"x-request-id", call.request_id}, {"traceparent", call.trace.Child().Header()}}};
  if (!call.token.empty()) request.metadata.emplace_back("authorization", "Bearer " + call.token);
  const auto reply = co_await upstreams.Call(std::move(request));
  if (reply->refusal) {
    if (StatusOf(*reply->refusal) >= 500) {
      // The client is not told what went wrong in there; the operator is.
      log::Warning("a service failed a request", {{"method", endpoint.method->full_name()},
                                                  {"code", Name(reply->refusal->code)},
                                                  {"error", reply->refusal->message},
                                                  {"requestId", call.request_id},
                                                  {"traceId", call.trace.trace_id}});
    }
    co_return UpstreamAnswer{{}, reply->refusal, reply->retry_after};
  }
  UpstreamAnswer answer;
  const auto make = [&] { answer.response = ResponseOf(endpoint, *reply->message); };
  if (reply->arena.SpaceUsed() < kLongMessage) {
    make();
  } else {
    co_await MakeAside(make);
  }
  co_return answer;
}

// With a shared body where responses are cached.
HttpResponse Gateway::State::ResponseOf(const Endpoint& endpoint, const Message& answer) const {
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
    SharedBody body{std::move(response.body)};
    if (settings.gzip && body.plain.size() >= kGzipFrom) body.gzip = Gzip(body.plain);
    response.shared_body = std::make_shared<const SharedBody>(std::move(body));
    response.body.clear();
  }
  return response;
}

// Makes a long response in the thread for those.
template <typename Work>
asio::awaitable<void> Gateway::State::MakeAside(Work work) {
  const struct Counted {
    explicit Counted(prometheus::Gauge& gauge) : gauge(gauge) { gauge.Increment(); }
    ~Counted() { gauge.Decrement(); }
    prometheus::Gauge& gauge;
  } counted(long_answers_gauge);
  co_await long_answers.Run(std::move(work));
}

HttpResponse Gateway::State::Probe(const RequestContext& context) const {
  if (!IsRead(context.request.method)) return MethodNotAllowed(context, "GET", "GET, HEAD");
  if (context.request.path() == "/readyz") return Readiness();
  return {200, {}, R"({"status":"ok"})"};
}

HttpResponse Gateway::State::Readiness() const {
  const std::vector<std::string> missing = Missing();
  const bool reaches_any = upstream_names.empty() || missing.size() < upstream_names.size();
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

// Decides which form of the response is sent, and whether its body is; the tag is that of the form.
// Returns whether the body is still to be compressed.
bool Gateway::State::ApplyConditionals(const RequestContext& context,
                                       HttpResponse* response) const {
  const HttpRequest& request = context.request;
  bool gzip = settings.gzip && response->content().size() >= kGzipFrom && AcceptsGzip(request);
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
  return gzip && !response->shared_body;
}

void Gateway::State::AddCommonHeaders(const RequestContext& context, HttpResponse* response) const {
  const Endpoint* endpoint = context.endpoint;
  response->AddHeader("X-Request-Id", context.request_id);
  // What a caller may see can be theirs alone; a public GET may be cached by anybody.
  if (endpoint != nullptr &&
      (!endpoint->is_public || context.token_sent || endpoint->http_method != "GET")) {
    response->AddHeader("Cache-Control", "no-store");
  }
  // Which responses are long enough to be compressed is not for a cache to know.
  const bool by_origin = VariesByOrigin(settings.cors_origins);
  if (settings.gzip) {
    response->AddHeader("Vary", by_origin ? "Accept-Encoding, Origin" : "Accept-Encoding");
  } else if (by_origin) {
    response->AddHeader("Vary", "Origin");
  }
  AddCorsHeaders(context.request, settings.cors_origins, response);
}

void Gateway::State::CountAndLog(const RequestContext& context, int status) {
  const HttpRequest& request = context.request;
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - context.start;
  if (context.endpoint != nullptr) {
    context.endpoint->metrics.Count(status, taken.count());
  } else {
    auto method = unrouted.find(request.method);
    if (method == unrouted.end()) method = unrouted.find("other");
    method->second.Count(status, taken.count());
  }
  log::Info("request", {{"method", request.method},
                        {"path", request.path()},
                        {"status", status},
                        {"ms", taken.count() * 1000},
                        {"userId", context.caller.user_id},
                        {"requestId", context.request_id},
                        {"traceId", context.trace.trace_id}});
}

std::vector<std::string> Gateway::State::Missing() const {
  std::vector<std::string> missing;
  for (size_t i = 0; i < upstream_names.size(); ++i) {
    if (!upstreams.IsReachable(i)) missing.push_back(upstream_names[i]);
  }
  return missing;
}

void Gateway::Publish(const std::string& path, std::string content_type, std::string body) {
  SharedBody shared{std::move(body)};
  if (shared.plain.size() >= kGzipFrom) shared.gzip = GzipSmall(shared.plain);
  shared.etag = EntityTag(shared.plain);
  state_->documents[path] = {std::move(content_type),
                             std::make_shared<const SharedBody>(std::move(shared))};
}

ResponseCache& Gateway::cache() {
  return state_->cache;
}

std::set<std::string> Gateway::cache_tags() const {
  return state_->routes.cache_tags();
}

bool Gateway::Ready() const {
  return state_->Readiness().status == 200;
}

bool Gateway::Reaches(const std::string& process) const {
  const auto& names = state_->upstream_names;
  const auto found = std::find(names.begin(), names.end(), process);
  return found != names.end() &&
         state_->upstreams.IsReachable(static_cast<size_t>(found - names.begin()));
}

void Gateway::Stop() {
  state_->stopping = true;
}

}  // namespace shop::gateway
