#include "common/rpc/server.h"

#include <google/protobuf/arena.h>
#include <google/protobuf/descriptor.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <algorithm>
#include <array>
#include <stdexcept>
#include <stop_token>

#include "common/core/deadline.h"
#include "common/rpc/access.h"
#include "common/rpc/descriptor_service.h"
#include "common/rpc/identity.h"
#include "common/rpc/rules.h"
#include "common/rpc/status.h"
#include "common/rpc/worker_pool.h"
#include "common/telemetry/log.h"
#include "common/telemetry/metrics.h"

namespace shop::rpc {
namespace {

using google::protobuf::Message;
using google::protobuf::MethodDescriptor;
using std::chrono::steady_clock;

constexpr std::chrono::seconds kDefaultDeadline{10};
constexpr std::chrono::seconds kDrainLimit{5};
constexpr int kMaxRequestBytes = 4 << 20;
constexpr int kConnectionAgeMs = 30'000;

// The metrics of one method.
class MethodMetrics {
 public:
  explicit MethodMetrics(const std::string& path) {
    auto& handled = prometheus::BuildCounter()
                        .Name("rpc_handled_total")
                        .Help("Calls answered, by gRPC status")
                        .Register(Metrics());
    for (int code = 0; code <= 16; ++code) {
      codes_[static_cast<size_t>(code)] =
          &handled.Add({{"method", path}, {"code", code == 0 ? "OK" : CodeName(code)}});
    }
    duration_ = &prometheus::BuildHistogram()
                     .Name("rpc_duration_seconds")
                     .Help("Time from a call's arrival to its answer")
                     .Register(Metrics())
                     .Add({{"method", path}}, DurationBuckets());
  }

  void Count(grpc::StatusCode code, steady_clock::duration took) {
    codes_[static_cast<size_t>(code) % codes_.size()]->Increment();
    duration_->Observe(std::chrono::duration<double>(took).count());
  }

