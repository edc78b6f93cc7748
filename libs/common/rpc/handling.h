// What surrounds every handler, of one response and of a stream alike. Includes gRPC: only for .cpp
// files.
#pragma once

#include <grpcpp/grpcpp.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <array>
#include <chrono>
#include <functional>
#include <stop_token>
#include <string>

#include "common/rpc/service.h"
#include "common/telemetry/duration_histogram.h"
#include "common/telemetry/metrics.h"

namespace shop::rpc {

class Identity;

// The metrics of one method. Thread-safe.
class MethodMetrics {
 public:
  explicit MethodMetrics(const std::string& path);

  // A call that has ended.
  void Count(grpc::StatusCode code);
  // How long it took to answer one, or to open a stream.
  void Observe(std::chrono::steady_clock::duration took, const TraceContext& trace);

 private:
  std::array<prometheus::Counter*, 17> codes_{};
  DurationHistogram duration_;
};

struct BoundMethod {
  BoundMethod(Method bound, std::string bound_path)
      : method(std::move(bound)), path(std::move(bound_path)), metrics(path) {}

  Method method;
  std::string path;  // /shop.orders.v1.OrdersService/CreateOrder
  MethodMetrics metrics;
};

// Everything between the wire and the handler: who calls, may they, is the request well formed; then
// `handler`, within a DeadlineScope of the call and `cut`, and one status for whatever comes of it. Observes the time
// since the call `arrived`.
grpc::Status Handle(
    BoundMethod& bound, const grpc::CallbackServerContext& context, const grpc::ByteBuffer& request,
    std::chrono::steady_clock::time_point arrived, Identity& identity, const std::stop_token& cut,
    const std::function<Result<void>(const Call&, const google::protobuf::Message&)>& handler);

}  // namespace shop::rpc
