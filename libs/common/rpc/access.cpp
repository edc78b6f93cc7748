#include "common/rpc/access.h"

#include <algorithm>
#include <stdexcept>

#include "google/api/annotations.pb.h"

namespace shop::rpc {
namespace {

using api::v1::Access;
using api::v1::Role;
using google::protobuf::MethodDescriptor;

const Access& AccessOf(const MethodDescriptor& method) {
  return method.options().GetExtension(api::v1::access);
}

bool Names(const Access& access, Role role) {
  return std::find(access.roles().begin(), access.roles().end(), role) != access.roles().end();
}

// Whether a user of role `has` may do what `needed` may; see shop.api.v1.Role.
bool Includes(Role has, int needed) {
  switch (needed) {
    case api::v1::ROLE_USER:
      return has >= api::v1::ROLE_USER;
    case api::v1::ROLE_ADMIN:
      return has == api::v1::ROLE_ADMIN || has == api::v1::ROLE_SUPER_ADMIN;
    case api::v1::ROLE_SELLER:
    case api::v1::ROLE_SUPER_ADMIN:
      return has == needed;
    default:
      return false;
  }
}

}  // namespace

void RequireAccessOption(const MethodDescriptor& method) {
  const Access& access = AccessOf(method);
  if (access.roles().empty() && access.services().empty()) {
    throw std::logic_error(method.full_name() + " does not say who may call it");
  }
  for (const int role : access.roles()) {
    if (!api::v1::Role_IsValid(role) || role == api::v1::ROLE_UNSPECIFIED) {
      throw std::logic_error(method.full_name() + " lets in a role that does not exist");
    }
  }
  for (const std::string& service : access.services()) {
    if (service.empty()) throw std::logic_error(method.full_name() + " lets in a nameless service");
  }
  if (access.roles().empty() && method.options().HasExtension(google::api::http)) {
    throw std::logic_error(method.full_name() + " is for services alone and has an HTTP binding");
  }
}

bool IsPublic(const MethodDescriptor& method) {
  return Names(AccessOf(method), api::v1::ROLE_GUEST);
}

Result<void> CheckAccess(const MethodDescriptor& method, const Caller& caller) {
  const Access& access = AccessOf(method);
  if (Names(access, api::v1::ROLE_GUEST)) return kDone;

  if (caller.is_service()) {
    const auto& services = access.services();
    if (std::find(services.begin(), services.end(), caller.service) != services.end()) return kDone;
    return Refusal{Code::kPermissionDenied, "service " + caller.service + " may not call this"};
  }
  if (!caller.is_user()) {
    return Refusal{Code::kUnauthenticated,
                   access.roles().empty() ? "a service token is needed" : "sign in first"};
  }
  for (const int role : access.roles()) {
    if (Includes(caller.role, role)) return kDone;
  }
  return Refusal{Code::kPermissionDenied, access.roles().empty() ? "only services may call this"
                                                                 : "your role may not do this"};
}

}  // namespace shop::rpc
