// What a method's google.api.http option says, read in one place for the routes and for the
// documents about them.
#pragma once

#include <google/protobuf/descriptor.h>

#include <string>
#include <vector>

namespace shop::gateway {

struct HttpBinding {
  std::string method;         // GET, or what a custom rule names
  std::string path_template;  // /api/v1/orders/{id}
  std::string body;           // "" none, "*" the whole request message, or the field it is
};

// The method's bindings in the order of their declaration, none for a method without HTTP. Throws
// std::logic_error naming the method where a rule says what is not served: no path, a custom method
// "*", response_body, or additional bindings of an additional binding.
std::vector<HttpBinding> HttpBindings(const google::protobuf::MethodDescriptor& method);

}  // namespace shop::gateway
