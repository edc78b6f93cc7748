// The command `migrate` of every process with a database: a job that runs it before a release brings the
// database up to date while the processes of the release before go on.
#pragma once

#include <string>
#include <vector>

#include "common/core/env.h"
#include "common/postgres/migrations.h"

namespace shop::postgres {

// Applies the service's migrations as its start does, with the process's own settings of the database and
// nothing else of the process. Once in vain is enough: whoever runs it repeats it. Returns the exit code:
// 0 when the database is up to date, 1 when it could not be brought there, 2 for wrong settings.
int RunMigrateCommand(const std::string& service, const std::vector<MigrationSet>& sets,
                      Env env = {});

// For a process that knows no other command: 2 for any other words.
int RunMigrateCommand(const std::string& service, const std::vector<MigrationSet>& sets,
                      const std::vector<std::string>& words);

}  // namespace shop::postgres
