#include <vector>

#include "common/core/process.h"
#include "common/kafka/messaging.h"
#include "common/kafka/revocations.h"
#include "common/postgres/migrate_command.h"
#include "common/rpc/identity.h"
#include "common/rpc/server.h"
#include "messaging_migrations.h"
#include "shipping/carrier.h"
#include "shipping/config.h"
#include "shipping/shipment_erasure.h"
#include "shipping/shipping_events.h"
#include "shipping/shipping_service.h"
#include "shipping_migrations.h"

int main(int argc, char** argv) {
  using namespace shop;
  const std::vector<postgres::MigrationSet> migrations{kMessagingMigrations, kShippingMigrations};
  if (argc > 1) return postgres::RunMigrateCommand("shipping", migrations, {argv + 1, argv + argc});
  Process process("shipping");
  const shipping::Config config = shipping::Config::Read(process.env());
  process.Start();

  postgres::Pool db(config.postgres);
  process.WaitFor("PostgreSQL", [&] { postgres::Migrate(db, migrations); });
  const auto watch = process.WatchReadiness("PostgreSQL", [&] { postgres::Ping(db); });

  rpc::Identity identity(config.service.identity);
  const kafka::Revocations revocations(config.kafka, identity.users(), process);
  shipping::ShippingService service(db);

  kafka::Messaging messaging(config.kafka, db, process);
  messaging.Consume("shipping", {"orders", "users"}, shipping::EventHandlers());
  const messaging::ErasureSweeper erasures(db, shipping::EraseUser, config.erasures);
  const shipping::Carrier carrier(db, config.carrier);
  const rpc::Server server(config.service.server, identity, {service.Methods()});
  return process.RunUntilStopped();
}
