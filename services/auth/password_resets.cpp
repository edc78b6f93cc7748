#include "auth/password_resets.h"

#include <stdexcept>

#include "common/crypto/base64.h"
#include "common/crypto/random.h"
#include "common/crypto/seal.h"
#include "common/crypto/sha256.h"

namespace shop::auth {
namespace {

using postgres::Statement;
using postgres::Tx;

// No row where there were too many.
constexpr Statement kRequest{R"sql(
    INSERT INTO password_resets AS known (address, request, expires_at, mails, since)
    VALUES ($1, gen_random_uuid(), now() + $2 * interval '1 second', 1, now())
    ON CONFLICT (address) DO UPDATE SET
      request = EXCLUDED.request, expires_at = EXCLUDED.expires_at, token_hash = NULL, sealed = NULL,
      mails = CASE WHEN known.since < now() - interval '1 hour' THEN 1 ELSE known.mails + 1 END,
      since = CASE WHEN known.since < now() - interval '1 hour' THEN now() ELSE known.since END
    WHERE known.mails < $3 OR known.since < now() - interval '1 hour'
    RETURNING request)sql"};
constexpr Statement kLock{R"sql(
    SELECT accounts.id, sealed FROM password_resets
    JOIN accounts ON email = address AND state = 'ACTIVE'
    WHERE request = $1 AND expires_at > now() FOR UPDATE OF password_resets)sql"};
constexpr Statement kKeepToken{
    "UPDATE password_resets SET token_hash = $2, sealed = $3 WHERE request = $1"};
constexpr Statement kFind{
    "SELECT address FROM password_resets WHERE token_hash = $1 AND expires_at > now()"};
constexpr Statement kUse{R"sql(
    UPDATE password_resets SET expires_at = now(), token_hash = NULL, sealed = NULL
    WHERE token_hash = $1 AND expires_at > now())sql"};
constexpr Statement kForget{R"sql(
    DELETE FROM password_resets
    WHERE address = (SELECT email FROM accounts WHERE id = $1))sql"};
constexpr Statement kSweep{R"sql(
    DELETE FROM password_resets WHERE address = ANY (ARRAY(
      SELECT address FROM password_resets
      WHERE since < now() - interval '1 hour' AND expires_at <= now()
      ORDER BY since LIMIT $1 FOR UPDATE SKIP LOCKED)))sql"};

std::string About(const std::string& request) {
  return "password reset " + request;
}

}  // namespace

std::optional<std::string> RequestReset(Tx& tx, const std::string& address) {
  const std::chrono::seconds life = kResetLife;
  const pqxx::result made = tx.Exec(kRequest, address, int64_t{life.count()}, kResetsAnHour);
  if (made.empty()) return std::nullopt;
  return made[0][0].as<std::string>();
}

std::optional<ResetMail> PrepareReset(Tx& tx, const std::string& request,
                                      const std::string& encryption_key) {
  const pqxx::result found = tx.Exec(kLock, request);
  if (found.empty()) return std::nullopt;
  ResetMail mail{.account = found[0][0].as<int64_t>(), .token = {}};
  if (!found[0][1].is_null()) {
    std::optional<std::string> token =
        Unseal(encryption_key, About(request), found[0][1].as<std::string>());
    if (!token) throw std::runtime_error("KEY_ENCRYPTION_KEY does not open a reset's token");
    mail.token = *std::move(token);
    return mail;
  }
  const auto bytes = RandomBytes<32>();
  mail.token = EncodeBase64Url({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  tx.Exec(kKeepToken, request, Sha256Hex(mail.token),
          Seal(encryption_key, About(request), mail.token));
  return mail;
}

std::optional<Account> FindResetAccount(Tx& tx, const std::string& token) {
  const pqxx::result found = tx.Exec(kFind, Sha256Hex(token));
  if (found.empty()) return std::nullopt;
  std::optional<Account> account = FindAccount(tx, found[0][0].as<std::string>());
  if (account && !account->active) return std::nullopt;
  return account;
}

bool UseReset(Tx& tx, const std::string& token) {
  return tx.Exec(kUse, Sha256Hex(token)).affected_rows() == 1;
}

void ForgetResets(Tx& tx, int64_t account) {
  tx.Exec(kForget, account);
}

int64_t SweepResets(Tx& tx, int64_t limit) {
  return static_cast<int64_t>(tx.Exec(kSweep, limit).affected_rows());
}

}  // namespace shop::auth
