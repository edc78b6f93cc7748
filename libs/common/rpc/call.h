// What a handler knows about the call it answers.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/telemetry/trace.h"
#include "shop/api/v1/options.pb.h"

namespace shop {

// Who calls: nobody in particular (a guest), a user by access token, or a service by service token.
struct Caller {
  int64_t user_id = 0;  // 0 unless a user
  api::v1::Role role = api::v1::ROLE_GUEST;
  std::string service;  // empty unless a service

  bool is_user() const { return user_id != 0; }
  bool is_service() const { return !service.empty(); }
  bool is_admin() const { return role == api::v1::ROLE_ADMIN || role == api::v1::ROLE_SUPER_ADMIN; }
};

// What may be a request's id: it comes from outside and goes into logs and headers.
inline bool IsRequestId(std::string_view id) {
  return !id.empty() && id.size() <= 128 &&
         std::all_of(id.begin(), id.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

struct Call {
  Caller caller;
  std::chrono::system_clock::time_point deadline;
  std::string request_id;
  TraceContext trace;

  std::chrono::milliseconds remaining() const {
    return std::chrono::duration_cast<std::chrono::milliseconds>(deadline -
                                                                 std::chrono::system_clock::now());
  }
};

}  // namespace shop
