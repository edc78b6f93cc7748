#include "gateway/gateway.h"

#include <google/protobuf/descriptor_database.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <charconv>
#include <optional>
#include <set>
#include <stdexcept>
#include <utility>

#include "common/core/addresses.h"
#include "common/json/codec.h"
#include "common/rpc/access.h"
#include "common/telemetry/log.h"
#include "common/telemetry/metrics.h"
#include "common/telemetry/trace.h"
#include "gateway/cache/flights.h"
#include "gateway/cache/response_cache.h"
#include "gateway/envelope.h"
#include "gateway/http/conditional.h"
#include "gateway/http/gzip.h"
#include "gateway/routing/binding.h"
#include "gateway/routing/http_rule.h"
#include "gateway/routing/router.h"
#include "gateway/upstream.h"
#include "shop/api/v1/options.pb.h"

namespace shop::gateway {
namespace {

namespace asio = boost::asio;
using google::protobuf::DescriptorPool;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::MethodDescriptor;
using google::protobuf::ServiceDescriptor;

// Below it, compressing costs more than it saves on the wire: it all fits into one packet.
constexpr size_t kGzipFrom = 1024;
// From here on an answer takes longer to make than others should wait for it: it is made in another
// thread. Of a message, the memory it takes; of a body, its length.
constexpr size_t kLongMessage = 48 * 1024;
constexpr size_t kLongBody = 48 * 1024;

// A request whose token names a key that is being fetched waits this long, and so many of them: the
// others are told to try again.
constexpr std::chrono::milliseconds kKeyPatience{1000};
constexpr std::chrono::milliseconds kFirstKeyPause{10};  // until it is looked again; doubles
constexpr size_t kMostWaitingForKeys = 100;

// The counters of one route and method, found without a lock once a status has come up.
class RouteMetrics {
 public:
  RouteMetrics(const std::string& route, const std::string& method)
      : route_(route),
        method_(method),
        duration_(prometheus::BuildHistogram()
                      .Name("http_request_duration_seconds")
                      .Help("From the whole request read to its answer made.")
                      .Register(Metrics())
                      .Add({{"route", route}}, DurationBuckets())) {}

  void Count(int status, double seconds) {
    std::atomic<prometheus::Counter*>& slot = by_status_[static_cast<size_t>(status) % 600];
    prometheus::Counter* counter = slot.load(std::memory_order_acquire);
    if (counter == nullptr) {
      counter =
          &prometheus::BuildCounter()
               .Name("http_requests_total")
               .Help("Requests answered.")
               .Register(Metrics())
               .Add({{"route", route_}, {"method", method_}, {"status", std::to_string(status)}});
      slot.store(counter, std::memory_order_release);
    }
    counter->Increment();
    duration_.Observe(seconds);
  }

 private:
  std::string route_;
  std::string method_;
  prometheus::Histogram& duration_;
  std::array<std::atomic<prometheus::Counter*>, 600> by_status_{};
};

// One way to call one method.
struct Endpoint {
  Endpoint(const MethodDescriptor* method, const HttpBinding& http,
           const std::vector<std::string>& variables)
      : method(method),
        path('/' + method->service()->full_name() + '/' + method->name()),
        http_method(http.method),
        path_template(http.path_template),
        binding(method->input_type(), variables, http.body),
        metrics(http.path_template, http.method) {}

