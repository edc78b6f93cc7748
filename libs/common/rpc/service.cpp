#include "common/rpc/service.h"

#include <stdexcept>

#include "common/rpc/access.h"

namespace shop::rpc {

using google::protobuf::Descriptor;
using google::protobuf::DescriptorPool;
using google::protobuf::MessageFactory;
using google::protobuf::MethodDescriptor;

Service::Service(const std::string& name)
    : descriptor_(DescriptorPool::generated_pool()->FindServiceByName(name)) {
  if (descriptor_ == nullptr) throw std::logic_error("no service " + name + " is declared");
}

Service& Service::On(const MethodDescriptor& method, Method::Handler handler) {
  if (method.server_streaming() || method.client_streaming()) {
    throw std::logic_error(method.full_name() + " is declared as a stream");
  }
  RequireAccessOption(method);
  const auto* request = MessageFactory::generated_factory()->GetPrototype(method.input_type());
  methods_.push_back({&method, request, std::move(handler), {}});
  return *this;
}

Service& Service::OnStream(const MethodDescriptor& method, Method::Opener opener) {
  if (!method.server_streaming() || method.client_streaming()) {
    throw std::logic_error(method.full_name() + " is not declared as a stream of responses");
  }
  RequireAccessOption(method);
  StreamIdOf(*method.output_type());
  const auto* request = MessageFactory::generated_factory()->GetPrototype(method.input_type());
  methods_.push_back({&method, request, {}, std::move(opener)});
  return *this;
}

const MethodDescriptor& Service::Declared(const char* name, const Descriptor* request,
                                          const Descriptor* response) const {
  const MethodDescriptor* method = descriptor_->FindMethodByName(name);
  if (method == nullptr) {
    throw std::logic_error(descriptor_->full_name() + " declares no method " + name);
  }
  if (method->input_type() != request || method->output_type() != response) {
    throw std::logic_error(method->full_name() + " is declared with other types");
  }
  return *method;
}

}  // namespace shop::rpc
