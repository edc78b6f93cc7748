#include "common/core/process.h"
#include "common/kafka/messaging.h"
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

  rpc::Identity identity(config.service.identity);
  const rpc::Channel products(config.products_address, &identity);
  const rpc::Channel cart(config.cart_address, &identity);

  orders::OrdersService service(db, products, cart, config.currency);

  // Orders are placed without these two all the same: they stay PENDING, and carts keep what was
  // ordered.
  kafka::Messaging messaging(config.kafka, db, process);
  messaging.Consume("orders", {"stock"}, orders::EventHandlers());
  // A group of its own, so that a cart service that is away delays no order.
  messaging.Consume("cart", {"orders"}, orders::CartHandlers(cart, db), {.batch = kCartBatch});
  const rpc::Server server(config.service.server, identity, {service.Methods()});
  return process.RunUntilStopped();
}
