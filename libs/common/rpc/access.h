// Who may call a method: its option shop.api.v1.access, checked by gateway and services alike.
#pragma once

#include <google/protobuf/descriptor.h>

#include "common/auth/caller.h"
#include "common/core/result.h"

namespace shop::rpc {

// Throws std::logic_error naming the method when it has no access option, when that lets nobody in, or
// when it lets only services in and yet the method has an HTTP binding. Called for every method when a
// process starts.
void RequireAccessOption(const google::protobuf::MethodDescriptor& method);

// UNAUTHENTICATED for a guest where a token is needed, PERMISSION_DENIED for the wrong role or
// service. Roles include each other as shop.api.v1.Role says.
Result<void> CheckAccess(const google::protobuf::MethodDescriptor& method, const Caller& caller);

// Whether the method can be called without a token.
bool IsPublic(const google::protobuf::MethodDescriptor& method);

}  // namespace shop::rpc
