#include "common/rpc/unary_call.h"

#include <grpcpp/completion_queue.h>
#include <grpcpp/impl/codegen/proto_utils.h>

namespace shop::rpc {

grpc::Status CallUnary(UnaryStub& stub, const std::string& path, grpc::ClientContext* context,
                       const google::protobuf::MessageLite& request,
                       google::protobuf::MessageLite* response) {
  // A queue of its own, so that this thread does the waiting and no other has to wake it.
  grpc::CompletionQueue queue;
  grpc::Status status;
  const auto call = stub.PrepareUnaryCall(context, path, request, &queue);
  call->StartCall();
  call->Finish(response, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  queue.Shutdown();
  while (queue.Next(&tag, &ok)) {
  }
  return status;
}

}  // namespace shop::rpc
