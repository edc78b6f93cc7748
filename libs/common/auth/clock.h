#pragma once

#include <chrono>
#include <functional>

namespace shop::auth {

// What tokens are dated by.
using Clock = std::function<std::chrono::system_clock::time_point()>;
inline std::chrono::system_clock::time_point SystemNow() {
  return std::chrono::system_clock::now();
}

}  // namespace shop::auth
