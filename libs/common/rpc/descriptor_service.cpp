#include "common/rpc/descriptor_service.h"

#include <grpcpp/impl/codegen/server_callback_handlers.h>
#include <grpcpp/impl/rpc_service_method.h>
#include <grpcpp/version_info.h>

#include <utility>

#if GRPC_CPP_VERSION_MAJOR != 1 || GRPC_CPP_VERSION_MINOR != 51
#error "This file uses gRPC's internals as gRPC 1.51 has them; see docs/decisions/0026."
#endif

namespace shop::rpc {

void DescriptorService::Add(const std::string& path, Handler handler) {
  const int index = static_cast<int>(paths_.size());
  AddMethod(new grpc::internal::RpcServiceMethod(Keep(path), grpc::internal::RpcMethod::NORMAL_RPC,
                                                 nullptr));
  MarkMethodCallback(index,
                     new grpc::internal::CallbackUnaryHandler<grpc::ByteBuffer, grpc::ByteBuffer>(
                         std::move(handler)));
}

void DescriptorService::AddStream(const std::string& path, StreamHandler handler) {
  const int index = static_cast<int>(paths_.size());
  AddMethod(new grpc::internal::RpcServiceMethod(
      Keep(path), grpc::internal::RpcMethod::SERVER_STREAMING, nullptr));
  MarkMethodCallback(
      index, new grpc::internal::CallbackServerStreamingHandler<grpc::ByteBuffer, grpc::ByteBuffer>(
                 std::move(handler)));
}

const char* DescriptorService::Keep(const std::string& path) {
  return paths_.emplace_back(std::make_unique<const std::string>(path))->c_str();
}

}  // namespace shop::rpc
