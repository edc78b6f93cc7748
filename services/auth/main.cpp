#include <algorithm>
#include <iostream>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "audit_migrations.h"
#include "auth/auth_events.h"
#include "auth/auth_service.h"
#include "auth/config.h"
#include "auth/operator_account.h"
#include "auth/session_sweeper.h"
#include "auth_migrations.h"
#include "common/core/process.h"
#include "common/kafka/messaging.h"
#include "common/kafka/revocations.h"
#include "common/postgres/migrate_command.h"
#include "common/telemetry/log.h"
#include "messaging_migrations.h"

namespace {

const std::vector<shop::postgres::MigrationSet>& Migrations() {
  static const std::vector<shop::postgres::MigrationSet> migrations{
      shop::kMessagingMigrations, shop::kAuditMigrations, shop::kAuthMigrations};
  return migrations;
}

// `migrate`, or `rotate-keys` with the process's own settings of the database and the keys; nothing else of the process.
int Operate(const std::vector<std::string>& words) {
  if (words == std::vector<std::string>{"migrate"}) {
    return shop::postgres::RunMigrateCommand("auth", Migrations());
  }
  shop::Env env;
  const auto database = shop::postgres::Settings::Read(env, "auth");
  const auto keys = shop::auth::ReadSigningKeySettings(env);
  for (const std::string& problem : env.problems())
    std::cerr << "wrong setting: " << problem << "\n";
  if (!env.problems().empty()) return 2;
  if (words != std::vector<std::string>{"rotate-keys"}) {
    std::cerr << "auth knows two commands: migrate, rotate-keys\n";
    return 2;
  }
  try {
    shop::postgres::Pool db(database);
    std::cout << (shop::auth::MakeNextKey(db, keys)
                      ? "a new key is published, and signs in ten minutes\n"
                      : "there is a new key already, which has not begun to sign\n");
    return 0;
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}

}  // namespace

int main(int argc, char** argv) {
  using namespace shop;
  if (argc > 1) return Operate({argv + 1, argv + argc});
  Process process("auth");
  const auth::Config config = auth::Config::Read(process.env());
  process.Start();
  if (config.options.allow_role_at_registration) {
    log::Warning("ALLOW_ROLE_AT_REGISTRATION is on: anybody can register as SELLER or ADMIN");
  }

  postgres::Pool db(config.postgres);
  process.WaitFor("PostgreSQL", [&] { postgres::Migrate(db, Migrations()); });
  const auto watch = process.WatchReadiness("PostgreSQL", [&] { postgres::Ping(db); });

  std::optional<auth::SigningKeys> keys;
  process.WaitFor("the signing keys", [&] { keys.emplace(db, config.keys); });
  rpc::Identity identity(config.service.identity, [&] { return keys->published(); });
  const kafka::Revocations revocations(config.kafka, identity.users(), process);
  const rpc::Channel users("users", config.users_address, identity);
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  // A quarter of the threads stays free for what needs no hash.
  auth::PasswordHasher passwords(config.bcrypt_cost, cores,
                                 config.service.server.threads * 3 / 4 - std::max(cores, 1));
  auth::AuthService service(db, users, passwords, *keys, config.options);

  const auth::SessionSweeper sweeper(db);
  kafka::Messaging messaging(config.kafka, db, process);
  messaging.Consume("auth", {"users"}, auth::EventHandlers());
  const rpc::Server server(config.service.server, identity, {service.Methods()});
  std::optional<auth::OperatorAccount> operator_account;
  if (config.operator_account) {
    operator_account.emplace(service, *config.operator_account);
    // Only a first start waits for users with this: who finds the stack ready can sign in.
    process.AddReadiness("the operator's account", [&] { return operator_account->exists(); });
  }
  return process.RunUntilStopped();
}
