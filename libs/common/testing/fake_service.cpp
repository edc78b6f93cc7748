#include "common/testing/fake_service.h"

#include <algorithm>

namespace shop::testing {

rpc::Service FakeService(rpc::Service service) {
  for (int i = 0; i < service.descriptor()->method_count(); ++i) {
    const google::protobuf::MethodDescriptor* method = service.descriptor()->method(i);
    const auto is_method = [&](const rpc::Method& bound) { return bound.descriptor == method; };
    if (std::any_of(service.methods().begin(), service.methods().end(), is_method)) continue;
    service.On(*method, [](const auto&...) -> Result<void> {
      return Refusal{Code::kUnimplemented, "the fake has no such method"};
    });
  }
  return service;
}

}  // namespace shop::testing
