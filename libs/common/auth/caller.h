#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "shop/api/v1/options.pb.h"

namespace shop {

// Who calls: a guest, a user by access token, or a service by service token.
struct Caller {
  int64_t user_id = 0;  // 0 unless a user
  api::v1::Role role = api::v1::ROLE_GUEST;
  std::string service;  // empty unless a service
  std::string session;  // of a user's token; empty for one of the release before sessions
  // When a user's token expires: what goes on for longer than a call ends then.
  std::chrono::system_clock::time_point expires = std::chrono::system_clock::time_point::max();

  bool is_user() const { return user_id != 0; }
  bool is_service() const { return !service.empty(); }
  bool is_admin() const { return role == api::v1::ROLE_ADMIN || role == api::v1::ROLE_SUPER_ADMIN; }
};

}  // namespace shop
