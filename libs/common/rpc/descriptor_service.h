// Includes gRPC: only for .cpp files.
#pragma once

#include <grpcpp/impl/service_type.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace shop::rpc {

// A gRPC service whose methods are added at run time and take and give bytes. It registers what
// generated code would register, so that reflection lists it; docs/decisions/0026 says why this
// needs gRPC's internals, and why they are used nowhere else.
class DescriptorService final : public grpc::Service {
 public:
  // Runs on gRPC's threads and must not block. The request and the response live until the reactor
  // is finished.
  using Handler = std::function<grpc::ServerUnaryReactor*(
      grpc::CallbackServerContext*, const grpc::ByteBuffer* request, grpc::ByteBuffer* response)>;

  // The same for a method that streams its responses.
  using StreamHandler = std::function<grpc::ServerWriteReactor<grpc::ByteBuffer>*(
      grpc::CallbackServerContext*, const grpc::ByteBuffer* request)>;

  // Adds the unary method at `path` (/shop.orders.v1.OrdersService/CreateOrder). All methods are
  // added before the service is registered with a server.
  void Add(const std::string& path, Handler handler);
  void AddStream(const std::string& path, StreamHandler handler);

 private:
  const char* Keep(const std::string& path);

  std::vector<std::unique_ptr<const std::string>> paths_;  // gRPC keeps pointers to their text
};

}  // namespace shop::rpc
