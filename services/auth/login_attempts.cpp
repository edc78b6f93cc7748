#include "auth/login_attempts.h"

#include <algorithm>

#include "common/crypto/sha256.h"

namespace shop::auth {
namespace {

using postgres::Statement;
using postgres::Tx;

// No row where it is too early. The time is that of the statement: one that has waited for the row is not
// older than what it finds there.
constexpr Statement kBegin{R"sql(
    INSERT INTO login_attempts AS known (address, attempts, free_at, last_at)
    VALUES ($1, 1, clock_timestamp(), clock_timestamp())
    ON CONFLICT (address) DO UPDATE SET
      attempts = CASE WHEN known.last_at < clock_timestamp() - interval '1 hour' THEN 1
                      ELSE known.attempts + 1 END,
      free_at = clock_timestamp() + CASE
        WHEN known.last_at < clock_timestamp() - interval '1 hour' OR known.attempts < 9
          THEN interval '0'
        ELSE least(2 ^ least(known.attempts - 9, 10), 60) * interval '1 second' END,
      last_at = clock_timestamp()
    WHERE known.free_at <= clock_timestamp()
    RETURNING attempts)sql"};
constexpr Statement kWait{R"sql(
    SELECT ceil(extract(epoch FROM free_at - clock_timestamp()))::int FROM login_attempts
    WHERE address = $1)sql"};
constexpr Statement kForget{"DELETE FROM login_attempts WHERE address = $1"};
constexpr Statement kSweep{R"sql(
    DELETE FROM login_attempts WHERE address = ANY (ARRAY(
      SELECT address FROM login_attempts WHERE last_at < now() - interval '1 hour'
      ORDER BY last_at LIMIT $1 FOR UPDATE SKIP LOCKED)))sql"};

}  // namespace

int BeginAttempt(Tx& tx, const std::string& email) {
  const std::string address = Sha256Hex(email);
  if (!tx.Exec(kBegin, address).empty()) return 0;
  const pqxx::result wait = tx.Exec(kWait, address);
  return wait.empty() ? 0 : std::max(1, wait[0][0].as<int>());
}

void ForgetAttempts(Tx& tx, const std::string& email) {
  tx.Exec(kForget, Sha256Hex(email));
}

int64_t SweepAttempts(Tx& tx, int64_t limit) {
  return static_cast<int64_t>(tx.Exec(kSweep, limit).affected_rows());
}

}  // namespace shop::auth
