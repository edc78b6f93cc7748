#include "orders/order_store.h"

#include <google/protobuf/util/time_util.h>

#include <map>
#include <set>
#include <stdexcept>

#include "common/json/codec.h"
#include "common/postgres/columns.h"

namespace shop::orders {
namespace {

using google::protobuf::util::TimeUtil;
using postgres::Array;
using postgres::Statement;
using postgres::Tx;

#define ORDER_COLUMNS                                                                   \
  R"sql(id, uuid, user_id, status, reason, total_price, currency, payment_method, )sql" \
  R"sql(shipping_address, )sql"                                                         \
  R"sql((extract(epoch FROM created_at) * 1000000)::bigint AS created_us, )sql"         \
  R"sql((extract(epoch FROM updated_at) * 1000000)::bigint AS updated_us)sql"

// An enum's text in the database is the name of its value without the prefix.
template <typename Enum>
std::string EnumText(Enum value) {
  const auto* type = google::protobuf::GetEnumDescriptor<Enum>();
  return std::string(json::BareName(type->FindValueByNumber(value)));
}

template <typename Enum>
Enum ParseEnum(const std::string& text) {
  const auto* type = google::protobuf::GetEnumDescriptor<Enum>();
  for (int i = 0; i < type->value_count(); ++i) {
    if (json::BareName(type->value(i)) == text) return static_cast<Enum>(type->value(i)->number());
  }
  throw std::runtime_error("a column holds the unknown " + type->name() + " " + text);
}

// Reads the columns `stock` and `progress`.
Facts ReadFacts(const pqxx::row& row) {
  Facts facts;
  facts.stock = ParseStockFact(row["stock"].as<std::string>(""));
  if (!row["progress"].is_null()) {
    facts.manual = ParseEnum<v1::OrderStatus>(row["progress"].as<std::string>());
  }
  return facts;
}

// Everything but the lines.
v1::Order ReadOrder(const pqxx::row& row) {
  v1::Order order;
  order.set_id(row["id"].as<int64_t>());
  order.set_number(OrderNumber(order.id()));
  order.set_uuid(row["uuid"].as<std::string>());
  order.set_user_id(row["user_id"].as<int64_t>());
  order.set_status(ParseEnum<v1::OrderStatus>(row["status"].as<std::string>()));
  if (!row["reason"].is_null()) order.set_reason(row["reason"].as<std::string>());
  order.set_total_price(row["total_price"].as<int64_t>());
  order.set_currency(row["currency"].as<std::string>());
  order.set_payment_method(ParseEnum<v1::PaymentMethod>(row["payment_method"].as<std::string>()));
  if (!row["shipping_address"].is_null()) {
    const Result<void> read =
        json::Read(row["shipping_address"].as<std::string>(), order.mutable_shipping_address());
    if (!read) throw std::runtime_error("orders.shipping_address: " + read.refusal().message);
  }
  *order.mutable_created_at() = TimeUtil::MicrosecondsToTimestamp(row["created_us"].as<int64_t>());
  *order.mutable_updated_at() = TimeUtil::MicrosecondsToTimestamp(row["updated_us"].as<int64_t>());
  return order;
}

void AddLines(Tx& tx, google::protobuf::RepeatedPtrField<v1::Order>* orders) {
  static constexpr Statement kLines{
      R"sql(SELECT order_id, product_id, name, quantity, unit_price FROM order_items
            WHERE order_id = ANY($1::bigint[]) ORDER BY order_id, line)sql"};
  std::map<int64_t, v1::Order*> by_id;
  for (v1::Order& order : *orders) by_id.emplace(order.id(), &order);
  for (const pqxx::row& row : tx.Exec(kLines, Array(*orders, &v1::Order::id))) {
    v1::OrderItem* item = by_id.at(row["order_id"].as<int64_t>())->add_items();
    item->set_product_id(row["product_id"].as<int64_t>());
    item->set_name(row["name"].as<std::string>());
    item->set_quantity(row["quantity"].as<int64_t>());
    item->set_unit_price(row["unit_price"].as<int64_t>());
    item->set_total_price(item->quantity() * item->unit_price());
  }
}

std::optional<v1::Order> WithLines(Tx& tx, const pqxx::result& rows) {
  if (rows.empty()) return std::nullopt;
  google::protobuf::RepeatedPtrField<v1::Order> orders;
  *orders.Add() = ReadOrder(rows[0]);
  AddLines(tx, &orders);
  return std::move(orders[0]);
}

}  // namespace

bool CartState::Matches(const CartState& other) const {
  return version == other.version &&
         (change_id == other.change_id || change_id.empty() || other.change_id.empty());
}

std::optional<v1::Order> Insert(Tx& tx, const NewOrder& order) {
  // One statement for the order and its lines: one round trip.
  static constexpr Statement kInsert{
      R"sql(WITH placed AS (
              INSERT INTO orders (user_id, total_price, currency, payment_method, payment_token,
                                  shipping_address, cart_version, cart_change_id,
                                  request_fingerprint)
              VALUES ($1, $2, $3, $4, $5, $6::jsonb, $7, $8, nullif($9, ''))
              ON CONFLICT (user_id, cart_version) WHERE cart_version IS NOT NULL DO NOTHING
              RETURNING )sql" ORDER_COLUMNS R"sql(
            ), lines AS (
              INSERT INTO order_items (order_id, line, product_id, name, quantity, unit_price)
              SELECT placed.id, line, product_id, name, quantity, unit_price
              FROM placed, unnest($10::bigint[], $11::text[], $12::bigint[], $13::bigint[])
                   WITH ORDINALITY AS l (product_id, name, quantity, unit_price, line)
            ) SELECT * FROM placed)sql"};
  const auto& items = order.lines.items;
  std::optional<std::string> address;
  if (order.shipping_address) address = json::Write(*order.shipping_address);
  std::optional<int64_t> cart_version;
  std::optional<std::string> cart_change_id;
  if (order.cart) {
    cart_version = order.cart->version;
    cart_change_id = order.cart->change_id;
  }

