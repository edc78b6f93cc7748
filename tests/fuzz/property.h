// What the fuzz targets hold the code to: properties, besides not crashing.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "common/core/result.h"

namespace shop::fuzz {

// Ends the process, which makes the input a finding.
inline void Require(bool holds, std::string_view property, std::string_view about = {}) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %.*s\nabout: %.*s\n", static_cast<int>(property.size()),
               property.data(), static_cast<int>(about.size()), about.data());
  std::abort();
}

// A client is told which field it is, or what is wrong with the text as a whole and where.
inline void RequireClear(const Refusal& refusal) {
  Require(refusal.code == Code::kInvalidArgument, "what is read badly is INVALID_ARGUMENT");
  if (refusal.details.empty()) {
    const std::string_view message = refusal.message;
    Require(message.starts_with("the JSON ") && message != "the JSON is malformed",
            "a refusal without a field says what is wrong or where", message);
  }
  for (const FieldViolation& violation : refusal.details) {
    Require(!violation.field.empty(), "a refusal names its field", violation.message);
    Require(!violation.message.empty(), "a refusal says why", violation.field);
  }
}

}  // namespace shop::fuzz
