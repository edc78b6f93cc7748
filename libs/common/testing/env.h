// An environment that a test writes down.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "common/core/env.h"

namespace shop::testing {

inline Env EnvOf(const std::map<std::string, std::string>& values) {
  return Env([values](const std::string& name) -> std::optional<std::string> {
    const auto found = values.find(name);
    if (found == values.end()) return std::nullopt;
    return found->second;
  });
}

}  // namespace shop::testing
