// Which services the gateway serves.
#pragma once

#include <google/protobuf/descriptor.h>

#include <string>
#include <vector>

namespace shop::gateway {

using Services = std::vector<const google::protobuf::ServiceDescriptor*>;

// Every service of a package under shop. that is linked into this process.
Services DeclaredServices();

// The second part of the service's package: shop.orders.v1 is "orders". It names the address.
std::string ProcessOf(const google::protobuf::ServiceDescriptor& service);

}  // namespace shop::gateway
