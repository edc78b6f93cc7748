#include <vector>

#include "audit_migrations.h"
#include "common/core/process.h"
#include "common/idempotency/sweeper.h"
#include "common/kafka/messaging.h"
#include "common/kafka/revocations.h"
#include "common/postgres/migrate_command.h"
#include "common/rpc/identity.h"
#include "common/rpc/server.h"
#include "idempotency_migrations.h"
#include "messaging_migrations.h"
#include "payments/config.h"
#include "payments/payment_events.h"
#include "payments/payment_worker.h"
#include "payments/payments_service.h"
#include "payments/provider_client.h"
#include "payments_migrations.h"

int main(int argc, char** argv) {
  using namespace shop;
  const std::vector<postgres::MigrationSet> migrations{kMessagingMigrations, kIdempotencyMigrations,
                                                       kAuditMigrations, kPaymentsMigrations};
  if (argc > 1) return postgres::RunMigrateCommand("payments", migrations, {argv + 1, argv + argc});
  Process process("payments");
  const payments::Config config = payments::Config::Read(process.env());
  process.Start();

  postgres::Pool db(config.postgres);
  process.WaitFor("PostgreSQL", [&] { postgres::Migrate(db, migrations); });
  const auto watch = process.WatchReadiness("PostgreSQL", [&] { postgres::Ping(db); });

  rpc::Identity identity(config.service.identity);
  const kafka::Revocations revocations(config.kafka, identity.users(), process);
  const idempotency::Sweeper key_sweeper(db);
  payments::PaymentsService service(db, config.webhook_secret);
  payments::HttpPaymentProvider provider(config.provider);

  kafka::Messaging messaging(config.kafka, db, process);
  const payments::PaymentWorker worker(db, provider, config.worker);
  process.AddDegradation("the payment provider", [&] { return worker.healthy(); });
  messaging.Consume("payments", {"stock", "orders", "users"}, payments::EventHandlers());
  // Its own rows have nothing personal but a token, until that is used.
  const messaging::ErasureSweeper erasures(db, messaging::EraseEvents, config.erasures);
  const rpc::Server server(config.service.server, identity, {service.Methods()});
  return process.RunUntilStopped();
}
