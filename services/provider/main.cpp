#include <vector>

#include "common/core/process.h"
#include "common/postgres/migrate_command.h"
#include "provider/api.h"
#include "provider/background.h"
#include "provider/config.h"
#include "provider/http_server.h"
#include "provider/ledger.h"
#include "provider_migrations.h"

int main(int argc, char** argv) {
  using namespace shop;
  const std::vector<postgres::MigrationSet> migrations{kProviderMigrations};
  if (argc > 1) return postgres::RunMigrateCommand("provider", migrations, {argv + 1, argv + argc});
  Process process("provider");
  const provider::Config config = provider::Config::Read(process.env());
  process.Start();

  postgres::Pool db(config.postgres);
  process.WaitFor("PostgreSQL", [&] { postgres::Migrate(db, migrations); });
  const auto watch = process.WatchReadiness("PostgreSQL", [&] { postgres::Ping(db); });

  provider::Ledger ledger(db, config.decide_after);
  provider::Api api(ledger, config.api_key);
  const provider::Background background(ledger, config.webhooks);
  const provider::HttpServer server(config.http, api);
  return process.RunUntilStopped();
}
