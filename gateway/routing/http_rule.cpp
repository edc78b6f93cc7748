#include "gateway/routing/http_rule.h"

#include <stdexcept>

#include "google/api/annotations.pb.h"

namespace shop::gateway {
namespace {

using google::api::HttpRule;
using google::protobuf::MethodDescriptor;

[[noreturn]] void CannotServe(const MethodDescriptor& method, const char* why) {
  throw std::logic_error(method.full_name() + " has an HTTP binding that cannot be served: " + why);
}

HttpBinding BindingOf(const MethodDescriptor& method, const HttpRule& rule) {
  if (!rule.response_body().empty()) CannotServe(method, "response_body");
  switch (rule.pattern_case()) {
    case HttpRule::kGet:
      return {"GET", rule.get(), rule.body()};
    case HttpRule::kPut:
      return {"PUT", rule.put(), rule.body()};
    case HttpRule::kPost:
      return {"POST", rule.post(), rule.body()};
    case HttpRule::kDelete:
      return {"DELETE", rule.delete_(), rule.body()};
    case HttpRule::kPatch:
      return {"PATCH", rule.patch(), rule.body()};
    case HttpRule::kCustom:
      if (rule.custom().kind().empty() || rule.custom().kind() == "*") {
        CannotServe(method, "a custom rule for every HTTP method");
      }
      return {rule.custom().kind(), rule.custom().path(), rule.body()};
    case HttpRule::PATTERN_NOT_SET:
      break;
  }
  CannotServe(method, "no path");
}

}  // namespace

std::vector<HttpBinding> HttpBindings(const MethodDescriptor& method) {
  std::vector<HttpBinding> bindings;
  if (!method.options().HasExtension(google::api::http)) return bindings;
  const HttpRule& rule = method.options().GetExtension(google::api::http);
  bindings.push_back(BindingOf(method, rule));
  for (const HttpRule& more : rule.additional_bindings()) {
    if (more.additional_bindings_size() > 0) CannotServe(method, "bindings nested twice");
    bindings.push_back(BindingOf(method, more));
  }
  return bindings;
}

}  // namespace shop::gateway
