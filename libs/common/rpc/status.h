// Refusals as gRPC statuses with google.rpc details, and back. Includes gRPC: only for .cpp files.
#pragma once

#include <grpcpp/support/status.h>

#include "common/core/result.h"

namespace shop::rpc {

// BadRequest carries the field violations, ErrorInfo (domain "shop") the reason.
grpc::Status ToStatus(const Refusal& refusal);
// The refusal that a status other than OK stands for. Codes a Refusal does not know become
// kInternal.
Refusal FromStatus(const grpc::Status& status);

}  // namespace shop::rpc
