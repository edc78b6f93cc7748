#include "users/users_service.h"

#include <google/protobuf/empty.pb.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "common/messaging/event.h"
#include "common/messaging/outbox.h"
#include "shop/events/v1/users.pb.h"
#include "users/user_store.h"

namespace shop::users {
namespace {

using postgres::InTransaction;
using postgres::Read;
using postgres::Tx;

Refusal NoSuchUser() {
  return {Code::kNotFound, "there is no such user"};
}

Refusal LastSuperAdmin() {
  return {Code::kFailedPrecondition, "this is the last SUPER_ADMIN"};
}

Result<v1::User> FoundOrRefused(std::optional<v1::User> user) {
  if (!user) return NoSuchUser();
  return *std::move(user);
}

// To who has the role in their token and has lost it since.
Refusal NoSuperAdminAnyMore() {
  return {Code::kPermissionDenied, "you are no SUPER_ADMIN any more"};
}

Refusal OthersAreForSuperAdmins() {
  return {Code::kPermissionDenied, "only a SUPER_ADMIN may delete somebody else"};
}

bool Contains(const std::vector<int64_t>& ids, int64_t id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

// Everybody else gets NOT_FOUND, so that nobody learns which ids exist.
bool MaySee(const Caller& caller, int64_t id) {
  return caller.user_id == id || caller.is_admin() || caller.is_service();
}

// If the request names versions: locks the profile and refuses it at any other version.
template <typename Request>
Result<void> CheckVersion(Tx& tx, const Request& request) {
  const auto& wanted = request.if_versions();
  if (wanted.empty()) return kDone;
  const std::optional<int64_t> version = LockVersion(tx, request.id());
  if (!version) return NoSuchUser();
  if (std::find(wanted.begin(), wanted.end(), *version) == wanted.end()) return VersionChanged();
  return kDone;
}

messaging::EventContext ContextOf(const Call& call) {
  return {.source = "users", .trace = call.trace};
}

std::string Object(int64_t user) {
  return "user " + std::to_string(user);
}

// Whose role is more than everybody's. It is auth that calls: who gave the role is among the details.
void RecordRole(Tx& tx, const Call& call, const v1::CreateUserRequest& made) {
  audit::Fact fact{"USER_CREATED", Object(made.id()), {{"role", RoleText(made.role())}}};
  if (made.has_granted_by()) fact.details["by"] = Object(made.granted_by());
  audit::Record(tx, call, fact);
}

}  // namespace

UsersService::UsersService(postgres::Pool& db) : db_(db) {}

rpc::Service UsersService::Methods() {
  return rpc::Service("shop.users.v1.UsersService")
      .On("ListUsers", this, &UsersService::ListUsers)
      .On("GetUser", this, &UsersService::GetUser)
      .On("BatchGetUsers", this, &UsersService::BatchGetUsers)
      .On("UpdateUser", this, &UsersService::UpdateUser)
      .On("UpdateUserRole", this, &UsersService::UpdateUserRole)
      .On("DeleteUser", this, &UsersService::DeleteUser)
      .On("CreateUser", this, &UsersService::CreateUser)
      .On("ConfirmEmail", this, &UsersService::ConfirmEmail)
      .On("ListUserAudit", &audit_, &audit::Reader::ListAudit);
}

Result<v1::ListUsersResponse> UsersService::ListUsers(const Call&,
                                                      const v1::ListUsersRequest& request) {
  const Result<Page> page = PageOf(request, 1);
  if (!page) return page.refusal();
  const std::optional<int64_t> before =
      page->by_cursor() ? CursorNumber(page->after[0]) : std::numeric_limits<int64_t>::max();
  if (!before) return InvalidCursor();
  return Read(db_, [&](Tx& tx) { return List(tx, request.q(), *before, *page); });
}

Result<v1::User> UsersService::GetUser(const Call& call, const v1::GetUserRequest& request) {
  if (!MaySee(call.caller, request.id())) return NoSuchUser();
  return FoundOrRefused(Read(db_, [&](Tx& tx) { return Find(tx, request.id()); }));
}

Result<v1::BatchGetUsersResponse> UsersService::BatchGetUsers(
    const Call&, const v1::BatchGetUsersRequest& request) {
  v1::BatchGetUsersResponse response;
  const std::vector<int64_t> ids(request.ids().begin(), request.ids().end());
  for (v1::User& user : Read(db_, [&](Tx& tx) { return FindAll(tx, ids); })) {
    *response.add_users() = std::move(user);
  }
  return response;
}

Result<v1::User> UsersService::UpdateUser(const Call& call, const v1::UpdateUserRequest& request) {
  if (!MaySee(call.caller, request.id())) return NoSuchUser();
  return InTransaction(db_, [&](Tx& tx) -> Result<v1::User> {
    if (Result<void> same = CheckVersion(tx, request); !same) return same.refusal();
    return FoundOrRefused(Update(tx, request));
  });
}

Result<v1::User> UsersService::UpdateUserRole(const Call& call,
                                              const v1::UpdateUserRoleRequest& request) {
  return InTransaction(db_, [&](Tx& tx) -> Result<v1::User> {
    const std::vector<int64_t> super_admins = LockSuperAdmins(tx);
    if (call.caller.is_user() && !Contains(super_admins, call.caller.user_id)) {
      return NoSuperAdminAnyMore();
    }
    if (super_admins == std::vector{request.id()} && request.role() != api::v1::ROLE_SUPER_ADMIN) {
      return LastSuperAdmin();
    }
    if (Result<void> same = CheckVersion(tx, request); !same) return same.refusal();
    const std::optional<v1::User> before = Lock(tx, request.id());
    if (!before) return NoSuchUser();
    if (before->role() == request.role()) return *before;
    const v1::User changed = UpdateRole(tx, request.id(), request.role());
    events::v1::UserRoleChanged event;
    event.set_user_id(changed.id());
    event.set_role(changed.role());
    event.set_version(changed.version());
    messaging::Publish(tx, event, ContextOf(call));
    audit::Record(tx, call,
                  {"ROLE_CHANGED",
                   Object(request.id()),
                   {{"from", RoleText(before->role())}, {"to", RoleText(changed.role())}}});
    return changed;
  });
}

Result<google::protobuf::Empty> UsersService::DeleteUser(const Call& call,
                                                         const v1::DeleteUserRequest& request) {
  if (!MaySee(call.caller, request.id())) return NoSuchUser();
  const Result<void> deleted = InTransaction(db_, [&](Tx& tx) -> Result<void> {
    LockId(tx, request.id());
    const std::vector<int64_t> super_admins = LockSuperAdmins(tx);
    const bool own = request.id() == call.caller.user_id;
    if (own && super_admins == std::vector{request.id()}) return LastSuperAdmin();
    if (!own && !Contains(super_admins, call.caller.user_id)) {
      if (!Find(tx, request.id())) return NoSuchUser();
      return call.caller.role == api::v1::ROLE_SUPER_ADMIN ? NoSuperAdminAnyMore()
                                                           : OthersAreForSuperAdmins();
    }
    if (IsDeleted(tx, request.id())) return kDone;
    if (Result<void> same = CheckVersion(tx, request); !same) return same;
    if (!Delete(tx, request.id())) return NoSuchUser();
    events::v1::UserDeleted event;
    event.set_user_id(request.id());
    messaging::Publish(tx, event, ContextOf(call));
    audit::Record(tx, call, {"USER_DELETED", Object(request.id())});
    return kDone;
  });
  if (!deleted) return deleted.refusal();
  return google::protobuf::Empty();
}

Result<v1::User> UsersService::CreateUser(const Call& call, const v1::CreateUserRequest& request) {
  return InTransaction(db_, [&](Tx& tx) -> Result<v1::User> {
    LockId(tx, request.id());
    if (request.has_granted_by() && !LockSuperAdmin(tx, request.granted_by())) {
      return Refusal{.code = Code::kFailedPrecondition,
                     .message = "who gives the role is no SUPER_ADMIN",
                     .reason = "ROLE_NOT_GRANTED"};
    }
    if (IsDeleted(tx, request.id())) {
      return Refusal{Code::kFailedPrecondition, "this user was deleted"};
    }
    const std::optional<int64_t> attempt = FindAttempt(tx, request.id());
    if (attempt > request.attempt()) {
      return Refusal{Code::kAborted, "a later attempt at this registration came first"};
    }
    if (attempt == request.attempt()) return FoundOrRefused(Find(tx, request.id()));
    v1::User made = attempt ? Overwrite(tx, request) : Insert(tx, request);
    if (!attempt) {
      events::v1::UserRegistered event;
      event.set_user_id(request.id());
      event.set_role(request.role());
      messaging::Publish(tx, event, ContextOf(call));
    }
    if (request.role() != api::v1::ROLE_USER) RecordRole(tx, call, request);
    return made;
  });
}

Result<v1::User> UsersService::ConfirmEmail(const Call&, const v1::ConfirmEmailRequest& request) {
  return FoundOrRefused(InTransaction(
      db_, [&](Tx& tx) { return users::ConfirmEmail(tx, request.id(), request.email()); }));
}

}  // namespace shop::users