  const MethodDescriptor* method;
  std::string path;
  std::string http_method;
  std::string path_template;
  Binding binding;
  RouteMetrics metrics;
  const Message* request_type = nullptr;
  const Message* response_type = nullptr;
  size_t upstream = 0;
  int status = 200;
  bool raw = false;
  bool is_public = false;
  bool has_etag = false;
  VersionFields versions = {};                // of the response
  std::string cache_tag = {};                 // where answers may be kept
  const FieldDescriptor* cache_id = nullptr;  // of the request, where they are about one thing
  std::vector<std::string> changes = {};      // the tags of what a call may change
};

// Whether the method only reads.
bool IsRead(std::string_view method) {
  return method == "GET" || method == "HEAD";
}

// The field that names what a kept answer is about, nothing where it is about all there is. Throws
// std::logic_error where answers may not be kept.
const FieldDescriptor* CacheId(const MethodDescriptor& method, const HttpBinding& http) {
  const api::v1::Cache& cache = method.options().GetExtension(api::v1::cache);
  if (cache.tag().empty()) return nullptr;
  const std::string& name = cache.id();
  const auto* request = method.input_type();
  bool fits = IsRead(http.method) && rpc::IsPublic(method);
  for (int i = 0; i < request->field_count(); ++i) {
    fits = fits && request->field(i)->options().GetExtension(api::v1::header).empty();
  }
  const FieldDescriptor* id = name.empty() ? nullptr : request->FindFieldByName(name);
  fits = fits && (name.empty() || (id != nullptr && !id->is_repeated() &&
                                   id->cpp_type() == FieldDescriptor::CPPTYPE_INT64));
  if (!fits) throw std::logic_error(method.full_name() + " has answers that cannot be kept");
  return id;
}

// The token of `Authorization: Bearer …`; nothing without the header.
Result<std::optional<std::string_view>> BearerToken(const HttpRequest& request) {
  std::optional<std::string_view> token;
  const Refusal malformed{Code::kUnauthenticated,
                          "the Authorization header is not of the form: Bearer <token>"};
  for (const auto& [name, value] : request.headers) {
    if (!EqualsIgnoringCase(name, "authorization")) continue;
    if (token || value.size() < 8 || !EqualsIgnoringCase(value.substr(0, 7), "bearer ")) {
      return malformed;
    }
    token = value.substr(std::min(value.find_first_not_of(' ', 7), value.size()));
    const bool legal = std::all_of(token->begin(), token->end(), [](char c) {
      return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
             std::string_view("-._~+/=").find(c) != std::string_view::npos;
    });
    if (token->empty() || !legal) return malformed;
  }
  return token;
}

// Whether the body is said to be JSON in UTF-8.
bool IsJson(std::string_view content_type) {
  const auto trim = [](std::string_view text) {
    const size_t first = std::min(text.find_first_not_of(" \t"), text.size());
    text.remove_prefix(first);
    const size_t last = text.find_last_not_of(" \t");
    return text.substr(0, last == std::string_view::npos ? 0 : last + 1);
  };
  const std::string_view type = content_type.substr(0, content_type.find(';'));
  if (!EqualsIgnoringCase(trim(type), "application/json")) return false;
  std::string_view parameters = content_type.substr(type.size());
  while (!parameters.empty()) {
    parameters.remove_prefix(1);
    const std::string_view parameter = trim(parameters.substr(0, parameters.find(';')));
    parameters.remove_prefix(std::min(parameters.find(';'), parameters.size()));
    if (parameter.size() < 8 || !EqualsIgnoringCase(parameter.substr(0, 8), "charset=")) continue;
    std::string_view charset = parameter.substr(8);
    if (charset.size() > 1 && charset.front() == '"' && charset.back() == '"') {
      charset = charset.substr(1, charset.size() - 2);
    }
    if (!EqualsIgnoringCase(charset, "utf-8")) return false;
  }
  return true;
}

// How long the client is willing to wait.
Result<std::chrono::milliseconds> TimeoutOf(const HttpRequest& request,
                                            std::chrono::milliseconds most) {
  using std::chrono::milliseconds;
  double seconds = 0;
  const auto parse = [&seconds](std::string_view text) {
    const auto [end, error] =
        std::from_chars(text.data(), text.data() + text.size(), seconds, std::chars_format::fixed);
    return error == std::errc() && end == text.data() + text.size() && seconds >= 0;
  };
  const auto limit = [&] {
    if (seconds >= std::chrono::duration<double>(most).count()) return most;
    return std::max(milliseconds(static_cast<int64_t>(seconds * 1000)), milliseconds(1));
  };
  if (const std::string_view text = request.Header("request-timeout"); !text.empty()) {
    if (!parse(text)) return InvalidField("Request-Timeout", "must be a number of seconds");
    return limit();
  }
  if (const std::string_view text = request.Header("grpc-timeout"); !text.empty()) {
    static constexpr std::pair<char, double> kUnits[] = {{'H', 3600}, {'M', 60},   {'S', 1},
                                                         {'m', 1e-3}, {'u', 1e-6}, {'n', 1e-9}};
    const auto* unit = std::find_if(std::begin(kUnits), std::end(kUnits),
                                    [&](const auto& known) { return known.first == text.back(); });
    const std::string_view digits = text.substr(0, text.size() - 1);
    if (unit == std::end(kUnits) || digits.size() > 8 ||
        digits.find_first_not_of("0123456789") != std::string_view::npos || !parse(digits)) {
      return InvalidField("Grpc-Timeout", "must be digits and one of H, M, S, m, u, n");
    }
    seconds *= unit->second;
    return limit();
  }
  return most;
}

// Counts for as long as it lives.
struct Counted {
  explicit Counted(std::atomic<size_t>& counter) : counter(counter) { ++counter; }
  ~Counted() { --counter; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  std::atomic<size_t>& counter;
};

// What a service is asked, and on whose behalf.
struct Question {
  const Endpoint& endpoint;
  std::unique_ptr<Message> message;
  std::chrono::milliseconds timeout;
  std::string request_id;
  TraceContext trace;
  std::string token;  // "" where nobody's is sent
};

// What is known of a request while it is answered.
struct RequestContext {
  explicit RequestContext(const HttpRequest& request)
      : request(request), trace(TraceContext::FromHeader(request.Header("traceparent"))) {
    const std::string_view given = request.Header("x-request-id");
    const bool usable = IsRequestId(given);
    // The trace's own id serves, unless another request has brought the same trace.
    request_id =
        usable ? std::string(given)
               : (request.Header("traceparent").empty() ? trace : TraceContext::New()).trace_id;
  }

