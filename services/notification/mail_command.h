// What an operator does about refused mails: `notification refused-mails` and
// `notification resend-mails ORDER|all`, beside the running process, on its database.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "common/postgres/pool.h"

namespace shop::notification {

// Runs one command and says on `out` what came of it, in lines for people. Answers the exit code:
// 0, or 2 for what is no command. Throws when the database is away.
int RunMailCommand(postgres::Pool& db, const std::vector<std::string>& words, std::ostream& out);

}  // namespace shop::notification