  const pqxx::result rows =
      tx.Exec(kInsert, order.user_id, order.lines.total_price, order.currency,
              EnumText(order.payment_method), order.payment_token, address, cart_version,
              cart_change_id, order.request_fingerprint, Array(items, &v1::OrderItem::product_id),
              Array(items, &v1::OrderItem::name), Array(items, &v1::OrderItem::quantity),
              Array(items, &v1::OrderItem::unit_price));
  if (rows.empty()) return std::nullopt;
  v1::Order placed = ReadOrder(rows[0]);
  placed.mutable_items()->Assign(items.begin(), items.end());
  return placed;
}

std::optional<v1::Order> Find(Tx& tx, int64_t id, int64_t owner) {
  static constexpr Statement kFind{
      "SELECT " ORDER_COLUMNS
      R"sql( FROM orders WHERE id = $1 AND ($2::bigint = 0 OR user_id = $2))sql"};
  return WithLines(tx, tx.Exec(kFind, id, owner));
}

std::optional<v1::Order> FindByUuid(Tx& tx, const std::string& uuid, int64_t owner) {
  static constexpr Statement kFind{
      "SELECT " ORDER_COLUMNS
      R"sql( FROM orders WHERE uuid = $1::uuid AND ($2::bigint = 0 OR user_id = $2))sql"};
  return WithLines(tx, tx.Exec(kFind, uuid, owner));
}

std::vector<CartOrder> FindCartOrders(Tx& tx, int64_t user_id, int64_t cart_version) {
#define CART_ORDERS                                                                              \
  "SELECT " ORDER_COLUMNS                                                                        \
  R"sql(, cart_version, cart_change_id, request_fingerprint, stock, progress, cart_settled )sql" \
  R"sql(FROM orders WHERE user_id = $1 AND )sql"
  // A part for each index.
  static constexpr Statement kFind{
      CART_ORDERS R"sql(cart_version = $2 UNION )sql" CART_ORDERS
                  R"sql(cart_version IS NOT NULL AND NOT cart_settled ORDER BY id)sql"};
#undef CART_ORDERS
  google::protobuf::RepeatedPtrField<v1::Order> orders;
  const pqxx::result rows = tx.Exec(kFind, user_id, cart_version);
  for (const pqxx::row& row : rows) *orders.Add() = ReadOrder(row);
  if (!orders.empty()) AddLines(tx, &orders);

  std::vector<CartOrder> found;
  for (int i = 0; i < orders.size(); ++i) {
    const pqxx::row row = rows[i];
    found.push_back({std::move(orders[i]),
                     {row["cart_version"].as<int64_t>(), row["cart_change_id"].as<std::string>("")},
                     row["request_fingerprint"].as<std::string>(""),
                     IsRejected(ReadFacts(row)),
                     row["cart_settled"].as<bool>()});
  }
  return found;
}

int64_t NewestCartOrder(Tx& tx, int64_t user_id) {
  static constexpr Statement kNewest{
      R"sql(SELECT id FROM orders WHERE user_id = $1 AND request_fingerprint IS NOT NULL
            ORDER BY id DESC LIMIT 1)sql"};
  const pqxx::result rows = tx.Exec(kNewest, user_id);
  return rows.empty() ? 0 : rows[0][0].as<int64_t>();
}

