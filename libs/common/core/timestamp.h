// The range of a google.protobuf.Timestamp
// (https://protobuf.dev/reference/protobuf/google.protobuf/#timestamp).
#pragma once

#include <cstdint>

namespace shop {

// Whether it is from 0001-01-01T00:00:00Z to 9999-12-31T23:59:59.999999999Z: `seconds` since 1970, and
// nanoseconds that count forward from there.
constexpr bool IsTimestamp(int64_t seconds, int32_t nanos) {
  constexpr int64_t kYear1 = -62135596800;
  constexpr int64_t kYear10000 = 253402300800;
  return seconds >= kYear1 && seconds < kYear10000 && nanos >= 0 && nanos < 1'000'000'000;
}

}  // namespace shop
