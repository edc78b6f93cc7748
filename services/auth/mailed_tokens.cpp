#include "auth/mailed_tokens.h"

#include <absl/strings/str_replace.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "auth/asked_mails.h"
#include "common/crypto/base64.h"
#include "common/crypto/random.h"
#include "common/crypto/seal.h"
#include "common/crypto/sha256.h"

namespace shop::auth {
namespace {

using postgres::Statement;
using postgres::Tx;

// A kind, with a table of its own: {table} in these texts.
struct Kind {
  Kind(std::string its_table, std::string its_name, std::chrono::seconds its_life)
      : table(std::move(its_table)), name(std::move(its_name)), life(its_life) {}

  Statement Of(const char* text) const {
    return Statement::Kept(absl::StrReplaceAll(text, {{"{table}", table}}));
  }
  // What a request's token is sealed with.
  std::string About(const std::string& request) const { return name + " " + request; }

  const std::string table;  // before the statements, which are made of it
  const std::string name;
  const std::chrono::seconds life;

  const Statement request = Of(R"sql(
      INSERT INTO {table} (address, request, expires_at)
      VALUES ($1, $2, now() + $3 * interval '1 second')
      ON CONFLICT (address) DO UPDATE SET
        request = EXCLUDED.request, expires_at = EXCLUDED.expires_at,
        token_hash = NULL, sealed = NULL)sql");
  const Statement lock = Of(R"sql(
      SELECT accounts.id, sealed FROM {table} AS known
      JOIN accounts ON email = address AND state = 'ACTIVE'
      WHERE request = $1 AND expires_at > now() FOR UPDATE OF known)sql");
  const Statement keep_token =
      Of("UPDATE {table} SET token_hash = $2, sealed = $3 WHERE request = $1");
  const Statement find =
      Of("SELECT address FROM {table} WHERE token_hash = $1 AND expires_at > now()");
  const Statement use = Of(R"sql(
      UPDATE {table} SET expires_at = now(), token_hash = NULL, sealed = NULL
      WHERE token_hash = $1 AND expires_at > now())sql");
  const Statement forget = Of(R"sql(
      DELETE FROM {table} WHERE address = (SELECT email FROM accounts WHERE id = $1))sql");
  const Statement sweep = Of(R"sql(
      DELETE FROM {table} WHERE address = ANY (ARRAY(
        SELECT address FROM {table} WHERE expires_at <= now()
        ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED)))sql");
};

const Kind& Of(TokenKind kind) {
  static const Kind reset("password_resets", "password reset", kResetLife);
  static const Kind confirmation("email_confirmations", "e-mail confirmation", kConfirmationLife);
  return kind == TokenKind::kPasswordReset ? reset : confirmation;
}

constexpr TokenKind kKinds[] = {TokenKind::kPasswordReset, TokenKind::kEmailConfirmation};

}  // namespace

std::optional<std::string> RequestToken(Tx& tx, TokenKind kind, const std::string& address) {
  std::optional<std::string> request = AskForMail(tx, Of(kind).name, address);
  if (request) tx.Exec(Of(kind).request, address, *request, int64_t{Of(kind).life.count()});
  return request;
}

int NextRequestIn(Tx& tx, TokenKind kind, const std::string& address) {
  return NextMailIn(tx, Of(kind).name, address);
}

std::optional<TokenMail> PrepareMail(Tx& tx, TokenKind kind, const std::string& request,
                                     const std::string& encryption_key) {
  const pqxx::result found = tx.Exec(Of(kind).lock, request);
  if (found.empty()) return std::nullopt;
  const std::string about = Of(kind).About(request);
  TokenMail mail{.account = found[0][0].as<int64_t>(), .token = {}};
  if (!found[0][1].is_null()) {
    std::optional<std::string> token = Unseal(encryption_key, about, found[0][1].as<std::string>());
    if (!token) throw std::runtime_error("KEY_ENCRYPTION_KEY does not open a mail's token");
    mail.token = *std::move(token);
    return mail;
  }
  const auto bytes = RandomBytes<32>();
  mail.token = EncodeBase64Url({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  tx.Exec(Of(kind).keep_token, request, Sha256Hex(mail.token),
          Seal(encryption_key, about, mail.token));
  return mail;
}

std::optional<Account> FindTokenAccount(Tx& tx, TokenKind kind, const std::string& token) {
  const pqxx::result found = tx.Exec(Of(kind).find, Sha256Hex(token));
  if (found.empty()) return std::nullopt;
  std::optional<Account> account = FindAccount(tx, found[0][0].as<std::string>());
  if (account && !account->active) return std::nullopt;
  return account;
}

bool UseToken(Tx& tx, TokenKind kind, const std::string& token) {
  return tx.Exec(Of(kind).use, Sha256Hex(token)).affected_rows() == 1;
}

void ForgetTokens(Tx& tx, int64_t account) {
  for (const TokenKind kind : kKinds) tx.Exec(Of(kind).forget, account);
}

int64_t SweepTokens(Tx& tx, int64_t limit) {
  int64_t most = 0;
  for (const TokenKind kind : kKinds) {
    const auto deleted = static_cast<int64_t>(tx.Exec(Of(kind).sweep, limit).affected_rows());
    most = std::max(most, deleted);
  }
  return most;
}

}  // namespace shop::auth
