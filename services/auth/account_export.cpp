#include "auth/account_export.h"

#include <google/protobuf/util/time_util.h>

#include <string>

#include "common/crypto/sha256.h"

namespace shop::auth {
namespace {

using google::protobuf::util::TimeUtil;
using postgres::Statement;
using postgres::Tx;

constexpr Statement kDescribe{R"sql(
    SELECT (extract(epoch FROM created_at) * 1000000)::bigint, coalesce(email, ''),
           EXISTS (SELECT FROM second_factors WHERE account_id = id AND confirmed_at IS NOT NULL),
           (SELECT count(*)::int FROM recovery_codes WHERE account_id = id)
    FROM accounts WHERE id = $1)sql"};
constexpr Statement kAttempts{R"sql(
    SELECT attempts FROM login_attempts
    WHERE address = $1 AND last_at > now() - interval '1 hour')sql"};

constexpr struct {
  const char* what;
  const char* path;
} kLinks[] = {
    {"orders, with their lines and addresses", "/api/v1/orders"},
    {"what happened to an order", "/api/v1/orders/{id}/timeline"},
    {"returns of an order", "/api/v1/orders/{id}/returns"},
    {"the payment of an order", "/api/v1/payments/{id}"},
    {"the shipment of an order", "/api/v1/shipments/{id}"},
    {"the cart", "/api/v1/cart"},
    {"notifications, a stream", "/api/v1/notifications/subscribe"},
};

}  // namespace

v1::Account DescribeAccount(Tx& tx, int64_t account) {
  v1::Account described;
  const pqxx::result found = tx.Exec(kDescribe, account);
  if (found.empty()) return described;
  *described.mutable_created_at() = TimeUtil::MicrosecondsToTimestamp(found[0][0].as<int64_t>());
  described.set_second_factor(found[0][2].as<bool>());
  described.set_recovery_codes(found[0][3].as<int>());
  const pqxx::result attempts = tx.Exec(kAttempts, Sha256Hex(found[0][1].as<std::string>()));
  if (!attempts.empty()) described.set_login_attempts(attempts[0][0].as<int>());
  return described;
}

void AddLinks(v1::Export* to) {
  for (const auto& [what, path] : kLinks) {
    v1::ExportLink& link = *to->add_links();
    link.set_what(what);
    link.set_path(path);
  }
}

}  // namespace shop::auth