int64_t LockNewestCartOrder(Tx& tx, int64_t user_id) {
  static constexpr Statement kLock{
      R"sql(SELECT pg_advisory_xact_lock(hashtextextended('orders of a cart', $1)))sql"};
  tx.Exec(kLock, user_id);
  return NewestCartOrder(tx, user_id);
}

void MarkCartUpdated(Tx& tx, const std::vector<int64_t>& ids) {
  static constexpr Statement kMark{
      R"sql(UPDATE orders SET cart_settled = true WHERE id IN (
              SELECT id FROM orders WHERE id = ANY($1::bigint[]) AND NOT cart_settled
              ORDER BY id FOR UPDATE))sql"};
  tx.Exec(kMark, Array(ids));
}

std::set<int64_t> FindCartUpdated(Tx& tx, const std::vector<int64_t>& ids) {
  static constexpr Statement kFind{
      R"sql(SELECT id FROM orders WHERE id = ANY($1::bigint[]) AND cart_settled)sql"};
  return postgres::FirstColumn<std::set<int64_t>>(tx.Exec(kFind, Array(ids)));
}

void ReleaseCart(Tx& tx, int64_t id) {
  static constexpr Statement kRelease{
      R"sql(UPDATE orders SET cart_version = NULL WHERE id = $1)sql"};
  tx.Exec(kRelease, id);
}

std::optional<v1::OrderState> FindState(Tx& tx, int64_t id, int64_t owner) {
  static constexpr Statement kFind{
      R"sql(SELECT id, status, reason,
                   (extract(epoch FROM updated_at) * 1000000)::bigint AS updated_us
            FROM orders WHERE id = $1 AND ($2::bigint = 0 OR user_id = $2))sql"};
  const pqxx::result rows = tx.Exec(kFind, id, owner);
  if (rows.empty()) return std::nullopt;
  v1::OrderState state;
  state.set_id(rows[0]["id"].as<int64_t>());
  state.set_status(ParseEnum<v1::OrderStatus>(rows[0]["status"].as<std::string>()));
  if (!rows[0]["reason"].is_null()) state.set_reason(rows[0]["reason"].as<std::string>());
  *state.mutable_updated_at() =
      TimeUtil::MicrosecondsToTimestamp(rows[0]["updated_us"].as<int64_t>());
  return state;
}

// A statement for each index: a condition that only counts for some values uses none.
#define ORDERS_PLACED                                                                        \
  R"sql(AND ($3::bigint IS NULL OR created_at >= to_timestamp($3::bigint / 1000000.0)) )sql" \
  R"sql(AND ($4::bigint IS NULL OR created_at < to_timestamp($4::bigint / 1000000.0)) )sql"
#define ORDERS_OF_USER \
  R"sql( FROM orders WHERE user_id = $1 AND ($2 = '' OR status = $2) )sql" ORDERS_PLACED
#define ORDERS_OF_STATUS R"sql( FROM orders WHERE $1 = 0 AND status = $2 )sql" ORDERS_PLACED
#define ORDERS_OF_ALL R"sql( FROM orders WHERE $1 = 0 AND $2 = '' )sql" ORDERS_PLACED
#define LIST_ORDERS(matching) \
  "SELECT " ORDER_COLUMNS matching R"sql(AND id < $5 ORDER BY id DESC LIMIT $6 OFFSET $7)sql"
#define COUNT_ORDERS(matching) \
  R"sql(SELECT count(*) FROM (SELECT)sql" matching R"sql(LIMIT $5) AS counted)sql"

v1::ListOrdersResponse List(Tx& tx, const Listing& listing) {
  struct Statements {
    Statement list;
    Statement count;
  };
  static constexpr Statements kOfUser{LIST_ORDERS(ORDERS_OF_USER), COUNT_ORDERS(ORDERS_OF_USER)};
  static constexpr Statements kOfStatus{LIST_ORDERS(ORDERS_OF_STATUS),
                                        COUNT_ORDERS(ORDERS_OF_STATUS)};
  static constexpr Statements kOfAll{LIST_ORDERS(ORDERS_OF_ALL), COUNT_ORDERS(ORDERS_OF_ALL)};
  const std::string status =
      listing.status == v1::ORDER_STATUS_UNSPECIFIED ? std::string() : EnumText(listing.status);
  const Statements& statements = listing.owner != 0 ? kOfUser : status.empty() ? kOfAll : kOfStatus;

  const Page& page = listing.page;
  v1::ListOrdersResponse response;
  const pqxx::result rows =
      tx.Exec(statements.list, listing.owner, status, listing.from_us, listing.before_us,
              listing.before_id, page.limit + 1, page.offset());
  for (const pqxx::row& row : rows) {
    if (response.items_size() < page.limit) *response.add_items() = ReadOrder(row);
  }
  if (!response.items().empty()) AddLines(tx, response.mutable_items());

  std::vector<std::string> next;
  if (std::ssize(rows) > page.limit) {
    next.push_back(std::to_string(response.items().rbegin()->id()));
  }
  int64_t total = 0;
  if (!page.by_cursor()) {
    const std::optional<int64_t> seen = page.TotalFrom(std::ssize(rows));
    total = seen ? *seen
                 : tx.Exec(statements.count, listing.owner, status, listing.from_us,
                           listing.before_us, kMostByNumber)[0][0]
                       .as<int64_t>();
  }
  Describe(page, total, next, &response);
  return response;
}

