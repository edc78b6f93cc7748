#include <vector>

#include "common/core/process.h"
#include "common/kafka/messaging.h"
#include "common/postgres/migrate_command.h"
#include "messaging_migrations.h"
#include "stock/config.h"
#include "stock/stock_events.h"
#include "stock_migrations.h"

namespace {

// The orders of a batch are one call to products, which has five seconds for it and locks the
// products of all of them meanwhile.
constexpr int kBatch = 20;

}  // namespace

int main(int argc, char** argv) {
  using namespace shop;
  const std::vector<postgres::MigrationSet> migrations{kMessagingMigrations, kStockMigrations};
  if (argc > 1) return postgres::RunMigrateCommand("stock", migrations, {argv + 1, argv + argc});
  Process process("stock");
  const stock::Config config = stock::Config::Read(process.env());
  process.Start();

  postgres::Pool db(config.postgres);
  process.WaitFor("PostgreSQL", [&] { postgres::Migrate(db, migrations); });
  const auto watch = process.WatchReadiness("PostgreSQL", [&] { postgres::Ping(db); });

  rpc::Identity identity(config.service.identity);
  const rpc::Channel products("products", config.products_address, identity);

  kafka::Messaging messaging(config.kafka, db, process);
  messaging.Consume("stock", {"orders", "users"}, stock::EventHandlers(products),
                    {.batch = kBatch, .required = true});
  const messaging::ErasureSweeper erasures(db, messaging::EraseEvents, config.erasures);
  // No rpcs of its own; the port has health and reflection.
  const rpc::Server server(config.service.server, identity, {});
  return process.RunUntilStopped();
}