  const HttpRequest& request;
  std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
  TraceContext trace;
  std::string request_id;
  Endpoint* endpoint = nullptr;
  Caller caller;
  bool token_sent = false;
};

}  // namespace

Services DeclaredServices() {
  Services services;
  std::vector<std::string> files;
  DescriptorPool::internal_generated_database()->FindAllFileNames(&files);
  std::sort(files.begin(), files.end());
  for (const std::string& name : files) {
    const auto* file = DescriptorPool::generated_pool()->FindFileByName(name);
    if (file == nullptr || !std::string_view(file->package()).starts_with("shop.")) continue;
    for (int i = 0; i < file->service_count(); ++i) services.push_back(file->service(i));
  }
  return services;
}

std::string ProcessOf(const ServiceDescriptor& service) {
  const std::string_view package = service.file()->package();
  const size_t start = std::min(package.find('.'), package.size() - 1) + 1;
  return std::string(package.substr(start, package.find('.', start) - start));
}

Gateway::Settings Gateway::Settings::Read(Env& env, const Services& services) {
  Settings settings;
  settings.request_timeout =
      std::chrono::milliseconds(env.Integer("REQUEST_TIMEOUT_MS", 10000, 1, 600000));
  settings.answer_life = std::chrono::milliseconds(env.Integer("ANSWER_CACHE_MS", 1000, 0, 60000));
  settings.cors_origins.clear();
  std::string origins = env.Text("CORS_ALLOWED_ORIGINS", "*");
  for (size_t at = 0; at <= origins.size();) {
    const size_t comma = std::min(origins.find(',', at), origins.size());
    std::string origin = origins.substr(at, comma - at);
    origin.erase(0, origin.find_first_not_of(' '));
    origin.erase(origin.find_last_not_of(" /") + 1);
    if (origin != "*" && origin.find("://") == std::string::npos) {
      env.Wrong("CORS_ALLOWED_ORIGINS", "is neither * nor a list such as https://shop.example");
      break;
    }
    settings.cors_origins.push_back(std::move(origin));
    at = comma + 1;
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
  struct Running {
    explicit Running(State& state) : state(state) { Begin(); }
    ~Running() { End(); }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;
    void Begin() {
      if (std::exchange(counted, true)) return;
      ++state.running;
      state.in_flight.Increment();
    }
    void End() {
      if (!std::exchange(counted, false)) return;
      --state.running;
      state.in_flight.Decrement();
    }
    State& state;
    bool counted = false;
  };

  State(const Settings& settings, auth::TokenVerifier& tokens)
      : settings(settings), tokens(tokens), answers(settings.answer_life), flights(answers) {}

  void AddMethod(const MethodDescriptor* method, size_t upstream);
  void AddRoute(const MethodDescriptor* method, const HttpBinding& http, size_t upstream);

  void MarkTagged();
  void MarkChanges();

  asio::awaitable<HttpResponse> Respond(RequestContext& context, BodyReader& body,
                                        Running& running);
  asio::awaitable<HttpResponse> CallEndpoint(RequestContext& context,
                                             const std::vector<std::string>& values,
                                             BodyReader& body, Running& running);
  std::optional<HttpResponse> RefuseForm(const RequestContext& context) const;
  asio::awaitable<Answered> Ask(Question question);
  asio::awaitable<std::shared_ptr<const Answered>> AskTogether(const HttpRequest& request,
                                                               Question question);
  asio::awaitable<void> Fly(std::string target, Question question, std::shared_ptr<Flight> flight);
  HttpResponse Made(const Endpoint& endpoint, const Message& answer) const;
  asio::awaitable<Result<Caller>> Authenticate(std::string_view token,
                                               std::chrono::steady_clock::time_point deadline);
  asio::awaitable<std::optional<Result<Caller>>> CheckToken(std::string_view token);
  HttpResponse Options(const RequestContext& context, const std::string& allow) const;
  HttpResponse Readiness() const;
  HttpResponse OnlyGet(const RequestContext& context) const;
  HttpResponse Failure(const RequestContext& context, int status, std::string_view code,
                       std::string_view message,
                       const std::vector<FieldViolation>* details = nullptr) const;
  HttpResponse Overloaded(const RequestContext& context);
  HttpResponse Unreadable(const RequestContext& context, const HttpFault& fault) const;
  HttpResponse Refuse(const RequestContext& context, const Refusal& refusal,
                      int retry_after = 0) const;
  bool ApplyConditionals(const RequestContext& context, HttpResponse* response) const;
  template <typename Work>
  asio::awaitable<void> Aside(Work work);
  void Finish(const RequestContext& context, HttpResponse* response);
  std::vector<std::string> Missing() const;

  const Settings settings;
  auth::TokenVerifier& tokens;
  ResponseCache answers;
  Flights flights;
  Upstreams upstreams;
  std::vector<std::string> upstream_names;
  Router router;
  std::vector<std::unique_ptr<Endpoint>> endpoints;  // by route
  struct Document {
    std::string content_type;
    std::shared_ptr<const SharedBody> body;
  };
  std::map<std::string, Document, std::less<>> documents;     // by path
  std::string allowed_headers;                                // of a CORS preflight
  std::map<std::string, RouteMetrics, std::less<>> unrouted;  // by method
  prometheus::Gauge& in_flight = prometheus::BuildGauge()
                                     .Name("http_requests_in_flight")
                                     .Help("Requests being answered.")
                                     .Register(Metrics())
                                     .Add({});
  prometheus::Counter& shed = prometheus::BuildCounter()
                                  .Name("http_requests_shed_total")
                                  .Help("Requests refused because too many were being answered.")
                                  .Register(Metrics())
                                  .Add({});
  prometheus::Gauge& being_made =
      prometheus::BuildGauge()
          .Name("http_long_answers")
          .Help("Long answers that are written or compressed, or wait for the thread that does so.")
          .Register(Metrics())
          .Add({});
  std::atomic<size_t> running = 0;
  std::atomic<size_t> waiting_for_keys = 0;
  std::atomic<bool> stopping = false;
  // Destroyed first: what they run uses the rest.
  asio::thread_pool token_checks{1};
  asio::thread_pool long_answers{1};
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
      state_->AddMethod(service->method(i), upstreams[process]);
    }
  }
  state_->MarkTagged();
  state_->MarkChanges();
  tokens.Prepare();
  std::set<std::string> headers{"Authorization", "Content-Type",    "Grpc-Timeout", "If-Match",
                                "If-None-Match", "Request-Timeout", "X-Request-Id", "traceparent"};
  for (const auto& endpoint : state_->endpoints) {
    const auto* request = endpoint->method->input_type();
    for (int i = 0; i < request->field_count(); ++i) {
      const std::string& header = request->field(i)->options().GetExtension(api::v1::header);
      if (!header.empty()) headers.insert(header);
    }
  }
  for (const std::string& header : headers) {
    state_->allowed_headers += (state_->allowed_headers.empty() ? "" : ", ") + header;
  }
  for (const char* method : {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"}) {
    state_->unrouted.try_emplace(method, "none", method);
  }
}

Gateway::~Gateway() = default;

void Gateway::State::AddMethod(const MethodDescriptor* method, size_t upstream) {
  rpc::RequireAccessOption(*method);
  const std::vector<HttpBinding> bindings = HttpBindings(*method);
  if (!bindings.empty() && (method->client_streaming() || method->server_streaming())) {
    log::Warning("a streaming method is not served over HTTP", {{"method", method->full_name()}});
    return;
  }
  for (const HttpBinding& http : bindings) AddRoute(method, http, upstream);
}

void Gateway::State::AddRoute(const MethodDescriptor* method, const HttpBinding& http,
                              size_t upstream) {
  const FieldDescriptor* cache_id = CacheId(*method, http);
  const size_t route = router.Add(http.method, http.path_template);
  auto endpoint = std::make_unique<Endpoint>(method, http, router.variables(route));
  auto* types = google::protobuf::MessageFactory::generated_factory();
  endpoint->request_type = types->GetPrototype(method->input_type());
  endpoint->response_type = types->GetPrototype(method->output_type());
  endpoint->upstream = upstream;
  const api::v1::Answer& answer = method->options().GetExtension(api::v1::answer);
  if (answer.status() != 0) endpoint->status = answer.status();
  endpoint->raw = answer.raw();
  endpoint->is_public = rpc::IsPublic(*method);
  endpoint->versions = VersionFields::Of(*method->output_type());
  endpoint->cache_tag = method->options().GetExtension(api::v1::cache).tag();
  endpoint->cache_id = cache_id;
  endpoints.push_back(std::move(endpoint));
}

// Which answers have an entity tag: reads, and changes that answer what a read of their path would.
void Gateway::State::MarkTagged() {
  for (const auto& endpoint : endpoints) {
    if (endpoint->status != 200) continue;
    endpoint->has_etag = IsRead(endpoint->http_method);
    if (endpoint->versions.version == nullptr) continue;
    if (endpoint->http_method != "PUT" && endpoint->http_method != "PATCH") continue;
    // As a path, a template is taken by what has its literals and a variable where it has one.
    const std::optional<size_t> route = router.Find("GET", endpoint->path_template).route;
    endpoint->has_etag = route && endpoints[*route]->status == 200 &&
                         endpoints[*route]->response_type == endpoint->response_type &&
                         endpoints[*route]->raw == endpoint->raw;
  }
}

// A call that is no read may change all that the reads of its service are about.
void Gateway::State::MarkChanges() {
  std::map<const ServiceDescriptor*, std::set<std::string>> tags;
  for (const auto& endpoint : endpoints) {
    if (!endpoint->cache_tag.empty()) tags[endpoint->method->service()].insert(endpoint->cache_tag);
  }
  for (const auto& endpoint : endpoints) {
    if (IsRead(endpoint->http_method)) continue;
    const std::set<std::string>& changed = tags[endpoint->method->service()];
    endpoint->changes.assign(changed.begin(), changed.end());
  }
}

asio::awaitable<HttpResponse> Gateway::State::Respond(RequestContext& context, BodyReader& body,
                                                      Running& current) {
  const HttpRequest& request = context.request;
  const std::string_view path = request.path();
  if (path == "/healthz" || path == "/readyz") {
    if (IsRead(request.method)) {
      co_return path == "/readyz" ? Readiness() : HttpResponse{200, {}, R"({"status":"ok"})"};
    }
    co_return OnlyGet(context);
  }
  if (running > settings.max_in_flight) co_return Overloaded(context);
  if (const auto document = documents.find(path); document != documents.end()) {
    if (!IsRead(request.method)) co_return OnlyGet(context);
    HttpResponse response;
    response.content_type = document->second.content_type;
    response.kept = document->second.body;
    response.etag = response.kept->etag;
    co_return response;
  }

  const Router::Found found = router.Find(request.method, path);
  if (found.malformed) {
    co_return Failure(context, 400, "INVALID_ARGUMENT", "the path is not percent-encoded properly");
  }
  if (!found.route) {
    if (found.allow.empty()) {
      co_return Failure(context, 404, "NOT_FOUND", "there is nothing at this path");
    }
    if (request.method == "OPTIONS") co_return Options(context, found.allow);
    HttpResponse response =
        Failure(context, 405, "METHOD_NOT_ALLOWED", "this path takes " + found.allow + " alone");
    response.AddHeader("Allow", found.allow);
    co_return response;
  }
  context.endpoint = endpoints[*found.route].get();
  co_return co_await CallEndpoint(context, found.values, body, current);
}

asio::awaitable<HttpResponse> Gateway::State::CallEndpoint(RequestContext& context,
                                                           const std::vector<std::string>& values,
                                                           BodyReader& body, Running& current) {
  const HttpRequest& request = context.request;
  const Endpoint& endpoint = *context.endpoint;

  if (const HttpFault fault = body.Declared(); fault.status != 0) {
    co_return Unreadable(context, fault);
  }
  const auto token = BearerToken(request);
  context.token_sent = !token || *token;
  if (!token) co_return Refuse(context, token.refusal());
  const Result<std::chrono::milliseconds> timeout = TimeoutOf(request, settings.request_timeout);
  if (!timeout) co_return Refuse(context, timeout.refusal());
  auto deadline = context.start + *timeout;
  if (*token) {
    Result<Caller> caller = co_await Authenticate(**token, deadline);
    if (!caller) co_return Refuse(context, caller.refusal());
    context.caller = *std::move(caller);
  }
  if (const Result<void> allowed = rpc::CheckAccess(*endpoint.method, context.caller); !allowed) {
    co_return Refuse(context, allowed.refusal());
  }

  const bool kept = !endpoint.cache_tag.empty();
  if (kept) {
    if (std::optional<HttpResponse> answer = answers.Find(request.target))
      co_return *std::move(answer);
  }

  if (endpoint.binding.has_body() && body.expected()) {
    if (std::optional<HttpResponse> refused = RefuseForm(context)) co_return *std::move(refused);
    // However long the client takes, it keeps nobody else from being answered.
    current.End();
    const auto begun = std::chrono::steady_clock::now();
    const HttpFault fault = co_await body.Read();
    current.Begin();
    if (fault.status < 0) co_return HttpResponse{0};
    if (fault.status > 0) co_return Unreadable(context, fault);
    context.start = std::chrono::steady_clock::now();
    deadline += context.start - begun;  // the client's own time does not count
    if (running > settings.max_in_flight) co_return Overloaded(context);
  }
  std::unique_ptr<Message> message(endpoint.request_type->New());
  if (const Result<void> bound = endpoint.binding.Bind(request, values, message.get()); !bound) {
    co_return Refuse(context, bound.refusal());
  }
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
  Question question{endpoint, std::move(message), left, context.request_id, context.trace, {}};
  if (kept && answers.Keeps()) {
    const auto answered = co_await AskTogether(request, std::move(question));
    if (answered == nullptr) co_return Refuse(context, {Code::kDeadlineExceeded, "too late"});
    if (answered->refusal) co_return Refuse(context, *answered->refusal, answered->retry_after);
    co_return answered->response;
  }
  if (*token) question.token = **token;
  Answered answered = co_await Ask(std::move(question));
  for (const std::string& tag : endpoint.changes) answers.Changed(tag);
  if (answered.refusal) co_return Refuse(context, *answered.refusal, answered.retry_after);
  co_return std::move(answered.response);
}

// The answer to what others may be asking too; null when it is not there in time. Nobody's token
// goes with it: it is everybody's answer.
asio::awaitable<std::shared_ptr<const Answered>> Gateway::State::AskTogether(
    const HttpRequest& request, Question question) {
  ResponseCache::Subject subject{question.endpoint.cache_tag};
  if (const FieldDescriptor* id = question.endpoint.cache_id; id != nullptr) {
    subject.id = question.message->GetReflection()->GetInt64(*question.message, id);
  }
  const auto deadline = std::chrono::steady_clock::now() + question.timeout;
  const Flights::Joined joined = flights.Join(request.target, subject);
  if (joined.is_new) {
    // Others may have more time than the one who asks first.
    question.timeout = settings.request_timeout;
    const std::shared_ptr<Flight>& flight = joined.seat.flight();
    const asio::any_io_executor executor = co_await asio::this_coro::executor;
    flight->Start(executor, Fly(std::string(request.target), std::move(question), flight));
  }
  co_return co_await joined.seat.Wait(deadline);
}

asio::awaitable<void> Gateway::State::Fly(std::string target, Question question,
                                          std::shared_ptr<Flight> flight) {
  auto answered = std::make_shared<Answered>();
  try {
    *answered = co_await Ask(std::move(question));
    if (!answered->refusal) {
      answers.Put(target, answered->response, flight->subject(), flight->asked());
    }
  } catch (const std::exception& error) {
    answered->refusal = Refusal{Code::kInternal, error.what()};
  }
  flights.Remove(target, *flight);
  flight->Land(std::move(answered));
}

asio::awaitable<Answered> Gateway::State::Ask(Question question) {
  const Endpoint& endpoint = question.endpoint;
  Upstreams::Request call{
      endpoint.upstream,
      endpoint.path,
      *question.message,
      *endpoint.response_type,
      std::chrono::system_clock::now() + question.timeout,
      {{"x-request-id", question.request_id}, {"traceparent", question.trace.Child().Header()}}};
  if (!question.token.empty()) {
    call.metadata.emplace_back("authorization", "Bearer " + question.token);
  }
  const auto reply = co_await upstreams.Call(std::move(call));
  if (reply->refusal) {
    if (StatusOf(*reply->refusal) >= 500) {
      // What went wrong in there is for the operator alone.
      log::Warning("a service failed a request", {{"method", endpoint.method->full_name()},
                                                  {"code", Name(reply->refusal->code)},
                                                  {"error", reply->refusal->message},
                                                  {"requestId", question.request_id},
                                                  {"traceId", question.trace.trace_id}});
    }
    co_return Answered{{}, reply->refusal, reply->retry_after};
  }
  Answered answered;
  const auto make = [&] { answered.response = Made(endpoint, *reply->message); };
  if (reply->arena.SpaceUsed() < kLongMessage) {
    make();
  } else {
    co_await Aside(make);
  }
  co_return answered;
}

// What a service has answered, as it goes to clients; as a kept body where answers may be kept.
HttpResponse Gateway::State::Made(const Endpoint& endpoint, const Message& answer) const {
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
    response.kept = std::make_shared<const SharedBody>(std::move(body));
    response.body.clear();
  }
  return response;
}

// Runs `work` in a thread for long answers, and goes on where the caller was.
template <typename Work>
asio::awaitable<void> Gateway::State::Aside(Work work) {
  auto run = [work = std::move(work)]() -> asio::awaitable<void> {
    work();
    co_return;
  };
  const struct Making {
    explicit Making(prometheus::Gauge& gauge) : gauge(gauge) { gauge.Increment(); }
    ~Making() { gauge.Decrement(); }
    prometheus::Gauge& gauge;
  } making(being_made);
  co_await asio::co_spawn(long_answers.get_executor(), std::move(run), asio::use_awaitable);
}

// Waiting for a key takes no thread, so that who names a key that nobody knows holds up nobody
// else. It ends at the deadline at the latest.
asio::awaitable<Result<Caller>> Gateway::State::Authenticate(
    std::string_view token, std::chrono::steady_clock::time_point deadline) {
  if (std::optional<Caller> caller = tokens.FindCached(token)) co_return *std::move(caller);
  std::optional<Result<Caller>> caller = co_await CheckToken(token);
  if (caller) co_return *std::move(caller);

  const Refusal cannot_tell{Code::kUnavailable, "the token's key could not be fetched"};
  const Counted waiting(waiting_for_keys);
  if (waiting_for_keys > kMostWaitingForKeys) co_return cannot_tell;
  asio::steady_timer timer(co_await asio::this_coro::executor);
  const auto end = std::min(std::chrono::steady_clock::now() + kKeyPatience, deadline);
  for (auto pause = kFirstKeyPause; !caller && std::chrono::steady_clock::now() < end; pause *= 2) {
    boost::system::error_code stopped;
    timer.expires_at(std::min(std::chrono::steady_clock::now() + pause, end));
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, stopped));
    if (stopped) break;
    caller = co_await CheckToken(token);
  }
  co_return caller ? *std::move(caller) : Result<Caller>(cannot_tell);
}

