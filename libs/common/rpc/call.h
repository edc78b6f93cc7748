// What a handler knows of the call that it answers.
#pragma once

#include <algorithm>
#include <chrono>
#include <string>
#include <string_view>

#include "common/auth/caller.h"
#include "common/telemetry/trace.h"

namespace shop {

// The metadata of an answer that is an earlier one, given again to a repeated request; over HTTP a
// header of this name.
inline constexpr char kReplayed[] = "idempotent-replayed";

// Whether clients may give this id to a request: it goes into logs and headers.
inline bool IsRequestId(std::string_view id) {
  return !id.empty() && id.size() <= 128 &&
         std::all_of(id.begin(), id.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

struct Call {
  Caller caller;
  std::chrono::system_clock::time_point deadline;
  std::string request_id;
  TraceContext trace;
  // Set by a handler that gives an earlier answer again (common/idempotency): the caller gets the
  // metadata `idempotent-replayed: true` with it.
  mutable bool replayed = false;

  std::chrono::milliseconds remaining() const {
    return std::chrono::duration_cast<std::chrono::milliseconds>(deadline -
                                                                 std::chrono::system_clock::now());
  }
};

}  // namespace shop
