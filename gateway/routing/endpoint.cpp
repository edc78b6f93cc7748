#include "gateway/routing/endpoint.h"

#include <map>
#include <optional>
#include <stdexcept>

#include "common/rpc/access.h"
#include "common/rpc/stream.h"
#include "shop/api/v1/options.pb.h"

namespace shop::gateway {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::MessageFactory;
using google::protobuf::MethodDescriptor;
using google::protobuf::ServiceDescriptor;

// Endpoint::cache_id. Throws std::logic_error where responses may not be cached.
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
  if (!fits) throw std::logic_error(method.full_name() + " has responses that cannot be cached");
  return id;
}

// Endpoint::stream_id. Throws std::logic_error where the stream cannot be served over HTTP.
const FieldDescriptor* StreamId(const MethodDescriptor& method, const HttpBinding& http) {
  if (method.client_streaming() || (method.server_streaming() && http.method != "GET")) {
    throw std::logic_error(method.full_name() + " has a stream that HTTP cannot carry");
  }
  return method.server_streaming() ? rpc::StreamIdOf(*method.output_type()) : nullptr;
}

int StatusOfSuccess(const MethodDescriptor& method) {
  const int status = method.options().GetExtension(api::v1::answer).status();
  return status == 0 ? 200 : status;
}

}  // namespace

RouteMetrics::RouteMetrics(const std::string& route, const std::string& method)
    : route_(route),
      method_(method),
      duration_("http_request_duration_seconds", "From the whole request read to its answer made.",
                {{"route", route}}) {}

void RouteMetrics::Count(int status, std::chrono::duration<double> took,
                         const TraceContext& trace) {
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
  duration_.Observe(took, trace);
}

Endpoint::Endpoint(const MethodDescriptor* method, const HttpBinding& http,
                   const std::vector<std::string>& variables, size_t upstream)
    : method(method),
      path('/' + method->service()->full_name() + '/' + method->name()),
      http_method(http.method),
      path_template(http.path_template),
      binding(method->input_type(), variables, http.body),
      metrics(http.path_template, http.method),
      request_type(MessageFactory::generated_factory()->GetPrototype(method->input_type())),
      response_type(MessageFactory::generated_factory()->GetPrototype(method->output_type())),
      upstream(upstream),
      status(StatusOfSuccess(*method)),
      empty_status(method->options().GetExtension(api::v1::answer).empty_status()),
      raw(method->options().GetExtension(api::v1::answer).raw()),
      is_public(rpc::IsPublic(*method)),
      cost(std::max(1u, method->options().GetExtension(api::v1::cost))),
      versions(VersionFields::Of(*method->output_type())),
      stream_id(StreamId(*method, http)),
      cache_tag(method->options().GetExtension(api::v1::cache).tag()),
      cache_id(CacheId(*method, http)) {}

void RoutingTable::Add(const MethodDescriptor* method, size_t upstream) {
  rpc::RequireAccessOption(*method);
  const std::vector<HttpBinding> bindings = HttpBindings(*method);
  for (const HttpBinding& http : bindings) {
    const size_t route = router_.Add(http.method, http.path_template);
    endpoints_.push_back(
        std::make_unique<Endpoint>(method, http, router_.variables(route), upstream));
  }
}

void RoutingTable::Complete() {
  // Reads have an entity tag, and changes that answer what a read of their path would.
  for (const auto& endpoint : endpoints_) {
    if (endpoint->status != 200) continue;
    endpoint->has_etag = IsRead(endpoint->http_method) && endpoint->stream_id == nullptr;
    if (endpoint->versions.version == nullptr) continue;
    if (endpoint->http_method != "PUT" && endpoint->http_method != "PATCH") continue;
    // Taken as a path, a template matches one with its literals and a variable where it has one.
    const std::optional<size_t> route = Find("GET", endpoint->path_template).route;
    endpoint->has_etag = route && endpoints_[*route]->status == 200 &&
                         endpoints_[*route]->response_type == endpoint->response_type &&
                         endpoints_[*route]->raw == endpoint->raw;
  }
  // A call that is no read may change all that the reads of its service are about.
  std::map<const ServiceDescriptor*, std::set<std::string>> tags;
  for (const auto& endpoint : endpoints_) {
    if (endpoint->cache_tag.empty()) continue;
    tags[endpoint->method->service()].insert(endpoint->cache_tag);
    cache_tags_.insert(endpoint->cache_tag);
  }
  for (const auto& endpoint : endpoints_) {
    if (IsRead(endpoint->http_method)) continue;
    const std::set<std::string>& changed = tags[endpoint->method->service()];
    endpoint->changes.assign(changed.begin(), changed.end());
  }
}

std::set<std::string> RoutingTable::headers() const {
  std::set<std::string> headers;
  for (const auto& endpoint : endpoints_) {
    const auto* request = endpoint->method->input_type();
    for (int i = 0; i < request->field_count(); ++i) {
      const std::string& header = request->field(i)->options().GetExtension(api::v1::header);
      if (!header.empty()) headers.insert(header);
    }
  }
  return headers;
}

}  // namespace shop::gateway
