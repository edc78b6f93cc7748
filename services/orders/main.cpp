#include <vector>

#include "common/core/process.h"
#include "common/idempotency/sweeper.h"
#include "common/kafka/messaging.h"
#include "common/kafka/revocations.h"
#include "common/kafka/topic_ends.h"
#include "common/postgres/migrate_command.h"
#include "idempotency_migrations.h"
#include "messaging_migrations.h"
#include "orders/config.h"
#include "orders/deadline_sweeper.h"
#include "orders/order_erasure.h"
#include "orders/order_events.h"
#include "orders/orders_service.h"
#include "orders/returns_service.h"
#include "orders_migrations.h"

namespace {

// Small, as each ordered cart is a call to cart of up to five seconds, and what comes after a batch
// waits for all of them.
constexpr int kCartBatch = 20;

// That say something about orders.
const std::vector<std::string> kTopics = {"stock", "payments", "shipments"};

}  // namespace

int main(int argc, char** argv) {
  using namespace shop;
  const std::vector<postgres::MigrationSet> migrations{kMessagingMigrations, kIdempotencyMigrations,
                                                       kOrdersMigrations};
  if (argc > 1) return postgres::RunMigrateCommand("orders", migrations, {argv + 1, argv + argc});
  Process process("orders");
  const orders::Config config = orders::Config::Read(process.env());
  process.Start();

  postgres::Pool db(config.postgres);
  process.WaitFor("PostgreSQL", [&] { postgres::Migrate(db, migrations); });
  const auto watch = process.WatchReadiness("PostgreSQL", [&] { postgres::Ping(db); });

  rpc::Identity identity(config.service.identity);
  const kafka::Revocations revocations(config.kafka, identity.users(), process);
  const rpc::Channel products("products", config.products_address, identity);
  const rpc::Channel cart("cart", config.cart_address, identity);
  const rpc::Channel shipping("shipping", config.shipping_address, identity);

  const idempotency::Sweeper key_sweeper(db);
  orders::OrdersService service(db, products, cart, shipping, config.currency, config.deadlines,
                                config.limits);
  orders::ReturnsService returns(db, products, config.deadlines);

  // Orders are placed without these two all the same: they stay PENDING, and carts keep what was
  // ordered.
  kafka::Messaging messaging(config.kafka, db, process);
  messaging.Consume("orders", {"stock", "payments", "shipments", "users"},
                    orders::EventHandlers(config.deadlines));
  // A group of its own, so that a cart service that is away delays no order.
  messaging.Consume("cart", {"orders"}, orders::CartHandlers(cart, db), {.batch = kCartBatch});
  kafka::TopicEnds ends(config.kafka, kTopics);
  const orders::DeadlineSweeper sweeper(
      db, orders::OrderShipping(shipping), [&ends] { return ends.Now(); }, config.deadlines);
  const messaging::ErasureSweeper erasures(
      db,
      [&](postgres::Tx& tx, int64_t user_id) {
        return orders::EraseUser(tx, user_id, config.deadlines);
      },
      config.erasures);
  const rpc::Server server(config.service.server, identity, {service.Methods(), returns.Methods()});
  return process.RunUntilStopped();
}
