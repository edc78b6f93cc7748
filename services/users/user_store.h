// All SQL of users. Everything runs in the caller's transaction.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "common/core/paging.h"
#include "common/postgres/pool.h"
#include "shop/users/v1/users.pb.h"

namespace shop::users {

// Until the transaction ends no other one creates or deletes this id.
void LockId(postgres::Tx& tx, int64_t id);
// Until the transaction ends no other one can take the role from somebody who has it.
// Whether `id` is the only SUPER_ADMIN.
bool LockSuperAdminsAndIsLast(postgres::Tx& tx, int64_t id);

// Until the transaction ends no other one changes this profile. Nothing when there is none.
std::optional<int64_t> LockVersion(postgres::Tx& tx, int64_t id);

std::optional<v1::User> Find(postgres::Tx& tx, int64_t id);
bool IsDeleted(postgres::Tx& tx, int64_t id);

// The attempt that wrote the profile, or nothing when there is none.
std::optional<int64_t> FindAttempt(postgres::Tx& tx, int64_t id);
v1::User Insert(postgres::Tx& tx, const v1::CreateUserRequest& user);
v1::User Overwrite(postgres::Tx& tx, const v1::CreateUserRequest& user);

// Nothing when there is no such profile.
std::optional<v1::User> Update(postgres::Tx& tx, const v1::UpdateUserRequest& changes);
std::optional<v1::User> UpdateRole(postgres::Tx& tx, int64_t id, api::v1::Role role);

// Erases the profile and keeps the id from coming back; false when there is no such profile.
bool Delete(postgres::Tx& tx, int64_t id);

// One page of those whose name or e-mail address contains `q` (all when empty), newest first. Only
// ids below `before`, which a cursor holds.
v1::ListUsersResponse List(postgres::Tx& tx, const std::string& q, int64_t before,
                           const Page& page);

}  // namespace shop::users
