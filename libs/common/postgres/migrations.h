// Numbered SQL files, applied once each, in order.
#pragma once

#include <string>
#include <vector>

namespace shop::postgres {

class Pool;

struct Migration {
  const char* name;  // 0001_orders
  const char* sql;
};

// The migrations of one owner: a service, or a shared subject such as the outbox.
struct MigrationSet {
  const char* owner;
  std::vector<Migration> migrations;
};

// Brings the database up to date: each file in a transaction of its own with its row in
// schema_migrations(owner, name, checksum, applied_at), under an advisory lock that is polled
// (several replicas may start at once) and with a lock_timeout, so that a migration never queues in
// front of live traffic. Throws std::logic_error when a file that was applied has changed since.
// Files that the database knows and this binary does not are no error: an older binary works with a
// newer schema.
void Migrate(Pool& pool, const std::vector<MigrationSet>& sets);

}  // namespace shop::postgres
