#pragma once

#include <string>
#include <string_view>

namespace shop {

// The SHA-256 of `bytes`: 32 bytes, or the same as 64 lower-case hex digits.
std::string Sha256(std::string_view bytes);
std::string Sha256Hex(std::string_view bytes);

// The HMAC with SHA-256 (RFC 2104): 32 bytes.
std::string HmacSha256(std::string_view key, std::string_view bytes);

// Whether both are the same, in a time that tells nothing of where they differ.
bool EqualInConstantTime(std::string_view one, std::string_view other);

}  // namespace shop
