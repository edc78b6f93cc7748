#pragma once

#include <string_view>

namespace shop::gateway {

// The serialized google.protobuf.FileDescriptorSet of every proto of the platform, with its
// comments.
std::string_view DescriptorSet();

}  // namespace shop::gateway
