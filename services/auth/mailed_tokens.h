// All SQL of the tokens that only a mail carries, for another password and to confirm an address. Everything runs
// in the caller's transaction; addresses are in lower case; times are those of the database.
//
// An address has one request of each kind, the latest. Its token is 256 random bits, made when notification is
// about to send the mail, and is kept as its hash, and sealed, so that a mail that is tried again has the same
// one. docs/decisions/0038-password-resets.md and 0042-confirmed-addresses.md have the reasons.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "auth/account_store.h"
#include "common/postgres/pool.h"

namespace shop::auth {

// What a token is good for.
enum class TokenKind { kPasswordReset, kEmailConfirmation };

// How long a request can be followed.
inline constexpr std::chrono::minutes kResetLife{30};
inline constexpr std::chrono::hours kConfirmationLife{24};

// Makes a request in the place of the one before, and answers its name, a UUID; nothing if the address has
// had its share of the hour (asked_mails.h). The same for an address that nobody has.
std::optional<std::string> RequestToken(postgres::Tx& tx, TokenKind kind,
                                        const std::string& address);
// In how many seconds an address that has had its share gets another one.
int NextRequestIn(postgres::Tx& tx, TokenKind kind, const std::string& address);

struct TokenMail {
  int64_t account;
  std::string token;
};
// What the mail about this request has to say: makes the token, or finds the one of before. Nothing if it
// has expired or was used, if another request is the latest, and if nobody has the address.
std::optional<TokenMail> PrepareMail(postgres::Tx& tx, TokenKind kind, const std::string& request,
                                     const std::string& encryption_key);

// Whose token it is; nothing if it is no good.
std::optional<Account> FindTokenAccount(postgres::Tx& tx, TokenKind kind, const std::string& token);
// Uses the token: of two at once the second gets nothing.
bool UseToken(postgres::Tx& tx, TokenKind kind, const std::string& token);

// Of an account that is erased.
void ForgetTokens(postgres::Tx& tx, int64_t account);
// Deletes up to `limit` requests of each kind that cannot be followed any more, and answers how many of that
// kind of which it deleted most.
int64_t SweepTokens(postgres::Tx& tx, int64_t limit);

}  // namespace shop::auth
