#include "common/core/amount.h"

#include <charconv>

namespace shop {

void AppendAmount(int64_t minor_units, std::string* out) {
  // The negative range holds one value more than the positive one.
  const uint64_t size =
      minor_units < 0 ? 0 - static_cast<uint64_t>(minor_units) : static_cast<uint64_t>(minor_units);
  if (minor_units < 0) *out += '-';
  char digits[20];
  out->append(digits, std::to_chars(digits, digits + sizeof digits, size / 100).ptr);
  *out += '.';
  *out += static_cast<char>('0' + size % 100 / 10);
  *out += static_cast<char>('0' + size % 10);
}

std::string AmountText(int64_t minor_units) {
  std::string text;
  AppendAmount(minor_units, &text);
  return text;
}

}  // namespace shop
