#include "auth/account_store.h"

namespace shop::auth {
namespace {

using postgres::Statement;
using postgres::Tx;

constexpr Statement kFind{
    "SELECT id, password_hash, state = 'ACTIVE' FROM accounts WHERE email = $1"};
// The unique index on the address decides between two registrations at the same time.
constexpr Statement kBegin{R"sql(
    INSERT INTO accounts (email, password_hash) VALUES ($1, $2)
    ON CONFLICT (email) DO UPDATE
    SET password_hash = EXCLUDED.password_hash, attempt = accounts.attempt + 1
    WHERE accounts.state = 'PENDING' RETURNING id, attempt)sql"};
constexpr Statement kComplete{R"sql(
    UPDATE accounts SET state = 'ACTIVE'
    WHERE id = $1 AND attempt = $2 AND state IN ('PENDING', 'ACTIVE'))sql"};
constexpr Statement kHold{R"sql(
    SELECT role_version FROM accounts
    WHERE id = $1 AND state = 'ACTIVE' AND password_hash = $2 FOR SHARE)sql"};
constexpr Statement kRememberRoleChange{
    "UPDATE accounts SET role_version = greatest(role_version, $2) WHERE id = $1"};
constexpr Statement kReplaceHash{
    "UPDATE accounts SET password_hash = $2 WHERE id = $1 AND state = 'ACTIVE'"};
constexpr Statement kErase{
    "UPDATE accounts SET state = 'DELETED', email = NULL, password_hash = NULL WHERE id = $1"};

}  // namespace

std::optional<Account> FindAccount(Tx& tx, const std::string& email) {
  const pqxx::result rows = tx.Exec(kFind, email);
  if (rows.empty()) return std::nullopt;
  return Account{rows[0][0].as<int64_t>(), rows[0][1].as<std::string>(), rows[0][2].as<bool>()};
}

std::optional<Attempt> BeginRegistration(Tx& tx, const std::string& email,
                                         const std::string& password_hash) {
  const pqxx::result rows = tx.Exec(kBegin, email, password_hash);
  if (rows.empty()) return std::nullopt;
  return Attempt{rows[0][0].as<int64_t>(), rows[0][1].as<int64_t>()};
}

bool CompleteRegistration(Tx& tx, const Attempt& attempt) {
  return tx.Exec(kComplete, attempt.id, attempt.number).affected_rows() == 1;
}

std::optional<int64_t> HoldAccount(Tx& tx, int64_t id, const std::string& password_hash) {
  const pqxx::result rows = tx.Exec(kHold, id, password_hash);
  if (rows.empty()) return std::nullopt;
  return rows[0][0].as<int64_t>();
}

void RememberRoleChange(Tx& tx, int64_t id, int64_t profile_version) {
  tx.Exec(kRememberRoleChange, id, profile_version);
}

void ReplacePasswordHash(Tx& tx, int64_t id, const std::string& password_hash) {
  tx.Exec(kReplaceHash, id, password_hash);
}

void EraseAccount(Tx& tx, int64_t id) {
  tx.Exec(kErase, id);
}

}  // namespace shop::auth
