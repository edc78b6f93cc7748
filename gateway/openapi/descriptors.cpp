#include "gateway/openapi/descriptors.h"

// The assembler copies the file that protoc wrote into the read-only data.
asm(R"(
  .section .rodata
  shop_descriptor_set:
  .incbin ")" SHOP_DESCRIPTOR_SET R"("
  shop_descriptor_set_end:
  .byte 0
  .previous
)");

extern "C" const char shop_descriptor_set[];
extern "C" const char shop_descriptor_set_end[];

namespace shop::gateway {

std::string_view DescriptorSet() {
  return {shop_descriptor_set, static_cast<size_t>(shop_descriptor_set_end - shop_descriptor_set)};
}

}  // namespace shop::gateway
