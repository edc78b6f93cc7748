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
  const std::string& kept = *paths_.emplace_back(std::make_unique<const std::string>(path));
  AddMethod(new grpc::internal::RpcServiceMethod(kept.c_str(),
                                                 grpc::internal::RpcMethod::NORMAL_RPC, nullptr));
  MarkMethodCallback(index,
                     new grpc::internal::CallbackUnaryHandler<grpc::ByteBuffer, grpc::ByteBuffer>(
                         std::move(handler)));
}

}  // namespace shop::rpc
