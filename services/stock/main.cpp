#include "common/core/process.h"
#include "common/kafka/consumer.h"
#include "common/kafka/relay.h"
#include "messaging_migrations.h"
#include "stock/config.h"
#include "stock/stock_events.h"

namespace {

// The orders of a batch are one call to products, which has five seconds for it and locks the
// products of all of them meanwhile.
constexpr int kBatch = 20;

}  // namespace

int main() {
  using namespace shop;
  Process process("stock");
  const stock::Config config = stock::Config::Read(process.env());
  process.Start();

  postgres::Pool db(config.postgres);
  process.WaitFor("PostgreSQL", [&] { postgres::Migrate(db, {kMessagingMigrations}); });
  const auto watch = process.WatchReadiness("PostgreSQL", [&] { postgres::Ping(db); });

  rpc::Identity identity(config.identity);
  const rpc::Channel products(config.products_address, &identity);

  // They end in the reverse order.
  const kafka::OutboxRelay relay(config.kafka, db);
  const kafka::Consumer consumer(config.kafka, "stock", {"orders"}, db,
                                 stock::EventHandlers(products), {.batch = kBatch});
  // No rpcs of its own; the port has health and reflection.
  const rpc::Server server(config.server, identity, {});
  process.AddReadiness("the consumer of orders", [&] { return consumer.ready(); });
  return process.RunUntilStopped();
}