// On a thread of its own, as a signature takes its time. Nothing while the token's key is fetched.
asio::awaitable<std::optional<Result<Caller>>> Gateway::State::CheckToken(std::string_view token) {
  using Outcome = std::optional<Result<Caller>>;
  const auto check = [this, token](auto handler) {
    asio::any_io_executor executor = asio::get_associated_executor(handler);
    asio::post(token_checks, [this, token, executor = std::move(executor),
                              handler = std::move(handler)]() mutable {
      Outcome outcome = Refusal{Code::kUnavailable, "tokens cannot be checked"};
      try {
        outcome = tokens.Check(token);
      } catch (const std::exception& error) {
        log::Error("cannot check a token", {{"error", error.what()}});
      }
      asio::post(executor, [outcome = std::move(outcome), handler = std::move(handler)]() mutable {
        std::move(handler)(std::move(outcome));
      });
    });
  };
  co_return co_await asio::async_initiate<const asio::use_awaitable_t<>, void(Outcome)>(
      check, asio::use_awaitable);
}

HttpResponse Gateway::State::Options(const RequestContext& context,
                                     const std::string& allow) const {
  HttpResponse response{204};
  response.AddHeader("Allow", allow);
  if (!context.request.Header("access-control-request-method").empty()) {
    response.AddHeader("Access-Control-Allow-Methods", allow);
    response.AddHeader("Access-Control-Allow-Headers", allowed_headers);
    response.AddHeader("Access-Control-Max-Age", "600");
  }
  return response;
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

HttpResponse Gateway::State::OnlyGet(const RequestContext& context) const {
  HttpResponse response = Failure(context, 405, "METHOD_NOT_ALLOWED", "this path takes GET alone");
  response.AddHeader("Allow", "GET, HEAD");
  return response;
}

HttpResponse Gateway::State::Failure(const RequestContext& context, int status,
                                     std::string_view code, std::string_view message,
                                     const std::vector<FieldViolation>* details) const {
  return {status,
          {},
          ErrorBody({status, code, message, details, context.request.path(), context.request_id})};
}

HttpResponse Gateway::State::Overloaded(const RequestContext& context) {
  shed.Increment();
  HttpResponse response =
      Failure(context, 503, "OVERLOADED", "too much is asked at once, try again later");
  response.AddHeader("Retry-After", "1");
  return response;
}

// What could not be read, or not whole: where the next request would begin is not known.
HttpResponse Gateway::State::Unreadable(const RequestContext& context,
                                        const HttpFault& fault) const {
  HttpResponse response = Failure(context, fault.status, fault.code, fault.message);
  if (fault.status == 429 || fault.status == 503) response.AddHeader("Retry-After", "1");
  response.close = true;
  return response;
}

// Refuses a body that its header says is not JSON as it stands.
std::optional<HttpResponse> Gateway::State::RefuseForm(const RequestContext& context) const {
  const HttpRequest& request = context.request;
  if (!IsJson(request.Header("content-type"))) {
    return Failure(context, 415, "UNSUPPORTED_MEDIA_TYPE",
                   "the body has to be application/json in UTF-8");
  }
  const std::string_view coding = request.Header("content-encoding");
  if (coding.empty() || EqualsIgnoringCase(coding, "identity")) return std::nullopt;
  const std::vector<FieldViolation> details{{"Content-Encoding", "must not be given"}};
  HttpResponse response = Failure(context, 415, "UNSUPPORTED_MEDIA_TYPE",
                                  "the body has to come without a content coding", &details);
  response.AddHeader("Accept-Encoding", "identity");
  return response;
}

HttpResponse Gateway::State::Refuse(const RequestContext& context, const Refusal& refusal,
                                    int retry_after) const {
  const int status = StatusOf(refusal);
  const std::string_view code =
      refusal.reason.empty() ? std::string_view(Name(refusal.code)) : refusal.reason;
  // A client can do nothing about what is wrong with us, and is told nothing about it.
  if (status == 500) {
    return Failure(context, status, Name(Code::kInternal), "something went wrong on our side");
  }
  HttpResponse response =
      status == 503   ? Failure(context, status, code, "the service is away for the moment")
      : status == 504 ? Failure(context, status, code, "the request took too long")
      : status == 501 ? Failure(context, status, code, "this is not served yet")
                      : Failure(context, status, code, refusal.message, &refusal.details);
  if (status == 401) {
    response.AddHeader("WWW-Authenticate",
                       context.token_sent ? R"(Bearer error="invalid_token")" : "Bearer");
  }
  if (status == 429 || status == 503) {
    response.AddHeader("Retry-After", std::to_string(std::max(retry_after, 1)));
  }
  return response;
}

// Which form of the answer is sent, and whether its body is: the tag is that of the form. Answers
// whether the body is still to be compressed.
bool Gateway::State::ApplyConditionals(const RequestContext& context,
                                       HttpResponse* response) const {
  const HttpRequest& request = context.request;
  bool gzip = settings.gzip && response->content().size() >= kGzipFrom && AcceptsGzip(request);
  if (!response->etag.empty()) {
    if (gzip) response->etag = GzipTag(response->etag);
    if (IsRead(request.method)) {
      if (!MatchesIfMatch(request, response->etag)) {
        *response = Refuse(context, {Code::kFailedPrecondition,
                                     "this is no longer what If-Match names",
                                     {},
                                     "VERSION_CHANGED"});
        gzip = false;
      } else if (MatchesIfNoneMatch(request, response->etag)) {
        response->status = 304;
        response->body.clear();
        response->kept.reset();
        gzip = false;
      }
    }
  }
  if (!response->etag.empty()) response->AddHeader("ETag", response->etag);
  response->gzip = gzip;
  if (gzip) response->AddHeader("Content-Encoding", "gzip");
  return gzip && !response->kept;
}

void Gateway::State::Finish(const RequestContext& context, HttpResponse* response) {
  const HttpRequest& request = context.request;
  const Endpoint* endpoint = context.endpoint;
  response->AddHeader("X-Request-Id", context.request_id);
  // What a caller may see can be theirs alone; a public GET may be kept by whoever likes.
  if (endpoint != nullptr &&
      (!endpoint->is_public || context.token_sent || endpoint->http_method != "GET")) {
    response->AddHeader("Cache-Control", "no-store");
  }
  const bool everybody = settings.cors_origins.front() == "*";
  // Which of a small and a large answer is compressed is not for a cache to know.
  if (settings.gzip) {
    response->AddHeader("Vary", everybody ? "Accept-Encoding" : "Accept-Encoding, Origin");
  } else if (!everybody) {
    response->AddHeader("Vary", "Origin");
  }
  if (const std::string_view origin = request.Header("origin"); !origin.empty()) {
    const auto& origins = settings.cors_origins;
    if (everybody) {
      response->AddHeader("Access-Control-Allow-Origin", "*");
    } else if (std::find(origins.begin(), origins.end(), origin) != origins.end()) {
      response->AddHeader("Access-Control-Allow-Origin", origin);
    }
    response->AddHeader("Access-Control-Expose-Headers", "ETag, Retry-After, X-Request-Id");
  }

  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - context.start;
  if (endpoint != nullptr) {
    context.endpoint->metrics.Count(response->status, taken.count());
  } else {
    auto method = unrouted.find(request.method);
    if (method == unrouted.end()) method = unrouted.find("other");
    method->second.Count(response->status, taken.count());
  }
  log::Info("request", {{"method", request.method},
                        {"path", request.path()},
                        {"status", response->status},
                        {"ms", taken.count() * 1000},
                        {"userId", context.caller.user_id},
                        {"requestId", context.request_id},
                        {"traceId", context.trace.trace_id}});
}

std::vector<std::string> Gateway::State::Missing() const {
  std::vector<std::string> missing;
  for (size_t i = 0; i < upstream_names.size(); ++i) {
    if (!upstreams.IsThere(i)) missing.push_back(upstream_names[i]);
  }
  return missing;
}

asio::awaitable<HttpResponse> Gateway::Handle(const HttpRequest& request, BodyReader& body) {
  RequestContext context(request);
  HttpResponse response;
  State::Running running(*state_);
  try {
    response = co_await state_->Respond(context, body, running);
    if (response.status == 0) co_return response;
    if (state_->ApplyConditionals(context, &response)) {
      const auto compress = [&response] { response.body = Gzip(response.body); };
      if (response.body.size() < kLongBody) {
        compress();
      } else {
        co_await state_->Aside(compress);
      }
    }
  } catch (const std::exception& error) {
    log::Error("cannot answer a request",
               {{"error", error.what()}, {"requestId", context.request_id}});
    response = state_->Refuse(context, {Code::kInternal, error.what()});
  }
  state_->Finish(context, &response);
  co_return response;
}

HttpResponse Gateway::Reject(const HttpRequest& request, const HttpFault& fault) {
  const RequestContext context(request);
  HttpResponse response = state_->Unreadable(context, fault);
  state_->Finish(context, &response);
  return response;
}

void Gateway::Publish(const std::string& path, std::string content_type, std::string body) {
  SharedBody kept{std::move(body)};
  if (kept.plain.size() >= kGzipFrom) kept.gzip = GzipSmall(kept.plain);
  kept.etag = EntityTag(kept.plain);
  state_->documents[path] = {std::move(content_type),
                             std::make_shared<const SharedBody>(std::move(kept))};
}

ResponseCache& Gateway::answers() {
  return state_->answers;
}

std::set<std::string> Gateway::cache_tags() const {
  std::set<std::string> tags;
  for (const auto& endpoint : state_->endpoints) {
    if (!endpoint->cache_tag.empty()) tags.insert(endpoint->cache_tag);
  }
  return tags;
}

bool Gateway::Ready() const {
  return state_->Readiness().status == 200;
}

bool Gateway::Reaches(const std::string& process) const {
  const auto& names = state_->upstream_names;
  const auto found = std::find(names.begin(), names.end(), process);
  return found != names.end() &&
         state_->upstreams.IsThere(static_cast<size_t>(found - names.begin()));
}

void Gateway::Stop() {
  state_->stopping = true;
}

}  // namespace shop::gateway
