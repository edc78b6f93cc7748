#include "common/core/amount.h"

namespace shop {

std::string AmountText(int64_t minor_units) {
  const bool negative = minor_units < 0;
  // The negative range holds one value more than the positive one.
  const uint64_t size =
      negative ? 0 - static_cast<uint64_t>(minor_units) : static_cast<uint64_t>(minor_units);
  const std::string cents = std::to_string(size % 100);
  return (negative ? "-" : "") + std::to_string(size / 100) + (cents.size() < 2 ? ".0" : ".") +
         cents;
}

}  // namespace shop
