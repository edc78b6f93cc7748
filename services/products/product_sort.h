// Orders of product lists, as requests name them. No I/O.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "common/core/result.h"

namespace shop::products {

enum class SortField { kPrice, kName, kCreatedAt, kId };

struct SortKey {
  SortField field;
  bool descending = false;

  bool operator==(const SortKey&) const = default;
};

// Parses a list of keys such as "-price,name". The result always ends with the id, so that no two
// products tie and pages neither repeat nor skip one; it has the direction of the key before it, so
// that one index scan finds them in order. Refuses unknown and repeated names, as field `sort`.
Result<std::vector<SortKey>> ParseSort(std::string_view text);

}  // namespace shop::products
