#pragma once

#include "common/rpc/service.h"

namespace shop::testing {

// `service` with UNIMPLEMENTED as the answer of every method that it has no handler for: a server
// does not start otherwise, and a fake needs but a few.
rpc::Service FakeService(rpc::Service service);

}  // namespace shop::testing
