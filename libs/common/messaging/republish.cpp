#include "common/messaging/republish.h"

#include "common/messaging/retention.h"

namespace shop::messaging {
namespace {

using postgres::InTransaction;
using postgres::Read;
using postgres::Tx;

// By when they were written: published_at is a new one each time, and the inboxes' seen_at is not.
constexpr char kChosen[] =
    " topic = $1 AND published_at IS NOT NULL AND ($2::timestamptz IS NULL OR created_at >= $2)"
    " AND created_at > now() - $3 * interval '1 hour'";

Republication FromRow(const pqxx::row& row) {
  Republication found{.events = row[0].as<int64_t>(), .first = {}, .last = {}, .from = {}};
  if (!row[1].is_null()) found.first = row[1].as<std::string>();
  if (!row[2].is_null()) found.last = row[2].as<std::string>();
  found.from = row[3].as<std::string>();
  return found;
}

// `rows` is a query of the rows' created_at.
std::string Summary(const std::string& rows) {
  return "WITH rows AS (" + rows +
         ") SELECT count(*), date_trunc('second', min(created_at))::text,"
         " date_trunc('second', max(created_at))::text,"
         " date_trunc('second', now() - interval '1 minute')::text FROM rows";
}

}  // namespace

Republication FindPublished(postgres::Pool& db, const std::string& topic,
                            const std::optional<std::string>& since) {
  return Read(db, [&](Tx& tx) {
    return FromRow(
        tx.ExecOnce(Summary(std::string("SELECT created_at FROM outbox WHERE") + kChosen), topic,
                    since, kOutboxRetention.count())[0]);
  });
}

Republication Republish(postgres::Pool& db, const std::string& topic,
                        const std::optional<std::string>& since) {
  return InTransaction(db, [&](Tx& tx) {
    // One statement for all, however many they are: were it several, the relay would publish the
    // later of them, and new events, before older ones of their keys.
    tx.Run("SET LOCAL statement_timeout = 0");
    return FromRow(tx.ExecOnce(Summary(std::string("UPDATE outbox SET published_at = NULL WHERE") +
                                       kChosen + " RETURNING created_at"),
                               topic, since, kOutboxRetention.count())[0]);
  });
}

}  // namespace shop::messaging
