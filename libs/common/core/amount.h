// Amounts of money as people read them.
#pragma once

#include <cstdint>
#include <string>

namespace shop {

// "19.99" of an amount in minor units.
std::string AmountText(int64_t minor_units);

}  // namespace shop
