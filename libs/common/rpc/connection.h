// How connections to a service are made: by services to each other, and by the gateway. .cpp files
// alone include this, as it brings gRPC's headers.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/support/channel_arguments.h>
#include <grpcpp/support/status.h>

#include <memory>
#include <string>

#include "common/rpc/tls.h"

namespace shop::rpc {

// A name is resolved again at most once a second and calls go to all its addresses in turn, so that
// a container that was started again under another address is found. A connection that broke is
// made again after 100 ms, after a second at most when that keeps failing. An attempt may take two
// seconds: on a busy machine the first answer of a sound server can take some hundred milliseconds.
// Each address is asked for its health (grpc.health.v1, if it has that) and called while it is well, so that
// a server which is about to stop is left before it does.
// No call is repeated by gRPC itself: only the caller knows what may run twice, and it would cost
// 15 % of a call's CPU. See NotTaken for those that cannot have run.
// https://github.com/grpc/grpc/blob/v1.51.x/doc/connection-backoff.md
grpc::ChannelArguments ConnectionArguments();

// To the service `name` (`orders`) at `address`. With TLS it has to have a certificate of that name.
std::shared_ptr<grpc::Channel> Connect(const std::string& name, const std::string& address,
                                       const Tls& tls,
                                       grpc::ChannelArguments arguments = ConnectionArguments());

// Whether a call failed because its connection was ending and took no more calls: the other side has not
// looked at it, so that it may be made again whatever it does (RFC 9113, section 6.8). Services end their
// connections twice a minute and when they stop, and a few of the calls that come to gRPC at that moment
// fail like this (https://github.com/grpc/grpc/issues/31733). A call whose connection broke after it was
// taken is none of them.
//
// gRPC tells them apart by the text of its error alone. connection_test compares it with what the
// installed version says.
bool NotTaken(const grpc::Status& status);

// How often such a call is made again: the next connection is a new one, and does not end at once.
inline constexpr int kMaxRepeats = 3;

}  // namespace shop::rpc
