// Limits how many mails of a kind an address is sent because somebody asks for them: three in an hour.
//
// What counts is the address, kept as its hash, whoever has it and whether anybody does: so nobody learns of that,
// and an account that is made and deleted again and again is no way around the limit. Everything runs in the caller's
// transaction; addresses are in lower case; times are those of the database.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/postgres/pool.h"

namespace shop::auth {

inline constexpr int kMailsAnHour = 3;

// Counts a mail, and answers a name for it, a UUID; nothing if the address has had its share of the hour.
std::optional<std::string> AskForMail(postgres::Tx& tx, std::string_view kind,
                                      const std::string& address);
// In how many seconds an address that has had its share gets another one.
int NextMailIn(postgres::Tx& tx, std::string_view kind, const std::string& address);

// Deletes up to `limit` counts that have ended, and answers how many.
int64_t SweepAskedMails(postgres::Tx& tx, int64_t limit);

}  // namespace shop::auth
