#include "common/postgres/migrate_command.h"

#include <iostream>

#include "common/postgres/pool.h"
#include "common/telemetry/log.h"

namespace shop::postgres {

int RunMigrateCommand(const std::string& service, const std::vector<MigrationSet>& sets, Env env) {
  const Settings settings = Settings::Read(env, service);
  for (const std::string& problem : env.problems())
    std::cerr << "wrong setting: " << problem << "\n";
  if (!env.problems().empty()) return 2;
  log::Init(service, log::Level::kInfo);
  try {
    Pool db(settings);
    Migrate(db, sets);
    std::cout << "the database of " << service << " is up to date\n";
    return 0;
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}

int RunMigrateCommand(const std::string& service, const std::vector<MigrationSet>& sets,
                      const std::vector<std::string>& words) {
  if (words != std::vector<std::string>{"migrate"}) {
    std::cerr << service << " knows one command: migrate\n";
    return 2;
  }
  return RunMigrateCommand(service, sets);
}

}  // namespace shop::postgres
