#include "common/kafka/held.h"

namespace shop::kafka {
namespace {

using postgres::Statement;
using postgres::Tx;

constexpr Statement kList{
    "SELECT id, consumer, topic, key, event_id, type, value, reason, attempts, dead FROM held"
    " ORDER BY id LIMIT $1"};
constexpr Statement kSendBack{
    "UPDATE held SET dead = false, attempts = 0, next_at = now() WHERE id = $1 AND dead"};
// A retry under way has locked the row, and this waits for it.
constexpr Statement kDiscard{"DELETE FROM held WHERE id = $1 RETURNING consumer, event_id"};
constexpr Statement kSeen{
    "INSERT INTO inbox (consumer, event_id) VALUES ($1, $2) ON CONFLICT DO NOTHING"};

}  // namespace

std::vector<HeldEvent> ListHeld(postgres::Pool& db, int limit) {
  std::vector<HeldEvent> events;
  const pqxx::result rows = postgres::Read(db, [&](Tx& tx) { return tx.Exec(kList, limit); });
  for (const auto& row : rows) {
    events.push_back({.id = row[0].as<int64_t>(),
                      .group = row[1].as<std::string>(),
                      .topic = row[2].as<std::string>(),
                      .key = row[3].as<std::string>(),
                      .event_id = row[4].as<std::string>(),
                      .type = row[5].as<std::string>(),
                      .value = row[6].as<std::string>(),
                      .reason = row[7].as<std::string>(),
                      .attempts = row[8].as<int>(),
                      .dead = row[9].as<bool>()});
  }
  return events;
}

bool SendBack(postgres::Pool& db, int64_t id) {
  return postgres::InTransaction(
      db, [&](Tx& tx) { return tx.Exec(kSendBack, id).affected_rows() == 1; });
}

bool Discard(postgres::Pool& db, int64_t id) {
  return postgres::InTransaction(db, [&](Tx& tx) {
    const pqxx::result row = tx.Exec(kDiscard, id);
    if (row.empty()) return false;
    tx.Exec(kSeen, row[0][0].as<std::string>(), row[0][1].as<std::string>());
    return true;
  });
}

}  // namespace shop::kafka
