#include "users/user_store.h"

#include <google/protobuf/util/time_util.h>

#include <stdexcept>
#include <string_view>

namespace shop::users {
namespace {

using google::protobuf::util::TimeUtil;
using postgres::Statement;
using postgres::Tx;

// What ToUser reads.
#define SHOP_USER_COLUMNS                                     \
  "id, name, email, role, to_char(birthdate, 'YYYY-MM-DD'), " \
  "(extract(epoch FROM created_at) * 1000000)::bigint, "      \
  "(extract(epoch FROM updated_at) * 1000000)::bigint, version, email_confirmed_at IS NOT NULL"

constexpr Statement kLockId{"SELECT pg_advisory_xact_lock($1)"};
constexpr Statement kLockSuperAdmins{
    "SELECT id FROM profiles WHERE role = 'SUPER_ADMIN' ORDER BY id FOR UPDATE"};
constexpr Statement kLockSuperAdmin{
    "SELECT FROM profiles WHERE id = $1 AND role = 'SUPER_ADMIN' FOR SHARE"};
constexpr Statement kFind{"SELECT " SHOP_USER_COLUMNS " FROM profiles WHERE id = $1"};
constexpr Statement kFindAll{"SELECT " SHOP_USER_COLUMNS
                             " FROM profiles WHERE id = ANY ($1::bigint[])"};
constexpr Statement kLock{"SELECT " SHOP_USER_COLUMNS " FROM profiles WHERE id = $1 FOR UPDATE"};
constexpr Statement kIsDeleted{"SELECT FROM deleted_profiles WHERE id = $1"};
constexpr Statement kFindAttempt{"SELECT attempt FROM profiles WHERE id = $1"};
constexpr Statement kInsert{R"sql(
    INSERT INTO profiles (id, name, email, role, birthdate, attempt)
    VALUES ($1, $2, $3, $4, $5::date, $6) RETURNING )sql" SHOP_USER_COLUMNS};
constexpr Statement kOverwrite{R"sql(
    UPDATE profiles
    SET name = $2, email = $3, role = $4, birthdate = $5::date, attempt = $6, email_confirmed_at = NULL,
        version = version + 1, updated_at = now()
    WHERE id = $1 RETURNING )sql" SHOP_USER_COLUMNS};
constexpr Statement kUpdate{R"sql(
    UPDATE profiles
    SET name = coalesce($2, name), birthdate = coalesce($3::date, birthdate),
        version = version + 1, updated_at = now()
    WHERE id = $1 RETURNING )sql" SHOP_USER_COLUMNS};
constexpr Statement kUpdateRole{R"sql(
    UPDATE profiles SET role = $2, version = version + 1, updated_at = now()
    WHERE id = $1 RETURNING )sql" SHOP_USER_COLUMNS};
constexpr Statement kConfirmEmail{R"sql(
    UPDATE profiles SET email_confirmed_at = now(), version = version + 1, updated_at = now()
    WHERE id = $1 AND email = $2 AND email_confirmed_at IS NULL)sql"};
constexpr Statement kDelete{"DELETE FROM profiles WHERE id = $1"};
constexpr Statement kLockVersion{"SELECT version FROM profiles WHERE id = $1 FOR UPDATE"};
constexpr Statement kInsertDeleted{"INSERT INTO deleted_profiles (id) VALUES ($1)"};
#define SHOP_USERS_FOUND " FROM profiles WHERE ($1 = '%%' OR name ILIKE $1 OR email ILIKE $1)"
constexpr Statement kCount{"SELECT count(*) FROM (SELECT" SHOP_USERS_FOUND " LIMIT $2) AS counted"};
constexpr Statement kList{"SELECT " SHOP_USER_COLUMNS SHOP_USERS_FOUND
                          " AND id < $2 ORDER BY id DESC LIMIT $3 OFFSET $4"};

constexpr std::string_view kRolePrefix = "ROLE_";

v1::User ToUser(const pqxx::row& row) {
  v1::User user;
  user.set_id(row[0].as<int64_t>());
  user.set_name(row[1].as<std::string>());
  user.set_email(row[2].as<std::string>());
  api::v1::Role role = api::v1::ROLE_UNSPECIFIED;
  if (!api::v1::Role_Parse(std::string(kRolePrefix) + row[3].c_str(), &role)) {
    throw std::runtime_error("profile " + std::to_string(user.id()) + " has an unknown role");
  }
  user.set_role(role);
  if (!row[4].is_null()) user.set_birthdate(row[4].as<std::string>());
  *user.mutable_created_at() = TimeUtil::MicrosecondsToTimestamp(row[5].as<int64_t>());
  *user.mutable_updated_at() = TimeUtil::MicrosecondsToTimestamp(row[6].as<int64_t>());
  user.set_version(row[7].as<int64_t>());
  user.set_email_confirmed(row[8].as<bool>());
  return user;
}

std::optional<v1::User> First(const pqxx::result& rows) {
  if (rows.empty()) return std::nullopt;
  return ToUser(rows[0]);
}

std::optional<int64_t> FirstNumber(const pqxx::result& rows) {
  if (rows.empty()) return std::nullopt;
  return rows[0][0].as<int64_t>();
}

template <typename Request>
std::optional<std::string> Birthdate(const Request& request) {
  if (!request.has_birthdate()) return std::nullopt;
  return request.birthdate();
}

// The ILIKE pattern for texts that contain `part` literally.
std::string Containing(const std::string& part) {
  std::string pattern = "%";
  for (const char c : part) {
    if (c == '\\' || c == '%' || c == '_') pattern.push_back('\\');
    pattern.push_back(c);
  }
  return pattern + "%";
}

}  // namespace

std::string RoleText(api::v1::Role role) {
  return api::v1::Role_Name(role).substr(kRolePrefix.size());
}

void LockId(Tx& tx, int64_t id) {
  tx.Exec(kLockId, id);
}

std::vector<int64_t> LockSuperAdmins(Tx& tx) {
  std::vector<int64_t> ids;
  for (const pqxx::row& row : tx.Exec(kLockSuperAdmins)) ids.push_back(row[0].as<int64_t>());
  return ids;
}

bool LockSuperAdmin(Tx& tx, int64_t id) {
  return !tx.Exec(kLockSuperAdmin, id).empty();
}

std::optional<int64_t> LockVersion(Tx& tx, int64_t id) {
  return FirstNumber(tx.Exec(kLockVersion, id));
}

std::optional<v1::User> Find(Tx& tx, int64_t id) {
  return First(tx.Exec(kFind, id));
}

std::vector<v1::User> FindAll(Tx& tx, const std::vector<int64_t>& ids) {
  std::vector<v1::User> users;
  for (const pqxx::row& row : tx.Exec(kFindAll, postgres::Array(ids))) {
    users.push_back(ToUser(row));
  }
  return users;
}

std::optional<v1::User> Lock(Tx& tx, int64_t id) {
  return First(tx.Exec(kLock, id));
}

bool IsDeleted(Tx& tx, int64_t id) {
  return !tx.Exec(kIsDeleted, id).empty();
}

std::optional<int64_t> FindAttempt(Tx& tx, int64_t id) {
  return FirstNumber(tx.Exec(kFindAttempt, id));
}

v1::User Insert(Tx& tx, const v1::CreateUserRequest& user) {
  return ToUser(tx.Exec(kInsert, user.id(), user.name(), user.email(), RoleText(user.role()),
                        Birthdate(user), user.attempt())[0]);
}

v1::User Overwrite(Tx& tx, const v1::CreateUserRequest& user) {
  return ToUser(tx.Exec(kOverwrite, user.id(), user.name(), user.email(), RoleText(user.role()),
                        Birthdate(user), user.attempt())[0]);
}

std::optional<v1::User> Update(Tx& tx, const v1::UpdateUserRequest& changes) {
  std::optional<std::string> name;
  if (changes.has_name()) name = changes.name();
  return First(tx.Exec(kUpdate, changes.id(), name, Birthdate(changes)));
}

v1::User UpdateRole(Tx& tx, int64_t id, api::v1::Role role) {
  return ToUser(tx.Exec(kUpdateRole, id, RoleText(role))[0]);
}

std::optional<v1::User> ConfirmEmail(Tx& tx, int64_t id, const std::string& email) {
  tx.Exec(kConfirmEmail, id, email);
  std::optional<v1::User> user = Lock(tx, id);
  if (!user || user->email() != email) return std::nullopt;
  return user;
}

bool Delete(Tx& tx, int64_t id) {
  if (tx.Exec(kDelete, id).affected_rows() == 0) return false;
  tx.Exec(kInsertDeleted, id);
  return true;
}

v1::ListUsersResponse List(Tx& tx, const std::string& q, int64_t before, const Page& page) {
  const std::string pattern = Containing(q);
  v1::ListUsersResponse list;
  const pqxx::result rows = tx.Exec(kList, pattern, before, page.limit + 1, page.offset());
  for (const pqxx::row& row : rows) {
    if (list.items_size() < page.limit) *list.add_items() = ToUser(row);
  }
  std::vector<std::string> next;
  if (std::ssize(rows) > page.limit) next.push_back(std::to_string(list.items().rbegin()->id()));
  int64_t total = 0;
  if (!page.by_cursor()) {
    const std::optional<int64_t> seen = page.TotalFrom(std::ssize(rows));
    total = seen ? *seen : tx.Exec(kCount, pattern, kMostByNumber)[0][0].as<int64_t>();
  }
  Describe(page, total, next, &list);
  return list;
}

}  // namespace shop::users
