// All SQL of accounts. Everything runs in the caller's transaction; addresses are in lower case.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "common/postgres/pool.h"

namespace shop::auth {

struct Account {
  int64_t id;
  std::string email;  // none of one that was erased, which has no hash either
  std::string password_hash;
  int64_t password_version;
  bool active;
};

// One attempt at registering an account.
struct Attempt {
  int64_t id;      // the user's
  int64_t number;  // from 1
};

std::optional<Account> FindAccount(postgres::Tx& tx, const std::string& email);
std::optional<Account> FindAccount(postgres::Tx& tx, int64_t id);

// Begins a registration, or takes over a PENDING one, with the same id, the next attempt and this
// hash. Nothing if the address is taken.
std::optional<Attempt> BeginRegistration(postgres::Tx& tx, const std::string& email,
                                         const std::string& password_hash);
// Makes the account ACTIVE; false if another attempt has taken it over or the user was deleted.
// Idempotent.
bool CompleteRegistration(postgres::Tx& tx, const Attempt& attempt);

// The version of the profile at the last change of its role. Until the transaction ends, nobody changes
// or erases the account. Nothing if it has not this password (any more).
std::optional<int64_t> HoldAccount(postgres::Tx& tx, int64_t id, int64_t password_version);
// False if there is no such account any more. Until the transaction ends, nobody logs in to it.
bool LockAccount(postgres::Tx& tx, int64_t id);
// The role was changed in this version of the profile; an earlier one that comes late changes nothing.
void RememberRoleChange(postgres::Tx& tx, int64_t id, int64_t profile_version);

// Gives the account, as it was found, another password. False if it has not the one of then any more.
bool ReplacePassword(postgres::Tx& tx, const Account& account, const std::string& password_hash);
// Keeps another hash of the same password.
void ReplaceHash(postgres::Tx& tx, const Account& account, const std::string& password_hash);

// Erases address and hash for good. An unknown id, or one that was erased before, is no error.
void EraseAccount(postgres::Tx& tx, int64_t id);

}  // namespace shop::auth
