// The commands for an operator who deals with refused mails: `notification refused-mails` and
// `notification resend-mails ORDER|all`, beside the running process, on its database.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "common/postgres/pool.h"

namespace shop::notification {

// Runs one command and prints the result to `out`. Returns the exit code: 0, or 2 for an unknown
// command. Throws if the database is away.
int RunMailCommand(postgres::Pool& db, const std::vector<std::string>& words, std::ostream& out);

}  // namespace shop::notification
