// All SQL of what is asked for by who has forgotten a password. Everything runs in the caller's transaction;
// addresses are in lower case; times are those of the database.
//
// An address has one request, the latest. Its token is 256 random bits, made when notification is about to
// send the mail, and is kept as its hash, and sealed, so that a mail that is tried again has the same one.
// docs/decisions/0038-password-resets.md has the reasons.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "auth/account_store.h"
#include "common/postgres/pool.h"

namespace shop::auth {

// How long a request can be followed.
inline constexpr std::chrono::minutes kResetLife{30};
// How many an address has in an hour.
inline constexpr int kResetsAnHour = 3;

// Makes a request in the place of the one before, and answers its name, a UUID; nothing if the address has
// had its share of the hour. The same for an address that nobody has.
std::optional<std::string> RequestReset(postgres::Tx& tx, const std::string& address);

struct ResetMail {
  int64_t account;
  std::string token;
};
// What the mail about this request has to say: makes the token, or finds the one of before. Nothing if it
// has expired or was used, if another request is the latest, and if nobody has the address.
std::optional<ResetMail> PrepareReset(postgres::Tx& tx, const std::string& request,
                                      const std::string& encryption_key);

// Whose token it is; nothing if it is no good.
std::optional<Account> FindResetAccount(postgres::Tx& tx, const std::string& token);
// Uses the token: of two at once the second gets nothing.
bool UseReset(postgres::Tx& tx, const std::string& token);

// Of an account that is erased.
void ForgetResets(postgres::Tx& tx, int64_t account);
// Deletes up to `limit` that neither can be followed nor count any more, and answers how many.
int64_t SweepResets(postgres::Tx& tx, int64_t limit);

}  // namespace shop::auth
