#include <vector>

#include "audit_migrations.h"
#include "common/core/process.h"
#include "common/kafka/messaging.h"
#include "common/kafka/revocations.h"
#include "common/postgres/migrate_command.h"
#include "messaging_migrations.h"
#include "users/config.h"
#include "users/users_service.h"
#include "users_migrations.h"

int main(int argc, char** argv) {
  using namespace shop;
  const std::vector<postgres::MigrationSet> migrations{kMessagingMigrations, kAuditMigrations,
                                                       kUsersMigrations};
  if (argc > 1) return postgres::RunMigrateCommand("users", migrations, {argv + 1, argv + argc});
  Process process("users");
  const users::Config config = users::Config::Read(process.env());
  process.Start();

  postgres::Pool db(config.postgres);
  process.WaitFor("PostgreSQL", [&] { postgres::Migrate(db, migrations); });
  const auto watch = process.WatchReadiness("PostgreSQL", [&] { postgres::Ping(db); });

  rpc::Identity identity(config.service.identity);
  const kafka::Revocations revocations(config.kafka, identity.users(), process);
  users::UsersService service(db);

  const kafka::Messaging messaging(config.kafka, db, process);
  const rpc::Server server(config.service.server, identity, {service.Methods()});
  return process.RunUntilStopped();
}
