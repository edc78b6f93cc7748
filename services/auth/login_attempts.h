// Limits how fast passwords can be tried at one address.
//
// After ten attempts that have not succeeded, each further one is looked at only some time after the one
// before: a second, then twice as long each time, a minute at the most (OWASP ASVS 5.0, 6.3.1). So a
// stranger tries some fourteen hundred passwords a day, and can make its owner wait for a minute at a
// login, never longer; sessions that were begun before go on. What comes too early counts for nothing. An
// address that nobody has is treated alike. An hour without any attempt, and a login that succeeds, end
// the count.
#pragma once

#include <cstdint>
#include <string>

#include "common/postgres/pool.h"

namespace shop::auth {

// Begins an attempt: 0, or after how many seconds it may be made. Attempts at one address take turns
// here, so that many at once are no way around the limit.
int BeginAttempt(postgres::Tx& tx, const std::string& email);
// It has succeeded.
void ForgetAttempts(postgres::Tx& tx, const std::string& email);

// Deletes up to `limit` counts that have ended by themselves, and answers how many.
int64_t SweepAttempts(postgres::Tx& tx, int64_t limit);

}  // namespace shop::auth
