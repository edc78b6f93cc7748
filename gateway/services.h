// Which services the gateway serves.
#pragma once

#include <google/protobuf/descriptor.h>

#include <string>
#include <vector>

namespace shop::gateway {

using Services = std::vector<const google::protobuf::ServiceDescriptor*>;

// Every service of a package under shop. that is linked into this process.
Services DeclaredServices();

// Every message of the package shop.events.v1 that is an event, by file and in its order there.
std::vector<const google::protobuf::Descriptor*> DeclaredEvents();

// The second part of the service's package: shop.orders.v1 is "orders". It names the address.
std::string ProcessOf(const google::protobuf::ServiceDescriptor& service);

}  // namespace shop::gateway
