#include "auth/asked_mails.h"

#include <algorithm>

#include "common/crypto/sha256.h"

namespace shop::auth {
namespace {

using postgres::Statement;
using postgres::Tx;

// No row where there were too many.
constexpr Statement kAsk{R"sql(
    INSERT INTO asked_mails AS known (kind, address, mails, since) VALUES ($1, $2, 1, now())
    ON CONFLICT (kind, address) DO UPDATE SET
      mails = CASE WHEN known.since < now() - interval '1 hour' THEN 1 ELSE known.mails + 1 END,
      since = CASE WHEN known.since < now() - interval '1 hour' THEN now() ELSE known.since END
    WHERE known.mails < $3 OR known.since < now() - interval '1 hour'
    RETURNING gen_random_uuid())sql"};
constexpr Statement kNextIn{R"sql(
    SELECT ceil(extract(epoch FROM since + interval '1 hour' - now()))::int
    FROM asked_mails WHERE kind = $1 AND address = $2)sql"};
constexpr Statement kSweep{R"sql(
    DELETE FROM asked_mails WHERE (kind, address) IN (
      SELECT kind, address FROM asked_mails WHERE since < now() - interval '1 hour'
      ORDER BY since LIMIT $1 FOR UPDATE SKIP LOCKED))sql"};

}  // namespace

std::optional<std::string> AskForMail(Tx& tx, std::string_view kind, const std::string& address) {
  const pqxx::result asked = tx.Exec(kAsk, std::string(kind), Sha256Hex(address), kMailsAnHour);
  if (asked.empty()) return std::nullopt;
  return asked[0][0].as<std::string>();
}

int NextMailIn(Tx& tx, std::string_view kind, const std::string& address) {
  const pqxx::result found = tx.Exec(kNextIn, std::string(kind), Sha256Hex(address));
  return found.empty() ? 1 : std::max(1, found[0][0].as<int>());
}

int64_t SweepAskedMails(Tx& tx, int64_t limit) {
  return static_cast<int64_t>(tx.Exec(kSweep, limit).affected_rows());
}

}  // namespace shop::auth
