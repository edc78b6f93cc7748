#include "common/core/process.h"
#include "common/kafka/consumer.h"
#include "common/kafka/relay.h"
#include "messaging_migrations.h"
#include "stock/config.h"
#include "stock/stock_events.h"

namespace {

// Small, as each order is a call to products: a batch has to end within the time a stop may take.
constexpr int kBatch = 20;

}  // namespace

int main() {
  using namespace shop;
  Process process("stock");
  const stock::Config config = stock::Config::Read(process.env());
  process.Start();

  postgres::Pool db(config.postgres);
  process.WaitFor("PostgreSQL", [&] { postgres::Migrate(db, {kMessagingMigrations}); });

  rpc::Identity identity(config.identity);
  const rpc::Channel products(config.products_address, &identity);

  // No rpcs of its own; the port has health and reflection.
  const rpc::Server server(config.server, identity, {});
  kafka::OutboxRelay relay(config.kafka, db);
  const kafka::Consumer consumer(config.kafka, "stock", {"orders"}, db,
                                 stock::EventHandlers(products),
                                 {.after_commit = [&] { relay.Wake(); }, .batch = kBatch});
  process.WatchReadiness("PostgreSQL", [&] { postgres::Ping(db); });
  process.AddReadiness("the consumer of orders", [&] { return consumer.ready(); });
  return process.RunUntilStopped();
}
