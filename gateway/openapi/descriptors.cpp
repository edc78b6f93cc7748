#include "gateway/openapi/descriptors.h"

#include "gateway/embedded.h"

// What protoc wrote.
SHOP_EMBED(shop_descriptor_set, SHOP_DESCRIPTOR_SET);

namespace shop::gateway {

std::string_view DescriptorSet() {
  return SHOP_EMBEDDED(shop_descriptor_set);
}

}  // namespace shop::gateway
