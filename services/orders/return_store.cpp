#include "orders/return_store.h"

#include <google/protobuf/util/time_util.h>

#include "common/postgres/columns.h"
#include "orders/order_columns.h"

namespace shop::orders {
namespace {

using google::protobuf::util::TimeUtil;
using postgres::Array;
using postgres::Statement;
using postgres::Tx;

StoredReturn ReadReturn(const pqxx::row& row) {
  StoredReturn found{.shown = {}, .uuid = row["uuid"].as<std::string>()};
  v1::Return& shown = found.shown;
  shown.set_id(row["id"].as<int64_t>());
  shown.set_order_id(row["order_id"].as<int64_t>());
  shown.set_status(ParseEnum<v1::ReturnStatus>(row["status"].as<std::string>()));
  shown.set_reason(row["reason"].as<std::string>());
  shown.set_rejection(row["rejection"].as<std::string>());
  *shown.mutable_created_at() = TimeUtil::MicrosecondsToTimestamp(row["created_us"].as<int64_t>());
  if (!row["decided_us"].is_null()) {
    *shown.mutable_decided_at() =
        TimeUtil::MicrosecondsToTimestamp(row["decided_us"].as<int64_t>());
  }
  return found;
}

}  // namespace

std::optional<ReturnedOrder> LockReturnedOrder(Tx& tx, int64_t order_id, int64_t owner) {
  static constexpr Statement kLock{
      R"sql(SELECT uuid, user_id, status FROM orders
            WHERE id = $1 AND ($2::bigint = 0 OR user_id = $2) FOR UPDATE)sql"};
  static constexpr Statement kItems{
      R"sql(SELECT product_id, name, quantity, unit_price FROM order_items
            WHERE order_id = $1 ORDER BY line)sql"};
  const pqxx::result rows = tx.Exec(kLock, order_id, owner);
  if (rows.empty()) return std::nullopt;
  ReturnedOrder order{.uuid = rows[0]["uuid"].as<std::string>(),
                      .user_id = rows[0]["user_id"].as<int64_t>(),
                      .status = ParseEnum<v1::OrderStatus>(rows[0]["status"].as<std::string>()),
                      .items = {}};
  for (const pqxx::row& row : tx.Exec(kItems, order_id)) *order.items.Add() = ReadItem(row);
  return order;
}

int64_t NextSeq(Tx& tx, int64_t order_id) {
  static constexpr Statement kNext{
      R"sql(UPDATE orders SET seq = seq + 1 WHERE id = $1 RETURNING seq)sql"};
  return tx.Exec(kNext, order_id)[0][0].as<int64_t>();
}

std::vector<Line> FindAskedLines(Tx& tx, int64_t order_id) {
  static constexpr Statement kAsked{
      R"sql(SELECT product_id, quantity FROM return_items JOIN returns ON id = return_id
            WHERE order_id = $1 AND status <> 'REJECTED')sql"};
  std::vector<Line> lines;
  for (const pqxx::row& row : tx.Exec(kAsked, order_id)) {
    lines.push_back({row["product_id"].as<int64_t>(), row["quantity"].as<int64_t>()});
  }
  return lines;
}

int64_t InsertReturn(Tx& tx, int64_t order_id, const OrderItems& items, const std::string& reason) {
  static constexpr Statement kInsert{
      R"sql(WITH asked AS (
              INSERT INTO returns (order_id, reason) VALUES ($1, $2) RETURNING id),
            lines AS (
              INSERT INTO return_items (return_id, line, product_id, quantity)
              SELECT asked.id, line, product_id, quantity
              FROM asked, unnest($3::bigint[], $4::bigint[]) WITH ORDINALITY
                          AS item (product_id, quantity, line))
            SELECT id FROM asked)sql"};
  return tx
      .Exec(kInsert, order_id, reason, Array(items, &v1::OrderItem::product_id),
            Array(items, &v1::OrderItem::quantity))[0][0]
      .as<int64_t>();
}

std::vector<StoredReturn> FindReturns(Tx& tx, int64_t order_id, int64_t owner,
                                      std::optional<int64_t> return_id) {
  // A row a line; the return's own columns are repeated.
  static constexpr Statement kFind{
      R"sql(SELECT returns.id, returns.uuid, returns.order_id, returns.status, returns.reason,
                   rejection, (extract(epoch FROM returns.created_at) * 1000000)::bigint AS created_us,
                   (extract(epoch FROM decided_at) * 1000000)::bigint AS decided_us,
                   order_items.product_id, name, return_items.quantity, unit_price
            FROM returns JOIN orders ON orders.id = returns.order_id
                 JOIN return_items ON return_id = returns.id
                 JOIN order_items ON order_items.order_id = returns.order_id
                                  AND order_items.product_id = return_items.product_id
            WHERE returns.order_id = $1 AND ($2::bigint = 0 OR orders.user_id = $2)
              AND ($3::bigint IS NULL OR returns.id = $3)
            ORDER BY returns.id, return_items.line)sql"};
  std::vector<StoredReturn> found;
  for (const pqxx::row& row : tx.Exec(kFind, order_id, owner, return_id)) {
    if (found.empty() || found.back().shown.id() != row["id"].as<int64_t>()) {
      found.push_back(ReadReturn(row));
    }
    v1::Return& shown = found.back().shown;
    const v1::OrderItem& item = *shown.add_items() = ReadItem(row);
    shown.set_total_price(shown.total_price() + item.total_price());
  }
  return found;
}

bool OrderExists(Tx& tx, int64_t order_id, int64_t owner) {
  static constexpr Statement kExists{
      R"sql(SELECT FROM orders WHERE id = $1 AND ($2::bigint = 0 OR user_id = $2))sql"};
  return !tx.Exec(kExists, order_id, owner).empty();
}

void UpdateReturn(Tx& tx, int64_t return_id, v1::ReturnStatus status, int64_t decided_by,
                  const std::string& rejection) {
  static constexpr Statement kUpdate{
      R"sql(UPDATE returns SET status = $2, decided_by = $3, rejection = $4, decided_at = now()
            WHERE id = $1)sql"};
  tx.Exec(kUpdate, return_id, EnumText(status), decided_by, rejection);
}

}  // namespace shop::orders
