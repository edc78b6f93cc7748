// A migration runs while processes of the release before answer calls. A file that takes a table's
// ACCESS EXCLUSIVE lock, as ALTER TABLE does, keeps all of them from even reading the table until
// its transaction ends, so such a file must not go through the table's rows as well: not by an
// UPDATE, not by CREATE INDEX, not by a constraint that is checked at once.
#include <gmock/gmock.h>

#include "auth_migrations.h"
#include "common/postgres/migrations.h"
#include "common/postgres/pool.h"
#include "common/testing/database.h"
#include "idempotency_migrations.h"
#include "messaging_migrations.h"
#include "notification_migrations.h"
#include "orders_migrations.h"
#include "products_migrations.h"
#include "shipping_migrations.h"
#include "users_migrations.h"

namespace shop {
namespace {

using ::testing::IsEmpty;

// The first `count` files of a set.
postgres::MigrationSet First(postgres::MigrationSet set, size_t count) {
  set.migrations.resize(count);
  return set;
}

// Which tables, of those there were, the file reads or writes while it has them locked; leaves the
// database as it was.
std::vector<std::string> ReadWhileLocked(const testing::TestDatabase& database,
                                         const postgres::Migration& file) {
  // A new connection: one that was used shows what its last transactions read as well.
  postgres::Pool db(database.settings());
  std::vector<std::string> tables;
  db.RunInTransaction([&](postgres::Tx& tx) {
    tx.Run(
        "CREATE TEMP TABLE tables_before ON COMMIT DROP AS "
        "SELECT relid FROM pg_stat_user_tables WHERE schemaname = 'public'");
    tx.Run(file.sql);
    for (const pqxx::row& row :
         tx.Run("SELECT relname FROM pg_stat_xact_user_tables JOIN tables_before USING (relid) "
                "JOIN pg_locks ON relation = relid AND locktype = 'relation' "
                "WHERE pid = pg_backend_pid() AND mode = 'AccessExclusiveLock' "
                "AND seq_scan + coalesce(idx_scan, 0) + n_tup_ins + n_tup_upd + n_tup_del > 0")) {
      tables.push_back(std::string(file.name) + ": " + row[0].as<std::string>());
    }
    return false;
  });
  return tables;
}

// The same of each file but the first `released`, which may not be edited any more.
std::vector<std::string> ReadWhileLocked(const postgres::MigrationSet& set, size_t released,
                                         const std::vector<postgres::MigrationSet>& needed = {}) {
  const testing::TestDatabase database;
  postgres::Pool db(database.settings());
  postgres::Migrate(db, needed);
  std::vector<std::string> tables;
  for (size_t i = 0; i < set.migrations.size(); ++i) {
    if (i >= released) {
      const auto found = ReadWhileLocked(database, set.migrations[i]);
      tables.insert(tables.end(), found.begin(), found.end());
    }
    postgres::Migrate(db, {First(set, i + 1)});
  }
  return tables;
}

TEST(OpenTables, MessagingReadsNoTableThatItHasLocked) {
  EXPECT_THAT(ReadWhileLocked(kMessagingMigrations, 1), IsEmpty());
}

TEST(OpenTables, IdempotencyReadsNoTableThatItHasLocked) {
  EXPECT_THAT(ReadWhileLocked(kIdempotencyMigrations, 1), IsEmpty());
}

TEST(OpenTables, AuthReadsNoTableThatItHasLocked) {
  EXPECT_THAT(ReadWhileLocked(kAuthMigrations, 1), IsEmpty());
}

TEST(OpenTables, OrdersReadsNoTableThatItHasLocked) {
  EXPECT_THAT(ReadWhileLocked(kOrdersMigrations, 2, {kMessagingMigrations}), IsEmpty());
}

TEST(OpenTables, ProductsReadsNoTableThatItHasLocked) {
  EXPECT_THAT(ReadWhileLocked(kProductsMigrations, 3), IsEmpty());
}

TEST(OpenTables, UsersShippingAndNotificationReadNoTableThatTheyHaveLocked) {
  EXPECT_THAT(ReadWhileLocked(kUsersMigrations, 1), IsEmpty());
  EXPECT_THAT(ReadWhileLocked(kShippingMigrations, 1), IsEmpty());
  EXPECT_THAT(ReadWhileLocked(kNotificationMigrations, 1, {kMessagingMigrations}), IsEmpty());
}

}  // namespace
}  // namespace shop
