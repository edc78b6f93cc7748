#include "common/rpc/client.h"

#include <grpcpp/channel.h>

#include <functional>
#include <stdexcept>
#include <stop_token>

#include "common/core/deadline.h"
#include "common/rpc/connection.h"
#include "common/rpc/identity.h"
#include "common/rpc/status.h"
#include "common/rpc/unary_call.h"
#include "common/telemetry/span.h"

namespace shop::rpc {

using google::protobuf::Descriptor;
using google::protobuf::DescriptorPool;

struct Channel::State {
  UnaryStub stub;
  Identity* identity;  // null: a guest's
};

Channel::Channel(const std::string& name, const std::string& address, Identity& identity)
    : state_(std::make_unique<State>(
          State{UnaryStub(Connect(name, address, identity.tls())), &identity})) {}

Channel::Channel(const std::string& name, const std::string& address, const Tls& tls)
    : state_(std::make_unique<State>(State{UnaryStub(Connect(name, address, tls)), nullptr})) {}

Channel::~Channel() = default;

Result<void> Channel::Invoke(const std::string& path, const Call& call,
                             const google::protobuf::Message& request,
                             google::protobuf::Message* response) const {
  Span span(SpanKind::kClient, std::string_view(path).substr(1));
  const TraceContext trace = span ? span.ContextOr({}) : call.trace.Child();
  const auto attempt = [&] {
    grpc::ClientContext context;
    context.set_deadline(call.deadline);
    if (!call.request_id.empty()) context.AddMetadata("x-request-id", call.request_id);
    if (!call.trace.trace_id.empty()) context.AddMetadata("traceparent", trace.Header());
    if (state_->identity != nullptr) {
      context.AddMetadata("x-service-token",
                          state_->identity->services().OwnToken(ReceiverOf(path)));
    }
    // Declared after the context, so that it is destroyed first.
    const std::stop_callback stopped(DeadlineScope::Stop(), [&context] { context.TryCancel(); });
    return CallUnary(state_->stub, path, &context, request, response);
  };
  grpc::Status status = attempt();
  for (int repeat = 0; repeat < kMaxRepeats && NotTaken(status); ++repeat) status = attempt();
  span.Set("rpc.system", "grpc");
  span.Set("rpc.grpc.status_code", status.error_code());
  if (status.ok()) return kDone;
  span.Fail(status.error_message());

  const std::string what = path + ": " + status.error_message();
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::DEADLINE_EXCEEDED:
    case grpc::StatusCode::CANCELLED:
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
    // The other side's version or this process's identity is at fault: any request would fail.
    case grpc::StatusCode::UNIMPLEMENTED:
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::PERMISSION_DENIED:
      throw Unavailable(what);
    case grpc::StatusCode::INTERNAL:
    case grpc::StatusCode::UNKNOWN:
    case grpc::StatusCode::DATA_LOSS:
      throw std::runtime_error(what);
    default:
      return FromStatus(status);
  }
}

std::string_view ReceiverOf(std::string_view path) {
  constexpr std::string_view kStart = "/shop.";
  if (!path.starts_with(kStart)) throw std::logic_error(std::string(path) + " is no service's");
  path.remove_prefix(kStart.size());
  return path.substr(0, path.find('.'));
}

std::string MethodPath(const std::string& service, const std::string& method,
                       const Descriptor* request, const Descriptor* response) {
  const auto* found = DescriptorPool::generated_pool()->FindMethodByName(service + "." + method);
  if (found == nullptr || found->input_type() != request || found->output_type() != response) {
    throw std::logic_error(service + "/" + method + " is not declared with these types");
  }
  return "/" + service + "/" + method;
}

Call BackgroundCall(const TraceContext& trace, std::chrono::milliseconds limit) {
  Call call;
  call.deadline = std::chrono::system_clock::now() + limit;
  call.trace = trace;
  call.request_id = trace.RequestId();
  return call;
}

}  // namespace shop::rpc
