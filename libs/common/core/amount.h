// Amounts of money as people and JSON have them.
#pragma once

#include <cstdint>
#include <string>

namespace shop {

// "19.99" of an amount in minor units.
std::string AmountText(int64_t minor_units);

// The same at the end of `out`.
void AppendAmount(int64_t minor_units, std::string* out);

}  // namespace shop
