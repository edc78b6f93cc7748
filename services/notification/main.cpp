#include <iostream>
#include <string>
#include <vector>

#include "common/core/process.h"
#include "common/kafka/messaging.h"
#include "common/kafka/revocations.h"
#include "common/postgres/migrate_command.h"
#include "common/rpc/client.h"
#include "common/rpc/identity.h"
#include "common/rpc/server.h"
#include "messaging_migrations.h"
#include "notification/config.h"
#include "notification/mail_command.h"
#include "notification/mail_erasure.h"
#include "notification/mail_sender.h"
#include "notification/notification_events.h"
#include "notification/notification_service.h"
#include "notification_migrations.h"

namespace {

const std::vector<shop::postgres::MigrationSet>& Migrations() {
  static const std::vector<shop::postgres::MigrationSet> migrations{shop::kMessagingMigrations,
                                                                    shop::kNotificationMigrations};
  return migrations;
}

// `migrate`, or what can be done about mails: the process's own settings of the database, and nothing of the process.
int Operate(const std::vector<std::string>& words) {
  if (words == std::vector<std::string>{"migrate"}) {
    return shop::postgres::RunMigrateCommand("notification", Migrations());
  }
  shop::Env env;
  const auto settings = shop::postgres::Settings::Read(env, "notification");
  for (const std::string& problem : env.problems())
    std::cerr << "wrong setting: " << problem << "\n";
  if (!env.problems().empty()) return 2;
  try {
    shop::postgres::Pool db(settings);
    return shop::notification::RunMailCommand(db, words, std::cout);
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}

}  // namespace

int main(int argc, char** argv) {
  using namespace shop;
  if (argc > 1) return Operate({argv + 1, argv + argc});
  Process process("notification");
  const notification::Config config = notification::Config::Read(process.env());
  process.Start();

  postgres::Pool db(config.postgres);
  process.WaitFor("PostgreSQL", [&] { postgres::Migrate(db, Migrations()); });
  const auto watch = process.WatchReadiness("PostgreSQL", [&] { postgres::Ping(db); });

  rpc::Identity identity(config.service.identity);
  const kafka::Revocations revocations(config.kafka, identity.users(), process);
  const rpc::Channel users("users", config.users_address, identity);

  notification::NotificationService service(db);
  const rpc::Channel auth("auth", config.auth_address, identity);
  const notification::MailSender sender(db, users, auth, config.smtp, config.mail_from,
                                        config.sender);
  process.AddDegradation("the mail server", [&] { return sender.healthy(); });

  kafka::Messaging messaging(config.kafka, db, process);
  messaging.Consume("notification", {"orders", "payments", "accounts", "users"},
                    notification::EventHandlers(), {.required = true});
  const messaging::ErasureSweeper erasures(db, notification::EraseUser, config.erasures);
  const rpc::Server server(config.service.server, identity, {service.Methods()});
  return process.RunUntilStopped();
}
