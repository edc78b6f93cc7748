// The OpenAPI 3.1 document of everything the gateway serves, made from the same descriptors as its
// routes: paths, access, field rules, errors. What the protos say in comments is its prose.
#pragma once

#include <google/protobuf/descriptor.h>

#include <string>
#include <vector>

namespace shop::gateway {

// The document as JSON text. Methods without an HTTP binding are left out. The same descriptors
// give the same bytes.
std::string OpenApiDocument(
    const std::vector<const google::protobuf::ServiceDescriptor*>& services);

// Who may call what, as a Markdown table: every method, also those without an HTTP binding.
std::string AccessTable(const std::vector<const google::protobuf::ServiceDescriptor*>& services);

}  // namespace shop::gateway
