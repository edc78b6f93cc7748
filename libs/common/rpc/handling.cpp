#include "common/rpc/handling.h"

#include <google/protobuf/arena.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>
#include <grpcpp/impl/codegen/proto_utils.h>

#include <algorithm>

#include "common/core/deadline.h"
#include "common/rpc/access.h"
#include "common/rpc/identity.h"
#include "common/rpc/rules.h"
#include "common/rpc/status.h"
#include "common/telemetry/log.h"
#include "common/telemetry/span.h"

namespace shop::rpc {
namespace {

using google::protobuf::Message;
using std::chrono::steady_clock;

constexpr std::chrono::seconds kDefaultDeadline{10};
constexpr size_t kMostFields = 10'000;

std::string CodeName(int code) {
  switch (code) {
    case 0:
      return "OK";
    case 1:
      return "CANCELLED";
    case 2:
      return "UNKNOWN";
    case 15:
      return "DATA_LOSS";
    default:
      return Name(static_cast<Code>(code));
  }
}

// Those that OpenTelemetry's conventions take for a server's error.
bool IsServerFault(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::UNKNOWN:
    case grpc::StatusCode::DEADLINE_EXCEEDED:
    case grpc::StatusCode::UNIMPLEMENTED:
    case grpc::StatusCode::INTERNAL:
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::DATA_LOSS:
      return true;
    default:
      return false;
  }
}

std::string_view Metadata(const grpc::CallbackServerContext& context, const char* key) {
  const auto found = context.client_metadata().find(key);
  if (found == context.client_metadata().end()) return {};
  return {found->second.data(), found->second.size()};
}

Result<Caller> Authenticate(const grpc::CallbackServerContext& context, Identity& identity) {
  const std::string_view service_token = Metadata(context, "x-service-token");
  if (!service_token.empty()) {
    Result<std::string> service = identity.services().Verify(service_token);
    if (!service) return service.refusal();
    if (identity.tls().on() && !IsCertifiedAs(*context.auth_context(), *service)) {
      return Refusal{Code::kUnauthenticated, "the certificate is not that of " + *service};
    }
    Caller caller;
    caller.service = *std::move(service);
    return caller;
  }
  const std::string_view authorization = Metadata(context, "authorization");
  if (authorization.empty()) return Caller{};
  constexpr std::string_view kBearer = "Bearer ";
  if (!authorization.starts_with(kBearer)) {
    return Refusal{Code::kUnauthenticated, "authorization must be a Bearer token"};
  }
  return identity.users().Verify(authorization.substr(kBearer.size()));
}

Call ReadCall(const grpc::CallbackServerContext& context) {
  Call call;
  const auto latest = std::chrono::system_clock::now() + kDefaultDeadline;
  call.deadline = std::min(context.deadline(), latest);
  const std::string_view request_id = Metadata(context, "x-request-id");
  call.trace = TraceContext::FromHeader(Metadata(context, "traceparent"));
  call.request_id = IsRequestId(request_id) ? std::string(request_id) : call.trace.trace_id;
  if (call.request_id != call.trace.trace_id) call.trace.request_id = call.request_id;
  return call;
}

// Whether `bytes` has more fields than any request needs: a megabyte holds half a million messages of two
// bytes, each of which takes some fifty once it is read.
bool HasTooManyFields(const grpc::ByteBuffer& bytes) {
  using google::protobuf::internal::WireFormatLite;
  if (bytes.Length() <= 2 * kMostFields) return false;  // each takes two bytes at least
  grpc::ByteBuffer copy(bytes);
  grpc::ProtoBufferReader reader(&copy);
  google::protobuf::io::CodedInputStream input(&reader);
  for (size_t fields = 0; fields <= kMostFields; ++fields) {
    const uint32_t tag = input.ReadTag();
    if (tag == 0 || !WireFormatLite::SkipField(&input, tag)) return false;
  }
  return true;
}

Result<void> ParseRequest(const grpc::ByteBuffer& bytes, Message* request) {
  if (HasTooManyFields(bytes)) {
    return Refusal{Code::kInvalidArgument,
                   "the request has more than " + std::to_string(kMostFields) + " fields"};
  }
  grpc::ByteBuffer copy(bytes);
  const grpc::Status parsed =
      grpc::GenericDeserialize<grpc::ProtoBufferReader, Message>(&copy, request);
  if (parsed.ok()) return kDone;
  return Refusal{Code::kInvalidArgument, "the request is not a valid message of its type"};
}

// https://opentelemetry.io/docs/specs/semconv/rpc/grpc/
void Describe(const BoundMethod& bound, const Call& call, const grpc::Status& status, Span* span) {
  if (!*span) return;
  const std::string_view path = std::string_view(bound.path).substr(1);
  const size_t slash = path.find('/');
  span->Set("rpc.system", "grpc");
  span->Set("rpc.service", path.substr(0, slash));
  span->Set("rpc.method", path.substr(slash + 1));
  span->Set("rpc.grpc.status_code", status.error_code());
  span->Set("shop.request.id", call.request_id);
  if (call.caller.user_id != 0) span->Set("user.id", std::to_string(call.caller.user_id));
  if (IsServerFault(status.error_code())) span->Fail(status.error_message());
}

grpc::Status HandleCall(const BoundMethod& bound, const grpc::CallbackServerContext& context,
                        const grpc::ByteBuffer& request_bytes, Identity& identity,
                        const std::stop_token& cut,
                        const std::function<Result<void>(const Call&, const Message&)>& handler,
                        Call& call) {
  const log::Scope scope({{"traceId", call.trace.trace_id}, {"requestId", call.request_id}});
  if (call.remaining().count() <= 0) {
    return {grpc::StatusCode::DEADLINE_EXCEEDED, "the deadline has passed"};
  }
  const DeadlineScope until(steady_clock::now() + call.remaining(), cut);
  try {
    const auto outcome = [&]() -> Result<void> {
      Result<Caller> caller = Authenticate(context, identity);
      if (!caller) return caller.refusal();
      call.caller = *std::move(caller);
      if (Result<void> allowed = CheckAccess(*bound.method.descriptor, call.caller); !allowed) {
        return allowed;
      }
      google::protobuf::Arena arena;
      Message* request = bound.method.request_type->New(&arena);
      if (Result<void> parsed = ParseRequest(request_bytes, request); !parsed) return parsed;
      if (Result<void> valid = CheckRules(*request); !valid) return valid;
      return handler(call, *request);
    }();
    if (outcome) {
      log::Info("rpc", {{"method", bound.path}, {"userId", call.caller.user_id}});
      return grpc::Status::OK;
    }
    log::Info("rpc refused", {{"method", bound.path},
                              {"userId", call.caller.user_id},
                              {"code", Name(outcome.refusal().code)},
                              {"why", outcome.refusal().message}});
    return ToStatus(outcome.refusal());
  } catch (const Unavailable& error) {
    log::Warning("rpc found a dependency away", {{"method", bound.path}, {"error", error.what()}});
    if (call.remaining().count() <= 0) {
      return {grpc::StatusCode::DEADLINE_EXCEEDED, "the deadline has passed"};
    }
    return {grpc::StatusCode::UNAVAILABLE, "a service this depends on is away, try again"};
  } catch (const std::exception& error) {
    log::Error("rpc failed", {{"method", bound.path}, {"error", error.what()}});
    return {grpc::StatusCode::INTERNAL, "internal error"};
  }
}

}  // namespace

