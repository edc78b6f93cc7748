// All SQL of auth. Everything runs in the caller's transaction; addresses are in lower case.
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

// Begins a registration, or takes over one that is PENDING: same id, next attempt, this hash.
// Nothing when the address is taken.
std::optional<Attempt> BeginRegistration(postgres::Tx& tx, const std::string& email,
                                         const std::string& password_hash);
// Makes the account ACTIVE; false when another attempt took it over or the user was deleted
// meanwhile. Repeating it is harmless.
bool FinishRegistration(postgres::Tx& tx, const Attempt& attempt);

void ReplacePasswordHash(postgres::Tx& tx, int64_t id, const std::string& password_hash);

// Erases address and hash, for good. An id that is unknown or erased already is no error.
void EraseAccount(postgres::Tx& tx, int64_t id);

}  // namespace shop::auth
