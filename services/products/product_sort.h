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

// "-price,name" as keys. They always end in the id, so that no two products tie and pages neither
// repeat nor skip one; it goes up or down as the key before, so that one walk along an index finds
// them. Refuses unknown names and names given twice, as field `sort`.
Result<std::vector<SortKey>> ParseSort(std::string_view text);

}  // namespace shop::products
