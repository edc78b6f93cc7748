// Base64 (RFC 4648) in both alphabets.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace shop {

// With + and /, padded.
std::string EncodeBase64(std::string_view bytes);
// With - and _, not padded.
std::string EncodeBase64Url(std::string_view bytes);

// Either alphabet, with or without padding. Nothing for any other character, white space included,
// and for a length that no bytes have.
std::optional<std::string> DecodeBase64(std::string_view text);
// Only what EncodeBase64Url writes: no padding, no other alphabet, no bits left over.
std::optional<std::string> DecodeBase64Url(std::string_view text);

}  // namespace shop
