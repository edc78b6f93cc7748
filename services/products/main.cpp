#include <vector>

#include "audit_migrations.h"
#include "common/core/process.h"
#include "common/kafka/revocations.h"
#include "common/postgres/migrate_command.h"
#include "products/config.h"
#include "products/product_cache.h"
#include "products/product_store.h"
#include "products/products_service.h"
#include "products/reservation_metrics.h"
#include "products_migrations.h"

int main(int argc, char** argv) {
  using namespace shop;
  const std::vector<postgres::MigrationSet> migrations{kAuditMigrations, kProductsMigrations};
  if (argc > 1) return postgres::RunMigrateCommand("products", migrations, {argv + 1, argv + argc});
  Process process("products");
  const products::Config config = products::Config::Read(process.env());
  process.Start();

  postgres::Pool db(config.postgres);
  process.WaitFor("PostgreSQL", [&] { postgres::Migrate(db, migrations); });
  const auto watch = process.WatchReadiness("PostgreSQL", [&] { postgres::Ping(db); });

  rpc::Identity identity(config.service.identity);
  const kafka::Revocations revocations(config.kafka, identity.users(), process);
  // Not waited for: without Redis every answer comes from PostgreSQL.
  products::ProductCache cache(config.cache, [&](const products::ProductCache::Invalidate& remove) {
    products::DrainInvalidations(db, remove);
  });
  const products::HeldReservations held(db);
  products::ProductsService service(db, cache, config.currency);
  const rpc::Server server(config.service.server, identity, {service.Methods()});
  return process.RunUntilStopped();
}