std::map<int64_t, LockedOrder> FindForUpdate(Tx& tx, const std::vector<int64_t>& ids) {
  static constexpr Statement kFind{
      R"sql(SELECT id, uuid, user_id, stock, progress, reason,
                   cart_version IS NOT NULL OR cart_change_id IS NOT NULL AS from_cart
            FROM orders WHERE id = ANY($1::bigint[]) ORDER BY id FOR UPDATE)sql"};
  std::map<int64_t, LockedOrder> found;
  for (const pqxx::row& row : tx.Exec(kFind, Array(ids))) {
    LockedOrder order{.id = row["id"].as<int64_t>(),
                      .uuid = row["uuid"].as<std::string>(),
                      .user_id = row["user_id"].as<int64_t>(),
                      .from_cart = row["from_cart"].as<bool>(),
                      .facts = ReadFacts(row),
                      .reason = row["reason"].as<std::string>("")};
    found.emplace(order.id, std::move(order));
  }
  return found;
}

void Update(Tx& tx, const std::vector<LockedOrder>& orders) {
  static constexpr Statement kUpdate{
      R"sql(UPDATE orders SET status = o.status, stock = nullif(o.stock, ''),
                              progress = nullif(o.progress, ''), reason = nullif(o.reason, ''),
                              seq = seq + 1, updated_at = now()
            FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[])
                 AS o (id, status, stock, progress, reason)
            WHERE orders.id = o.id)sql"};
  if (orders.empty()) return;
  const auto manual = [](const LockedOrder& order) {
    return order.facts.manual == v1::ORDER_STATUS_UNSPECIFIED ? std::string()
                                                              : EnumText(order.facts.manual);
  };
  tx.Exec(kUpdate, Array(orders, &LockedOrder::id),
          Array(orders, [](const LockedOrder& order) { return EnumText(StatusOf(order.facts)); }),
          Array(orders, [](const LockedOrder& order) { return StockFactText(order.facts.stock); }),
          Array(orders, manual), Array(orders, &LockedOrder::reason));
}

std::optional<KeyUse> FindKey(Tx& tx, int64_t user_id, const std::string& key) {
  static constexpr Statement kFind{
      R"sql(SELECT fingerprint, order_id FROM idempotency_keys
            WHERE user_id = $1 AND key = $2)sql"};
  const pqxx::result rows = tx.Exec(kFind, user_id, key);
  if (rows.empty()) return std::nullopt;
  return KeyUse{rows[0]["fingerprint"].as<std::string>(), rows[0]["order_id"].as<int64_t>()};
}

Result<bool> ClaimKey(Tx& tx, int64_t user_id, const std::string& key,
                      const std::string& fingerprint) {
  static constexpr Statement kClaim{
      R"sql(INSERT INTO idempotency_keys (user_id, key, fingerprint) VALUES ($1, $2, $3)
            ON CONFLICT DO NOTHING)sql"};
  constexpr std::string_view kLockNotAvailable = "55P03";
  tx.Run("SET LOCAL lock_timeout = '2s'");
  try {
    const bool claimed = tx.Exec(kClaim, user_id, key, fingerprint).affected_rows() == 1;
    tx.Run("SET LOCAL lock_timeout TO DEFAULT");
    return claimed;
  } catch (const pqxx::sql_error& error) {
    if (error.sqlstate() != kLockNotAvailable) throw;
    return Refusal{Code::kAborted, "the first request with this Idempotency-Key is still running"};
  }
}

void CompleteKey(Tx& tx, int64_t user_id, const std::string& key, int64_t order_id) {
  static constexpr Statement kComplete{
      R"sql(UPDATE idempotency_keys SET order_id = $3 WHERE user_id = $1 AND key = $2)sql"};
  tx.Exec(kComplete, user_id, key, order_id);
}

}  // namespace shop::orders