 private:
  static std::string CodeName(int code) {
    switch (code) {
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

  std::array<prometheus::Counter*, 17> codes_{};
  prometheus::Histogram* duration_ = nullptr;
};

struct BoundMethod {
  BoundMethod(Method bound, std::string bound_path)
      : method(std::move(bound)), path(std::move(bound_path)), metrics(path) {}

  Method method;
  std::string path;  // /shop.orders.v1.OrdersService/CreateOrder
  MethodMetrics metrics;
};

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
  return call;
}

Result<void> ParseRequest(const grpc::ByteBuffer& bytes, Message* request) {
  grpc::ByteBuffer copy(bytes);
  const grpc::Status parsed =
      grpc::GenericDeserialize<grpc::ProtoBufferReader, Message>(&copy, request);
  if (parsed.ok()) return kDone;
  return Refusal{Code::kInvalidArgument, "the request is not a valid message of its type"};
}

// Everything between the wire and the handler.
grpc::Status Answer(BoundMethod& bound, grpc::CallbackServerContext& context,
                    const grpc::ByteBuffer& request_bytes, grpc::ByteBuffer* response_bytes,
                    Identity& identity, const std::stop_token& cut) {
  Call call = ReadCall(context);
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
      return bound.method.handle(call, *request, [&](const Message& response) {
        bool own_buffer = false;
        const grpc::Status written = grpc::GenericSerialize<grpc::ProtoBufferWriter, Message>(
            response, response_bytes, &own_buffer);
        if (!written.ok()) throw std::runtime_error(written.error_message());
      });
    }();
    if (outcome) {
      if (call.replayed) context.AddTrailingMetadata(kReplayed, "true");
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

// Runs a call on the pool and counts it.
grpc::ServerUnaryReactor* Start(BoundMethod& bound, WorkerPool& pool, Identity& identity,
                                const std::stop_token& cut, grpc::CallbackServerContext* context,
                                const grpc::ByteBuffer* request, grpc::ByteBuffer* response) {
  const steady_clock::time_point arrived = steady_clock::now();
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const bool accepted = pool.Post([=, &bound, &identity] {
    if (context->IsCancelled()) return reactor->Finish(grpc::Status::CANCELLED);
    const grpc::Status status = Answer(bound, *context, *request, response, identity, cut);
    bound.metrics.Count(status.error_code(), steady_clock::now() - arrived);
    reactor->Finish(status);
  });
  if (!accepted) {
    bound.metrics.Count(grpc::StatusCode::UNAVAILABLE, steady_clock::now() - arrived);
    reactor->Finish({grpc::StatusCode::UNAVAILABLE, "too busy, try again"});
  }
  return reactor;
}

void RequireEveryHandler(const Service& service) {
  for (int i = 0; i < service.descriptor()->method_count(); ++i) {
    const MethodDescriptor* declared = service.descriptor()->method(i);
    const bool bound =
        std::any_of(service.methods().begin(), service.methods().end(),
                    [&](const Method& method) { return method.descriptor == declared; });
    if (!bound) throw std::logic_error(declared->full_name() + " has no handler");
  }
}

}  // namespace

struct Server::State {
  State(const ServerSettings& settings, Identity& identity, const std::vector<Service>& services)
      : host(settings.host), pool(settings.threads, static_cast<size_t>(settings.queue)) {
    // A call whose token names an unknown key waits in its thread; half of them stay free of those.
    identity.users().SetMaxWaiting(settings.threads / 2);
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();

    grpc::ServerBuilder builder;
    // Without this a second process could take the same port and half of the calls.
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.SetMaxReceiveMessageSize(kMaxRequestBytes);
    // Makes clients reconnect and resolve the name again, so that a new replica gets its share.
    builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS, kConnectionAgeMs);
    builder.AddListeningPort(settings.host + ":" + std::to_string(settings.port),
                             grpc::InsecureServerCredentials(), &port);
    for (const Service& service : services) {
      RequireEveryHandler(service);
      DescriptorService& added = *registered.emplace_back(std::make_unique<DescriptorService>());
      for (const Method& method : service.methods()) {
        BoundMethod& bound = *bound_methods.emplace_back(std::make_unique<BoundMethod>(
            method, "/" + service.descriptor()->full_name() + "/" + method.descriptor->name()));
        added.Add(bound.path, [this, &bound, &identity](grpc::CallbackServerContext* context,
                                                        const grpc::ByteBuffer* request,
                                                        grpc::ByteBuffer* response) {
          return Start(bound, pool, identity, cut.get_token(), context, request, response);
        });
      }
      builder.RegisterService(&added);
    }
    server = builder.BuildAndStart();
    if (server == nullptr || port == 0) {
      throw std::runtime_error("cannot listen on " + settings.host + ":" +
                               std::to_string(settings.port) + " (is the port taken?)");
    }
    for (const Service& service : services) {
      server->GetHealthCheckService()->SetServingStatus(service.descriptor()->full_name(), true);
    }
  }

  ~State() {
    if (server == nullptr) return;
    server->GetHealthCheckService()->SetServingStatus(false);
    EndWithin(kDrainLimit, cut,
              [this] { server->Shutdown(std::chrono::system_clock::now() + kDrainLimit); });
  }

  std::string host;
  int port = 0;
  std::stop_source cut;
  WorkerPool pool;
  std::vector<std::unique_ptr<BoundMethod>> bound_methods;
  std::vector<std::unique_ptr<DescriptorService>> registered;
  std::unique_ptr<grpc::Server> server;
};

Server::Server(const ServerSettings& settings, Identity& identity,
               const std::vector<Service>& services)
    : state_(std::make_unique<State>(settings, identity, services)) {
  log::Info("serving gRPC", {{"address", address()}});
}

Server::~Server() = default;

uint16_t Server::port() const {
  return static_cast<uint16_t>(state_->port);
}

std::string Server::address() const {
  return state_->host + ":" + std::to_string(state_->port);
}

}  // namespace shop::rpc
