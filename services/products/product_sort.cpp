#include "products/product_sort.h"

#include <algorithm>
#include <optional>
#include <string>

namespace shop::products {
namespace {

std::optional<SortField> FieldNamed(std::string_view name) {
  if (name == "price") return SortField::kPrice;
  if (name == "name") return SortField::kName;
  if (name == "createdAt") return SortField::kCreatedAt;
  if (name == "id") return SortField::kId;
  return std::nullopt;
}

}  // namespace

Result<std::vector<SortKey>> ParseSort(std::string_view text) {
  std::vector<SortKey> keys;
  for (bool more = !text.empty(); more;) {
    const size_t comma = text.find(',');
    std::string_view name = text.substr(0, comma);
    more = comma != std::string_view::npos;
    if (more) text.remove_prefix(comma + 1);

    const bool descending = name.starts_with('-');
    if (descending) name.remove_prefix(1);
    const std::optional<SortField> field = FieldNamed(name);
    if (!field) {
      return InvalidField("sort", "names only price, name, createdAt and id, with commas between");
    }
    if (std::ranges::find(keys, *field, &SortKey::field) != keys.end()) {
      return InvalidField("sort", "names " + std::string(name) + " twice");
    }
    keys.push_back({*field, descending});
  }
  if (std::ranges::find(keys, SortField::kId, &SortKey::field) == keys.end()) {
    keys.push_back({SortField::kId, !keys.empty() && keys.back().descending});
  }
  return keys;
}

}  // namespace shop::products
