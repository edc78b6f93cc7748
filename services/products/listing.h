// Pages and orders of product lists, as requests name them. No I/O.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "common/core/result.h"

namespace shop::products {

struct Page {
  // What a request left out is page 1 of 20.
  static Page Of(std::optional<int32_t> number, std::optional<int32_t> limit);

  int64_t offset() const { return (int64_t{number} - 1) * limit; }
  int32_t pages(int64_t total) const;

  int32_t number;  // counted from 1
  int32_t limit;
};

enum class SortField { kPrice, kName, kCreatedAt, kId };

struct SortKey {
  SortField field;
  bool descending = false;

  bool operator==(const SortKey&) const = default;
};

// "-price,name" as keys. They always end in the id, so that no two products tie and pages neither
// repeat nor skip one. Refuses unknown names and names given twice, as field `sort`.
Result<std::vector<SortKey>> ParseSort(std::string_view text);

}  // namespace shop::products
