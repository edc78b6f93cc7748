#include "common/messaging/refused.h"

namespace shop::messaging {
namespace {

using postgres::Statement;
using postgres::Tx;

constexpr Statement kList{
    "SELECT id, topic, key, event_id, type, value, refusal FROM outbox"
    " WHERE published_at IS NULL AND refusal IS NOT NULL ORDER BY id LIMIT $1"};
constexpr Statement kDiscard{
    "DELETE FROM outbox WHERE id = $1 AND published_at IS NULL AND refusal IS NOT NULL"};

}  // namespace

std::vector<RefusedEvent> ListRefused(postgres::Pool& db, int limit) {
  std::vector<RefusedEvent> events;
  const pqxx::result rows = postgres::Read(db, [&](Tx& tx) { return tx.Exec(kList, limit); });
  for (const auto& row : rows) {
    events.push_back({.id = row[0].as<int64_t>(),
                      .topic = row[1].as<std::string>(),
                      .key = row[2].as<std::string>(),
                      .event_id = row[3].as<std::string>(),
                      .type = row[4].as<std::string>(),
                      .value = row[5].as<std::string>(),
                      .reason = row[6].as<std::string>()});
  }
  return events;
}

bool DiscardRefused(postgres::Pool& db, int64_t id) {
  return postgres::InTransaction(
      db, [&](Tx& tx) { return tx.Exec(kDiscard, id).affected_rows() == 1; });
}

}  // namespace shop::messaging
