#include <iostream>
#include <string>
#include <vector>

#include "common/core/process.h"
#include "common/kafka/consumer.h"
#include "common/kafka/relay.h"
#include "common/postgres/migrations.h"
#include "common/rpc/client.h"
#include "common/rpc/identity.h"
#include "common/rpc/server.h"
#include "messaging_migrations.h"
#include "notification/config.h"
#include "notification/mail_command.h"
#include "notification/mail_sender.h"
#include "notification/notification_events.h"
#include "notification_migrations.h"

namespace {

// The process's own settings of the database, and nothing of the process.
int Operate(const std::vector<std::string>& words) {
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
  if (argc > 1) return Operate({argv + 1, argv + argc});
  shop::Process process("notification");
  const auto config = shop::notification::Config::Read(process.env());
  process.Start();

  shop::postgres::Pool db(config.postgres);
  process.WaitFor("PostgreSQL", [&] {
    shop::postgres::Migrate(db, {shop::kMessagingMigrations, shop::kNotificationMigrations});
  });
  const auto watch = process.WatchReadiness("PostgreSQL", [&] { shop::postgres::Ping(db); });

  shop::rpc::Identity identity(config.identity);
  const shop::rpc::Channel users(config.users_address, &identity);

  const shop::notification::MailSender sender(db, users, config.smtp, config.mail_from);
  // They end in the reverse order.
  const shop::kafka::OutboxRelay relay(config.kafka, db);  // publishes what the consumer parks
  const shop::kafka::Consumer consumer(config.kafka, "notification", {"orders"}, db,
                                       shop::notification::OrderHandlers());
  const shop::rpc::Server server(config.server, identity, {});  // health and reflection
  process.AddReadiness("the consumer of orders", [&] { return consumer.ready(); });
  process.AddDegradation("the mail server", [&] { return sender.healthy(); });
  return process.RunUntilStopped();
}
