// All SQL of accounts. Everything runs in the caller's transaction; addresses are in lower case.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "common/postgres/pool.h"

namespace shop::auth {

struct Account {
  int64_t id;
  std::string password_hash;
  bool active;
};

// One attempt at registering an account.
struct Attempt {
  int64_t id;      // the user's
  int64_t number;  // from 1
};

std::optional<Account> FindAccount(postgres::Tx& tx, const std::string& email);

// Begins a registration, or takes over a PENDING one, with the same id, the next attempt and this
// hash. Nothing if the address is taken.
std::optional<Attempt> BeginRegistration(postgres::Tx& tx, const std::string& email,
                                         const std::string& password_hash);
// Makes the account ACTIVE; false if another attempt has taken it over or the user was deleted.
// Idempotent.
bool CompleteRegistration(postgres::Tx& tx, const Attempt& attempt);

// The version of the profile at the last change of its role. Until the transaction ends, nobody changes
// or erases the account. Nothing if it has not this hash (any more).
std::optional<int64_t> HoldAccount(postgres::Tx& tx, int64_t id, const std::string& password_hash);
// The role was changed in this version of the profile; an earlier one that comes late changes nothing.
void RememberRoleChange(postgres::Tx& tx, int64_t id, int64_t profile_version);

void ReplacePasswordHash(postgres::Tx& tx, int64_t id, const std::string& password_hash);

// Erases address and hash for good. An unknown id, or one that was erased before, is no error.
void EraseAccount(postgres::Tx& tx, int64_t id);

}  // namespace shop::auth
