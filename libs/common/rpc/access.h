// Who may call a method: its option shop.api.v1.access, read the same way in gateway and services.
#pragma once

#include <google/protobuf/descriptor.h>

#include "common/core/result.h"
#include "common/rpc/call.h"

namespace shop::rpc {

// Throws std::logic_error naming the method when it has no access option or one that lets nobody
// in, or has services alone and yet an HTTP binding. Called for every method at the start of a
// process.
void RequireAccessOption(const google::protobuf::MethodDescriptor& method);

// UNAUTHENTICATED for a guest where a token is needed, PERMISSION_DENIED for the wrong role or
// service. Roles include each other as shop.api.v1.Role says.
Result<void> CheckAccess(const google::protobuf::MethodDescriptor& method, const Caller& caller);

// Whether the method can be called without a token.
bool IsPublic(const google::protobuf::MethodDescriptor& method);

}  // namespace shop::rpc
