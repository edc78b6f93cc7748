#include "common/messaging/retry_queue.h"

namespace shop::messaging {
namespace {

using postgres::Read;
using postgres::Statement;
using postgres::Tx;

constexpr char kSelect[] = R"(
    SELECT id, consumer, topic, key, event_id, type, value, reason, attempts, dead, partition,
      position, date_trunc('second', created_at)::text, date_trunc('second', next_at)::text,
      (SELECT count(*) FROM retry_queue AS later WHERE later.consumer = queued.consumer
        AND later.topic = queued.topic AND later.key = queued.key AND later.id > queued.id),
      NOT EXISTS (SELECT FROM retry_queue AS earlier WHERE earlier.consumer = queued.consumer
        AND earlier.topic = queued.topic AND earlier.key = queued.key AND earlier.id < queued.id)
    FROM retry_queue AS queued )";
constexpr Statement kRedrive{
    "UPDATE retry_queue SET dead = false, attempts = 0, next_at = now() WHERE id = $1 AND dead"};
// A retry under way has locked the row, and this waits for it.
constexpr Statement kDiscard{"DELETE FROM retry_queue WHERE id = $1 RETURNING consumer, event_id"};
constexpr Statement kSeen{
    "INSERT INTO inbox (consumer, event_id) VALUES ($1, $2) ON CONFLICT DO NOTHING"};

QueuedEvent FromRow(const pqxx::row& row) {
  return {.id = row[0].as<int64_t>(),
          .group = row[1].as<std::string>(),
          .topic = row[2].as<std::string>(),
          .key = row[3].as<std::string>(),
          .event_id = row[4].as<std::string>(),
          .type = row[5].as<std::string>(),
          .value = row[6].as<std::string>(),
          .reason = row[7].as<std::string>(),
          .attempts = row[8].as<int>(),
          .dead = row[9].as<bool>(),
          .partition = row[10].as<int>(),
          .position = row[11].as<int64_t>(),
          .came_at = row[12].as<std::string>(),
          .retry_at = row[13].as<std::string>(),
          .later = row[14].as<int64_t>(),
          .first = row[15].as<bool>()};
}

}  // namespace

std::vector<QueuedEvent> ListRetryQueue(postgres::Pool& db, int limit, const std::string& group) {
  static const Statement kList =
      Statement::Kept(kSelect + std::string("WHERE $2 = '' OR consumer = $2 ORDER BY id LIMIT $1"));
  std::vector<QueuedEvent> events;
  for (const auto& row : Read(db, [&](Tx& tx) { return tx.Exec(kList, limit, group); })) {
    events.push_back(FromRow(row));
  }
  return events;
}

std::optional<QueuedEvent> FindQueued(postgres::Pool& db, int64_t id) {
  static const Statement kFind = Statement::Kept(kSelect + std::string("WHERE id = $1"));
  const pqxx::result found = Read(db, [&](Tx& tx) { return tx.Exec(kFind, id); });
  if (found.empty()) return std::nullopt;
  return FromRow(found[0]);
}

bool Redrive(postgres::Pool& db, int64_t id) {
  return postgres::InTransaction(
      db, [&](Tx& tx) { return tx.Exec(kRedrive, id).affected_rows() == 1; });
}

bool Discard(postgres::Pool& db, int64_t id) {
  return postgres::InTransaction(db, [&](Tx& tx) {
    const pqxx::result row = tx.Exec(kDiscard, id);
    if (row.empty()) return false;
    tx.Exec(kSeen, row[0][0].as<std::string>(), row[0][1].as<std::string>());
    return true;
  });
}

}  // namespace shop::messaging
