#include "common/testing/fake_service.h"

#include <algorithm>

namespace shop::testing {

rpc::Service FakeService(rpc::Service service) {
  for (int i = 0; i < service.descriptor()->method_count(); ++i) {
    const google::protobuf::MethodDescriptor* method = service.descriptor()->method(i);
    const auto is_method = [&](const rpc::Method& bound) { return bound.descriptor == method; };
    if (std::any_of(service.methods().begin(), service.methods().end(), is_method)) continue;
    const Refusal missing{Code::kUnimplemented, "the fake has no such method"};
    if (method->server_streaming()) {
      service.OnStream(*method,
                       [missing](const auto&...) -> Result<rpc::OpenedStream> { return missing; });
    } else {
      service.On(*method, [missing](const auto&...) -> Result<void> { return missing; });
    }
  }
  return service;
}

}  // namespace shop::testing
