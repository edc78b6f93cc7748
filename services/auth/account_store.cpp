#include "auth/account_store.h"

namespace shop::auth {
namespace {

using postgres::Statement;
using postgres::Tx;

#define SHOP_ACCOUNT                                                                \
  "SELECT id, coalesce(email, ''), coalesce(password_hash, ''), password_version, " \
  "state = 'ACTIVE' FROM accounts "
constexpr Statement kFind{SHOP_ACCOUNT "WHERE email = $1"};
constexpr Statement kFindById{SHOP_ACCOUNT "WHERE id = $1"};
// The unique index on the address decides between two registrations at the same time.
constexpr Statement kBegin{R"sql(
    INSERT INTO accounts (email, password_hash) VALUES ($1, $2)
    ON CONFLICT (email) DO UPDATE
    SET password_hash = EXCLUDED.password_hash, attempt = accounts.attempt + 1,
        password_version = accounts.password_version + 1
    WHERE accounts.state = 'PENDING' RETURNING id, attempt)sql"};
constexpr Statement kComplete{R"sql(
    UPDATE accounts SET state = 'ACTIVE'
    WHERE id = $1 AND attempt = $2 AND state IN ('PENDING', 'ACTIVE'))sql"};
constexpr Statement kHold{R"sql(
    SELECT role_version FROM accounts
    WHERE id = $1 AND state = 'ACTIVE' AND password_version = $2 FOR SHARE)sql"};
constexpr Statement kLock{
    "SELECT FROM accounts WHERE id = $1 AND state = 'ACTIVE' FOR NO KEY UPDATE"};
constexpr Statement kRememberRoleChange{
    "UPDATE accounts SET role_version = greatest(role_version, $2) WHERE id = $1"};
constexpr Statement kReplacePassword{R"sql(
    UPDATE accounts SET password_hash = $3, password_version = password_version + 1
    WHERE id = $1 AND state = 'ACTIVE' AND password_version = $2)sql"};
constexpr Statement kReplaceHash{R"sql(
    UPDATE accounts SET password_hash = $3
    WHERE id = $1 AND state = 'ACTIVE' AND password_version = $2)sql"};
constexpr Statement kErase{
    "UPDATE accounts SET state = 'DELETED', email = NULL, password_hash = NULL WHERE id = $1"};

std::optional<Account> AccountOf(const pqxx::result& rows) {
  if (rows.empty()) return std::nullopt;
  const pqxx::row row = rows[0];
  return Account{.id = row[0].as<int64_t>(),
                 .email = row[1].as<std::string>(),
                 .password_hash = row[2].as<std::string>(),
                 .password_version = row[3].as<int64_t>(),
                 .active = row[4].as<bool>()};
}

}  // namespace

std::optional<Account> FindAccount(Tx& tx, const std::string& email) {
  return AccountOf(tx.Exec(kFind, email));
}

std::optional<Account> FindAccount(Tx& tx, int64_t id) {
  return AccountOf(tx.Exec(kFindById, id));
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

std::optional<int64_t> HoldAccount(Tx& tx, int64_t id, int64_t password_version) {
  const pqxx::result rows = tx.Exec(kHold, id, password_version);
  if (rows.empty()) return std::nullopt;
  return rows[0][0].as<int64_t>();
}

bool LockAccount(Tx& tx, int64_t id) {
  return !tx.Exec(kLock, id).empty();
}

void RememberRoleChange(Tx& tx, int64_t id, int64_t profile_version) {
  tx.Exec(kRememberRoleChange, id, profile_version);
}

bool ReplacePassword(Tx& tx, const Account& account, const std::string& password_hash) {
  return tx.Exec(kReplacePassword, account.id, account.password_version, password_hash)
             .affected_rows() == 1;
}

void ReplaceHash(Tx& tx, const Account& account, const std::string& password_hash) {
  tx.Exec(kReplaceHash, account.id, account.password_version, password_hash);
}

void EraseAccount(Tx& tx, int64_t id) {
  tx.Exec(kErase, id);
}

}  // namespace shop::auth
