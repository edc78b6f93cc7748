// All SQL of second factors: what a login needs besides the password. Everything runs in the caller's
// transaction, which has locked the account; times are those of the database.
//
// An account has one secret (totp.h), kept sealed under KEY_ENCRYPTION_KEY with the account's id. It counts once it
// was confirmed by a code. Ten recovery codes stand in for a lost one: 80 random bits each, kept as their
// SHA-256, each good once. docs/decisions/0044-second-factors.md has the reasons.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/postgres/pool.h"

namespace shop::auth {

// Whether a login to the account needs a code.
bool HasSecondFactor(postgres::Tx& tx, int64_t account);

// Makes a secret that is to be confirmed, in the place of another such, and answers it. Nothing if the account has
// a second factor.
std::optional<std::string> BeginSecondFactor(postgres::Tx& tx, int64_t account,
                                             const std::string& encryption_key);
// Whether there is a secret to be confirmed.
bool AwaitsSecondFactor(postgres::Tx& tx, int64_t account);
// Confirms it by a code, and answers the recovery codes, which are kept nowhere. Nothing if the code is wrong.
std::optional<std::vector<std::string>> ConfirmSecondFactor(postgres::Tx& tx, int64_t account,
                                                            std::string_view code,
                                                            const std::string& encryption_key);

// Takes a code of the second factor, or a recovery code: each once. False if it is neither.
bool UseCode(postgres::Tx& tx, int64_t account, std::string_view code,
             const std::string& encryption_key);

// With its recovery codes; also one that is not confirmed.
void RemoveSecondFactor(postgres::Tx& tx, int64_t account);

}  // namespace shop::auth
