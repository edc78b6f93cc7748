#include "common/core/process.h"
#include "common/kafka/consumer.h"
#include "common/kafka/relay.h"
#include "messaging_migrations.h"
#include "orders/config.h"
#include "orders/order_events.h"
#include "orders/orders_service.h"
#include "orders_migrations.h"

namespace {

// Small, as each ordered cart is a call to cart of up to five seconds, and what comes after a batch
// waits for all of them.
constexpr int kCartBatch = 20;

}  // namespace

int main() {
  using namespace shop;
  Process process("orders");
  const orders::Config config = orders::Config::Read(process.env());
  process.Start();

  postgres::Pool db(config.postgres);
  process.WaitFor("PostgreSQL", [&] {
    postgres::Migrate(db, {kMessagingMigrations, kOrdersMigrations});
  });
  const auto watch = process.WatchReadiness("PostgreSQL", [&] { postgres::Ping(db); });

  rpc::Identity identity(config.identity);
  const rpc::Channel products(config.products_address, &identity);
  const rpc::Channel cart(config.cart_address, &identity);

  // They end in the reverse order: the rpcs are answered first, and the relay publishes last.
  const kafka::OutboxRelay relay(config.kafka, db);
  orders::OrdersService service(db, products, cart, config.currency);
  const kafka::Consumer consumer(config.kafka, "orders", {"stock"}, db, orders::EventHandlers());
  // Apart from the above, so that a cart service that is away holds up no order.
  const kafka::Consumer carts(config.kafka, "cart", {"orders"}, db, orders::CartHandlers(cart, db),
                              {.batch = kCartBatch});
  const rpc::Server server(config.server, identity, {service.Methods()});
  // Orders are taken all the same: they stay PENDING, and carts keep what was ordered.
  process.AddDegradation("the consumer of stock", [&] { return consumer.ready(); });
  process.AddDegradation("the consumer of orders for carts", [&] { return carts.ready(); });
  return process.RunUntilStopped();
}
