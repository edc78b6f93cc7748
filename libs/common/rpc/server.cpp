#include "common/rpc/server.h"

#include <google/protobuf/descriptor.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <algorithm>
#include <stdexcept>
#include <stop_token>
#include <thread>

#include "common/core/deadline.h"
#include "common/rpc/descriptor_service.h"
#include "common/rpc/handling.h"
#include "common/rpc/header_guard.h"
#include "common/rpc/identity.h"
#include "common/rpc/stream_call.h"
#include "common/rpc/worker_pool.h"
#include "common/telemetry/log.h"

namespace shop::rpc {
namespace {

using google::protobuf::Message;
using google::protobuf::MethodDescriptor;
using std::chrono::steady_clock;

constexpr std::chrono::seconds kDrainLimit{5};
constexpr int kMaxRequestBytes = 1 << 20;
constexpr int kConnectionAgeMs = 30'000;

void Serialize(const Message& message, grpc::ByteBuffer* bytes) {
  bool own_buffer = false;
  const grpc::Status written =
      grpc::GenericSerialize<grpc::ProtoBufferWriter, Message>(message, bytes, &own_buffer);
  if (!written.ok()) throw std::runtime_error(written.error_message());
}

// Runs a call on the pool and counts it.
grpc::ServerUnaryReactor* Start(BoundMethod& bound, WorkerPool& pool, Identity& identity,
                                const std::stop_token& cut, grpc::CallbackServerContext* context,
                                const grpc::ByteBuffer* request, grpc::ByteBuffer* response) {
  const steady_clock::time_point arrived = steady_clock::now();
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const auto finish = [&bound, reactor](const grpc::Status& status) {
    bound.metrics.Count(status.error_code());
    reactor->Finish(status);
  };
  const auto work = [=, &bound, &identity] {
    if (context->IsCancelled()) return reactor->Finish(grpc::Status::CANCELLED);
    finish(Handle(bound, *context, *request, arrived, identity, cut,
                  [&](const Call& call, const Message& message) {
                    const Result<void> outcome = bound.method.handle(
                        call, message, [&](const Message& answer) { Serialize(answer, response); });
                    if (outcome && call.replayed) context->AddTrailingMetadata(kReplayed, "true");
                    return outcome;
                  }));
  };
  const bool accepted = pool.Post(work, request->Length());
  if (!accepted) {
    bound.metrics.Observe(steady_clock::now() - arrived, {});
    finish({grpc::StatusCode::UNAVAILABLE, "too busy, try again"});
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
      : host(settings.host),
        drain_delay(settings.drain_delay),
        pool(settings.threads, static_cast<size_t>(settings.queue)) {
    GuardHeaders();
    // A call whose token names an unknown key waits in its thread; half of them stay free of those.
    identity.users().SetMaxWaiting(settings.threads / 2);
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();

    grpc::ServerBuilder builder;
    // Without this a second process could take the same port and half of the calls.
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.SetMaxReceiveMessageSize(kMaxRequestBytes);
    // gRPC inflates a message before it looks at its size: a megabyte could be a thousand.
    builder.AddChannelArgument(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
    for (const auto algorithm : {GRPC_COMPRESS_GZIP, GRPC_COMPRESS_DEFLATE}) {
      builder.SetCompressionAlgorithmSupportStatus(algorithm, false);
    }
    // Makes clients reconnect and resolve the name again, so that a new replica gets its share.
    builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS, kConnectionAgeMs);
    builder.AddListeningPort(settings.host + ":" + std::to_string(settings.port),
                             identity.tls().server(), &port);
    // After the port: whoever does not get that leaves the socket alone.
    int on_socket = 1;
    if (!settings.socket.empty()) {
      builder.AddListeningPort("unix:" + settings.socket, identity.tls().server(), &on_socket);
    }
    for (const Service& service : services) {
      RequireEveryHandler(service);
      DescriptorService& added = *registered.emplace_back(std::make_unique<DescriptorService>());
      for (const Method& method : service.methods()) {
        BoundMethod& bound = *bound_methods.emplace_back(std::make_unique<BoundMethod>(
            method, "/" + service.descriptor()->full_name() + "/" + method.descriptor->name()));
        if (method.open) {
          OpenStreams::Show(bound);
          added.AddStream(
              bound.path, [this, &bound, &identity](grpc::CallbackServerContext* context,
                                                    const grpc::ByteBuffer* request) {
                return streams.Start(bound, pool, identity, cut.get_token(), context, request);
              });
          continue;
        }
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
    if (on_socket == 0) throw std::runtime_error("cannot listen on " + settings.socket);
    for (const Service& service : services) {
      server->GetHealthCheckService()->SetServingStatus(service.descriptor()->full_name(), true);
    }
  }

  ~State() {
    if (server == nullptr) return;
    server->GetHealthCheckService()->SetServingStatus(false);
    std::this_thread::sleep_for(drain_delay);
    streams.EndAll();
    EndWithin(kDrainLimit, cut,
              [this] { server->Shutdown(std::chrono::system_clock::now() + kDrainLimit); });
  }

  std::string host;
  std::chrono::milliseconds drain_delay;
  int port = 0;
  std::stop_source cut;
  WorkerPool pool;
  OpenStreams streams;
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
