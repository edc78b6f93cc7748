#include "common/rpc/service.h"

#include <stdexcept>

#include "common/rpc/access.h"

namespace shop::rpc {

using google::protobuf::Descriptor;
using google::protobuf::DescriptorPool;

Service::Service(const std::string& name)
    : descriptor_(DescriptorPool::generated_pool()->FindServiceByName(name)) {
  if (descriptor_ == nullptr) throw std::logic_error("no service " + name + " is declared");
}

Service& Service::Add(const char* name, const Descriptor* request, const Descriptor* response,
                      Method method) {
  method.descriptor = descriptor_->FindMethodByName(name);
  if (method.descriptor == nullptr) {
    throw std::logic_error(descriptor_->full_name() + " declares no method " + name);
  }
  if (method.descriptor->input_type() != request || method.descriptor->output_type() != response) {
    throw std::logic_error(method.descriptor->full_name() + " is declared with other types");
  }
  RequireAccessOption(*method.descriptor);
  methods_.push_back(std::move(method));
  return *this;
}

}  // namespace shop::rpc
