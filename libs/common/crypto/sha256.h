#pragma once

#include <string>
#include <string_view>

namespace shop {

// The SHA-256 of `bytes`: 32 bytes, or the same as 64 lower-case hex digits.
std::string Sha256(std::string_view bytes);
std::string Sha256Hex(std::string_view bytes);

}  // namespace shop
