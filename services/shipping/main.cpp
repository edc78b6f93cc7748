#include "common/core/process.h"
#include "common/kafka/consumer.h"
#include "common/kafka/relay.h"
#include "common/postgres/migrations.h"
#include "common/rpc/identity.h"
#include "common/rpc/server.h"
#include "messaging_migrations.h"
#include "shipping/config.h"
#include "shipping/shipping_events.h"
#include "shipping/shipping_service.h"
#include "shipping_migrations.h"

int main() {
  shop::Process process("shipping");
  const auto config = shop::shipping::Config::Read(process.env());
  process.Start();

  shop::postgres::Pool db(config.postgres);
  process.WaitFor("PostgreSQL", [&] {
    shop::postgres::Migrate(db, {shop::kMessagingMigrations, shop::kShippingMigrations});
  });
  const auto watch = process.WatchReadiness("PostgreSQL", [&] { shop::postgres::Ping(db); });

  shop::rpc::Identity identity(config.identity);
  shop::shipping::ShippingService service(db);
  // They end in the reverse order.
  const shop::kafka::OutboxRelay relay(config.kafka, db);  // publishes what the consumer parks
  const shop::kafka::Consumer consumer(config.kafka, "shipping", {"orders"}, db,
                                       shop::shipping::EventHandlers());
  const shop::rpc::Server server(config.server, identity, {service.Methods()});
  process.AddDegradation("the consumer of orders", [&] { return consumer.ready(); });
  return process.RunUntilStopped();
}
