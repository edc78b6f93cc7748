#include "common/postgres/migrations.h"

#include <chrono>
#include <map>
#include <stdexcept>
#include <thread>

#include "common/crypto/sha256.h"
#include "common/postgres/pool.h"
#include "common/telemetry/log.h"

namespace shop::postgres {
namespace {

using std::chrono::steady_clock;

// One number for all owners: two sets never change one database at once.
constexpr Statement kTryLock{"SELECT pg_try_advisory_xact_lock(7305809155513708131)"};
constexpr Statement kApplied{"SELECT name, checksum FROM schema_migrations WHERE owner = $1"};
constexpr Statement kRecord{
    "INSERT INTO schema_migrations (owner, name, checksum) VALUES ($1, $2, $3)"};

constexpr std::string_view kLockNotAvailable = "55P03";
constexpr auto kPoll = std::chrono::milliseconds(100);
constexpr auto kPatience = std::chrono::seconds(30);

enum class Step { kApplied, kNothingToDo, kLocked };

// Applies the first migration of the set that the database does not have.
Step ApplyNext(Pool& pool, const MigrationSet& set) {
  std::string done;
  const Step step = InTransaction(pool, [&](Tx& tx) {
    tx.Run("SET LOCAL lock_timeout = '2s'; SET LOCAL statement_timeout = 0");
    if (!tx.Exec(kTryLock)[0][0].as<bool>()) return Step::kLocked;
    tx.Run(
        "CREATE TABLE IF NOT EXISTS schema_migrations ("
        "  owner text NOT NULL, name text NOT NULL, checksum text NOT NULL,"
        "  applied_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (owner, name))");
    std::map<std::string, std::string> applied;
    for (const auto& row : tx.Exec(kApplied, set.owner)) {
      applied.emplace(row[0].as<std::string>(), row[1].as<std::string>());
    }
    for (const Migration& migration : set.migrations) {
      const auto known = applied.find(migration.name);
      if (known != applied.end() && known->second != Sha256Hex(migration.sql)) {
        throw std::logic_error(std::string("migration ") + set.owner + "/" + migration.name +
                               " has changed since it was applied");
      }
    }
    for (const Migration& migration : set.migrations) {
      if (applied.contains(migration.name)) continue;
      try {
        tx.Run(migration.sql);
      } catch (const pqxx::sql_error& error) {
        if (error.sqlstate() != kLockNotAvailable) {
          log::Error(
              "migration failed",
              {{"owner", set.owner}, {"migration", migration.name}, {"error", error.what()}});
        }
        throw;
      }
      tx.Exec(kRecord, set.owner, migration.name, Sha256Hex(migration.sql));
      done = migration.name;
      return Step::kApplied;
    }
    return Step::kNothingToDo;
  });
  if (step == Step::kApplied) {
    log::Info("migration applied", {{"owner", set.owner}, {"migration", done}});
  }
  return step;
}

// ApplyNext, with "a table it needs is in use" as one more reason to come back later.
Step TryApplyNext(Pool& pool, const MigrationSet& set) {
  try {
    return ApplyNext(pool, set);
  } catch (const pqxx::sql_error& error) {
    if (error.sqlstate() != kLockNotAvailable) throw;
    return Step::kLocked;
  }
}

}  // namespace

void Migrate(Pool& pool, const std::vector<MigrationSet>& sets) {
  auto give_up = steady_clock::now() + kPatience;
  for (const MigrationSet& set : sets) {
    for (;;) {
      const Step step = TryApplyNext(pool, set);
      if (step == Step::kNothingToDo) break;
      if (step == Step::kApplied) {
        give_up = steady_clock::now() + kPatience;
        continue;
      }
      if (steady_clock::now() > give_up) {
        throw Unavailable("the database is locked by another migration or by long transactions");
      }
      std::this_thread::sleep_for(kPoll);
    }
  }
}

}  // namespace shop::postgres
