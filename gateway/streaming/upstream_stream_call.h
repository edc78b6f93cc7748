// Includes gRPC: only for .cpp files.
#pragma once

#include <google/protobuf/message_lite.h>
#include <grpcpp/generic/generic_stub.h>

#include <boost/asio/any_io_executor.hpp>
#include <functional>
#include <memory>

#include "gateway/streaming/upstream_stream.h"
#include "gateway/upstream.h"

namespace shop::gateway {

// How a status of a service is shown to clients.
UpstreamStream::End EndOf(const grpc::Status& status);

// Starts the call. `on_change` runs on `executor` whenever the stream has changed, never after the
// stream was destroyed. `channel_in_use` is let go of once gRPC has, which may be later.
std::unique_ptr<UpstreamStream> StartUpstreamStream(
    grpc::TemplatedGenericStub<google::protobuf::MessageLite, google::protobuf::MessageLite>& stub,
    const Upstreams::Request& request, const boost::asio::any_io_executor& executor,
    std::function<void()> on_change, std::shared_ptr<const void> channel_in_use);

}  // namespace shop::gateway
