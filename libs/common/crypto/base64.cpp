#include "common/crypto/base64.h"

#include <absl/strings/ascii.h>
#include <absl/strings/escaping.h>

#include <algorithm>

namespace shop {
namespace {

// The packaged Abseil has a string_view of its own.
absl::string_view View(std::string_view text) {
  return {text.data(), text.size()};
}

}  // namespace

std::string EncodeBase64(std::string_view bytes) {
  return absl::Base64Escape(View(bytes));
}

std::string EncodeBase64Url(std::string_view bytes) {
  return absl::WebSafeBase64Escape(View(bytes));
}

std::optional<std::string> DecodeBase64(std::string_view text) {
  while (text.ends_with('=')) text.remove_suffix(1);
  std::string digits(text);
  for (char& c : digits) c = c == '+' ? '-' : c == '/' ? '_' : c;
  // Abseil skips white space and takes a point for padding.
  const bool clean = std::all_of(digits.begin(), digits.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_';
  });
  std::string bytes;
  if (!clean || !absl::WebSafeBase64Unescape(digits, &bytes)) return std::nullopt;
  return bytes;
}

std::optional<std::string> DecodeBase64Url(std::string_view text) {
  std::string bytes;
  if (!absl::WebSafeBase64Unescape(View(text), &bytes) || EncodeBase64Url(bytes) != text) {
    return std::nullopt;
  }
  return bytes;
}

}  // namespace shop