MethodMetrics::MethodMetrics(const std::string& path)
    : duration_("rpc_duration_seconds", "Time from a call's arrival to its answer",
                {{"method", path}}) {
  auto& handled = prometheus::BuildCounter()
                      .Name("rpc_handled_total")
                      .Help("Calls answered, by gRPC status")
                      .Register(Metrics());
  for (int code = 0; code <= 16; ++code) {
    codes_[static_cast<size_t>(code)] = &handled.Add({{"method", path}, {"code", CodeName(code)}});
  }
}

void MethodMetrics::Count(grpc::StatusCode code) {
  codes_[static_cast<size_t>(code) % codes_.size()]->Increment();
}

void MethodMetrics::Observe(steady_clock::duration took, const TraceContext& trace) {
  duration_.Observe(took, trace);
}

grpc::Status Handle(BoundMethod& bound, const grpc::CallbackServerContext& context,
                    const grpc::ByteBuffer& request, steady_clock::time_point arrived,
                    Identity& identity, const std::stop_token& cut,
                    const std::function<Result<void>(const Call&, const Message&)>& handler) {
  Call call = ReadCall(context);
  Span span(SpanKind::kServer, std::string_view(bound.path).substr(1), call.trace);
  const Span::Scope current(span);
  call.trace = span.ContextOr(call.trace);
  grpc::Status status = HandleCall(bound, context, request, identity, cut, handler, call);
  Describe(bound, call, status, &span);
  bound.metrics.Observe(steady_clock::now() - arrived, call.trace);
  return status;
}

}  // namespace shop::rpc
