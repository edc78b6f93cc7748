// How connections to a service are made: by services to each other, and by the gateway. .cpp files
// alone include this, as it brings gRPC's headers.
#pragma once

#include <grpcpp/support/channel_arguments.h>

namespace shop::rpc {

// A name is resolved again at most once a second and calls go to all its addresses in turn, so that
// a container that was started again under another address is found. A connection that broke is
// made again after 100 ms, after a second at most when that keeps failing. An attempt may take two
// seconds: on a busy machine the first answer of a sound server can take some hundred milliseconds.
// No call is repeated by gRPC itself: only the caller knows what may run twice, and it would cost
// 15 % of a call's CPU.
// https://github.com/grpc/grpc/blob/v1.51.x/doc/connection-backoff.md
grpc::ChannelArguments ConnectionArguments();

}  // namespace shop::rpc
