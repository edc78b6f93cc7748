// All SQL of users. Everything runs in the caller's transaction.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/core/paging.h"
#include "common/postgres/pool.h"
#include "shop/users/v1/users.pb.h"

namespace shop::users {

// As the database has it: SELLER of ROLE_SELLER.
std::string RoleText(api::v1::Role role);

// Until the transaction ends, no other transaction creates or deletes this id.
void LockId(postgres::Tx& tx, int64_t id);
// Everybody who is a SUPER_ADMIN now. Until the transaction ends, no other transaction takes the role
// from any of them.
std::vector<int64_t> LockSuperAdmins(postgres::Tx& tx);
// Whether `id` is a SUPER_ADMIN now, and stays one until the transaction ends.
bool LockSuperAdmin(postgres::Tx& tx, int64_t id);

// The profile's version; nothing if there is no such profile. Until the transaction ends, no other
// transaction changes it.
std::optional<int64_t> LockVersion(postgres::Tx& tx, int64_t id);

std::optional<v1::User> Find(postgres::Tx& tx, int64_t id);
// Those of them that there are.
std::vector<v1::User> FindAll(postgres::Tx& tx, const std::vector<int64_t>& ids);
// As Find; until the transaction ends, no other transaction changes it.
std::optional<v1::User> Lock(postgres::Tx& tx, int64_t id);
bool IsDeleted(postgres::Tx& tx, int64_t id);

// The registration attempt that wrote the profile; nothing if there is no such profile.
std::optional<int64_t> FindAttempt(postgres::Tx& tx, int64_t id);
v1::User Insert(postgres::Tx& tx, const v1::CreateUserRequest& user);
v1::User Overwrite(postgres::Tx& tx, const v1::CreateUserRequest& user);

// Nothing if there is no such profile.
std::optional<v1::User> Update(postgres::Tx& tx, const v1::UpdateUserRequest& changes);
// Of a profile that there is.
v1::User UpdateRole(postgres::Tx& tx, int64_t id, api::v1::Role role);

// Notes that the address is confirmed, if it is not yet. Nothing if no such profile has this address.
std::optional<v1::User> ConfirmEmail(postgres::Tx& tx, int64_t id, const std::string& email);

// Erases the profile and records its id as deleted for good; false if there is no such profile.
bool Delete(postgres::Tx& tx, int64_t id);

// One page of the users whose name or e-mail address contains `q` (of all if it is empty), newest
// first. Only ids below `before`, the value of a cursor.
v1::ListUsersResponse List(postgres::Tx& tx, const std::string& q, int64_t before,
                           const Page& page);

}  // namespace shop::users
