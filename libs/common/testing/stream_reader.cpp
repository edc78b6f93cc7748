#include "common/testing/stream_reader.h"

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/support/byte_buffer.h>

#include <chrono>
#include <optional>

#include "common/rpc/status.h"

namespace shop::testing {

struct StreamReader::State {
  explicit State(const std::string& address)
      : stub(grpc::CreateChannel(address, grpc::InsecureChannelCredentials())) {}
  // The step that was begun last, when it is done.
  bool Done() {
    void* tag = nullptr;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  }

  grpc::GenericStub stub;
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call;
  bool ended = false;
  std::optional<grpc::Status> status;
};

StreamReader::StreamReader(const std::string& address, const Credentials& credentials,
                           const std::string& path, const google::protobuf::Message& request)
    : state_(std::make_unique<State>(address)) {
  State& state = *state_;
  state.context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  Present(credentials, path, &state.context);
  grpc::ByteBuffer bytes;
  bool own_buffer = false;
  grpc::GenericSerialize<grpc::ProtoBufferWriter, google::protobuf::Message>(request, &bytes,
                                                                             &own_buffer);
  state.call = state.stub.PrepareCall(&state.context, path, &state.queue);
  state.call->StartCall(nullptr);
  state.ended = !state.Done();
  if (state.ended) return;
  state.call->WriteLast(bytes, {}, nullptr);
  state.ended = !state.Done();
}

StreamReader::~StreamReader() {
  (void)End();
}

bool StreamReader::Next(google::protobuf::Message* message) {
  State& state = *state_;
  if (state.ended) return false;
  grpc::ByteBuffer bytes;
  state.call->Read(&bytes, nullptr);
  state.ended = !state.Done();
  if (state.ended) return false;
  return grpc::GenericDeserialize<grpc::ProtoBufferReader, google::protobuf::Message>(&bytes,
                                                                                      message)
      .ok();
}

Result<void> StreamReader::End() {
  State& state = *state_;
  if (!state.status) {
    if (!state.ended) state.context.TryCancel();
    state.status.emplace();
    state.call->Finish(&*state.status, nullptr);
    state.Done();
  }
  if (state.status->ok()) return kDone;
  return rpc::FromStatus(*state.status);
}

}  // namespace shop::testing
