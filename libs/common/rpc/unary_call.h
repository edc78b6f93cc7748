// Includes gRPC: only for .cpp files.
#pragma once

#include <google/protobuf/message_lite.h>
#include <grpcpp/client_context.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/status.h>

#include <string>

namespace shop::rpc {

using UnaryStub =
    grpc::TemplatedGenericStub<google::protobuf::MessageLite, google::protobuf::MessageLite>;

// Calls the method at `path` (/shop.orders.v1.OrdersService/GetOrder) and waits for its answer on
// the calling thread.
grpc::Status CallUnary(UnaryStub& stub, const std::string& path, grpc::ClientContext* context,
                       const google::protobuf::MessageLite& request,
                       google::protobuf::MessageLite* response);

}  // namespace shop::rpc
