#include "orders/order_store.h"

#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <stdexcept>

#include "common/json/codec.h"
#include "common/postgres/columns.h"
#include "orders/order_columns.h"

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

#define FACT_COLUMNS R"sql(stock, payment, shipment, cancel, cancelled_by, progress)sql"

template <typename Enum>
Enum ReadFact(const pqxx::row& row, const char* column) {
  return ParseFact<Enum>(row[column].as<std::string>(""));
}

// Reads FACT_COLUMNS. The release before has kept how far an order was moved by hand in `progress`
// alone.
Facts ReadFacts(const pqxx::row& row) {
  Facts facts{.stock = ReadFact<StockFact>(row, "stock"),
              .payment = ReadFact<PaymentFact>(row, "payment"),
              .shipment = ReadFact<ShipmentFact>(row, "shipment"),
              .cancel = ReadFact<CancelFact>(row, "cancel"),
              .cancelled_by = ReadFact<CancelledBy>(row, "cancelled_by")};
  const std::string progress = row["progress"].as<std::string>("");
  if (progress == "SHIPPED") {
    facts.shipment = std::max(facts.shipment, ShipmentFact::kDispatched);
  } else if (progress == "DELIVERED") {
    facts.shipment = ShipmentFact::kDelivered;
  } else if (progress == "CANCELLED" && StatusOf(facts) != v1::ORDER_STATUS_CANCELLED) {
    facts.cancel = CancelFact::kDecided;
    facts.cancelled_by = CancelledBy::kShop;
  }
  return facts;
}

// The same as a value of `progress`, for the release before. It knows itself that an order which
// stock has rejected is cancelled.
std::string ProgressOf(const Facts& facts) {
  const v1::OrderStatus status = StatusOf(facts);
  const bool by_stock = facts.stock == StockFact::kRejected && facts.cancel != CancelFact::kDecided;
  if (status == v1::ORDER_STATUS_CANCELLED && by_stock) return "";
  return status == v1::ORDER_STATUS_PENDING || status == v1::ORDER_STATUS_PROCESSING
             ? ""
             : EnumText(status);
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
    *by_id.at(row["order_id"].as<int64_t>())->add_items() = ReadItem(row);
  }
}

std::optional<v1::Order> WithLines(Tx& tx, const pqxx::result& rows) {
  if (rows.empty()) return std::nullopt;
  google::protobuf::RepeatedPtrField<v1::Order> orders;
  *orders.Add() = ReadOrder(rows[0]);
  AddLines(tx, &orders);
  return std::move(orders[0]);
}

#define ENTRY_COLUMNS                                            \
  R"sql(sequence, what, t.status, cause, trace_id, detail, )sql" \
  R"sql((extract(epoch FROM at) * 1000000)::bigint AS at_us)sql"

v1::TimelineEntry ReadEntry(const pqxx::row& row) {
  v1::TimelineEntry entry;
  entry.set_sequence(row["sequence"].as<int64_t>());
  *entry.mutable_at() = TimeUtil::MicrosecondsToTimestamp(row["at_us"].as<int64_t>());
  entry.set_what(row["what"].as<std::string>());
  entry.set_status(ParseEnum<v1::OrderStatus>(row["status"].as<std::string>()));
  entry.set_cause(row["cause"].as<std::string>());
  entry.set_trace_id(row["trace_id"].as<std::string>());
  entry.set_detail(row["detail"].as<std::string>());
  return entry;
}

}  // namespace

bool CartState::Matches(const CartState& other) const {
  return version == other.version &&
         (change_id == other.change_id || change_id.empty() || other.change_id.empty());
}

std::chrono::milliseconds Deadlines::For(Waiting waiting) const {
  switch (waiting) {
    case Waiting::kStock:
      return stock;
    case Waiting::kPayment:
      return payment;
    case Waiting::kDispatch:
      return dispatch;
    case Waiting::kCancel:
      return cancel;
    case Waiting::kDelivery:
      return delivery;
    case Waiting::kNothing:
      break;
  }
  return {};
}

std::vector<Inserted> Insert(Tx& tx, const std::vector<const NewOrder*>& orders,
                             const Deadlines& deadlines, int64_t most_pending) {
  // One statement for all of it: one round trip. The ids are taken first, so that each row finds its own.
  static constexpr Statement kInsert{
      R"sql(WITH wanted AS MATERIALIZED (
              SELECT nextval('orders_id_seq') AS id, w.*,
                     (SELECT count(*) FROM orders AS before
                      WHERE before.user_id = w.user_id AND before.status = 'PENDING') AS pending
              FROM (SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[],
                                         $6::text[], $7::text[], $8::text[], $9::text[])
                    WITH ORDINALITY LIMIT cardinality($1))
                   AS w (user_id, total_price, currency, payment_method, shipping_address,
                         cart_version, cart_change_id, request_fingerprint, trace_id, position)
            ), placed AS (
              INSERT INTO orders (id, user_id, total_price, currency, payment_method,
                                  shipping_address, cart_version, cart_change_id,
                                  request_fingerprint, payment, waiting, waiting_since,
                                  deadline_at, entries)
              SELECT id, user_id, total_price, currency, payment_method,
                     nullif(shipping_address, '')::jsonb, nullif(cart_version, '')::bigint,
                     CASE WHEN cart_version <> '' THEN cart_change_id END,
                     nullif(request_fingerprint, ''), NULL, 'STOCK', now(),
                     now() + $10 * interval '1 millisecond', 1
              FROM wanted WHERE pending < $11
              ON CONFLICT (user_id, cart_version) WHERE cart_version IS NOT NULL DO NOTHING
              RETURNING )sql" ORDER_COLUMNS R"sql(
            ), lines AS (
              INSERT INTO order_items (order_id, line, product_id, name, quantity, unit_price)
              SELECT placed.id, l.line, l.product_id, l.name, l.quantity, l.unit_price
              FROM unnest($12::bigint[], $13::bigint[], $14::bigint[], $15::text[], $16::bigint[],
                          $17::bigint[]) AS l (position, line, product_id, name, quantity, unit_price)
              JOIN wanted ON wanted.position = l.position JOIN placed ON placed.id = wanted.id
            ), first AS (
              INSERT INTO order_timeline (order_id, sequence, what, status, cause, trace_id)
              SELECT placed.id, 1, 'ORDER_CREATED', status, 'CUSTOMER', wanted.trace_id
              FROM placed JOIN wanted ON wanted.id = placed.id
            ) SELECT wanted.pending, placed.* FROM wanted LEFT JOIN placed ON placed.id = wanted.id
              ORDER BY wanted.position)sql"};
  struct PlacedLine {
    size_t position;  // of its order, from 1
    int line;         // from 1
    const v1::OrderItem* item;
  };
  std::vector<PlacedLine> lines;
  for (size_t i = 0; i < orders.size(); ++i) {
    int line = 0;
    for (const v1::OrderItem& item : orders[i]->lines.items)
      lines.push_back({i + 1, ++line, &item});
  }
  const auto of_item = [](auto get) {
    return [get](const PlacedLine& line) { return std::invoke(get, *line.item); };
  };
  const auto address = [](const NewOrder* order) {
    return order->shipping_address ? json::Write(*order->shipping_address) : std::string();
  };
  const auto cart_version = [](const NewOrder* order) {
    return order->cart ? std::to_string(order->cart->version) : std::string();
  };
  const auto cart_change_id = [](const NewOrder* order) {
    return order->cart ? order->cart->change_id : std::string();
  };

  const pqxx::result rows = tx.Exec(
      kInsert, Array(orders, &NewOrder::user_id),
      Array(orders, [](const NewOrder* order) { return order->lines.total_price; }),
      Array(orders, &NewOrder::currency),
      Array(orders, [](const NewOrder* order) { return EnumText(order->payment_method); }),
      Array(orders, address), Array(orders, cart_version), Array(orders, cart_change_id),
      Array(orders, &NewOrder::request_fingerprint),
      Array(orders, [](const NewOrder* order) { return order->trace.trace_id; }),
      deadlines.stock.count(), most_pending, Array(lines, &PlacedLine::position),
      Array(lines, &PlacedLine::line), Array(lines, of_item(&v1::OrderItem::product_id)),
      Array(lines, of_item(&v1::OrderItem::name)), Array(lines, of_item(&v1::OrderItem::quantity)),
      Array(lines, of_item(&v1::OrderItem::unit_price)));

  std::vector<Inserted> inserted;
  for (const pqxx::row& row : rows) {
    Inserted& one = inserted.emplace_back(Inserted{std::nullopt, row["pending"].as<int64_t>()});
    if (row["id"].is_null()) continue;
    const auto& items = orders[inserted.size() - 1]->lines.items;
    one.order = ReadOrder(row);
    one.order->mutable_items()->Assign(items.begin(), items.end());
    tx.SignalCommit(kTimelineSignal);
  }
  return inserted;
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
#define CART_ORDERS                                                                           \
  "SELECT " ORDER_COLUMNS                                                                     \
  R"sql(, cart_version, cart_change_id, request_fingerprint, cart_settled, )sql" FACT_COLUMNS \
  R"sql( FROM orders WHERE user_id = $1 AND )sql"
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
                     GoesBackIntoCart(ReadFacts(row)),
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

#define LOCKED_COLUMNS                                                             \
  R"sql(id, uuid, user_id, reason, cancel_reason, seq, entries, )sql"              \
  R"sql(cart_version IS NOT NULL OR cart_change_id IS NOT NULL AS from_cart, )sql" \
  R"sql(extract(epoch FROM clock_timestamp() - created_at)::float8 AS age, )sql" FACT_COLUMNS

LockedOrder ReadLocked(const pqxx::row& row) {
  return {.id = row["id"].as<int64_t>(),
          .uuid = row["uuid"].as<std::string>(),
          .user_id = row["user_id"].as<int64_t>(),
          .from_cart = row["from_cart"].as<bool>(),
          .facts = ReadFacts(row),
          .reason = row["reason"].as<std::string>(""),
          .cancel_reason = row["cancel_reason"].as<std::string>(""),
          .seq = row["seq"].as<int64_t>(),
          .entries = row["entries"].as<int64_t>(),
          .age_seconds = row["age"].as<double>()};
}

std::map<int64_t, LockedOrder> FindForUpdate(Tx& tx, const std::vector<int64_t>& ids) {
  static constexpr Statement kFind{
      "SELECT " LOCKED_COLUMNS
      R"sql( FROM orders WHERE id IN (SELECT unnest($1::bigint[]) LIMIT cardinality($1))
            ORDER BY id FOR UPDATE)sql"};
  std::map<int64_t, LockedOrder> found;
  for (const pqxx::row& row : tx.Exec(kFind, Array(ids))) {
    LockedOrder order = ReadLocked(row);
    found.emplace(order.id, std::move(order));
  }
  return found;
}

void Update(Tx& tx, const std::vector<LockedOrder>& orders, const std::vector<NewEntry>& entries,
            const Deadlines& deadlines) {
  static constexpr Statement kUpdate{
      R"sql(WITH changed AS (
              UPDATE orders
              SET status = o.status, reason = nullif(o.reason, ''), stock = nullif(o.stock, ''),
                  payment = nullif(o.payment, ''), shipment = nullif(o.shipment, ''),
                  cancel = nullif(o.cancel, ''), cancelled_by = nullif(o.cancelled_by, ''),
                  cancel_reason = nullif(o.cancel_reason, ''), progress = nullif(o.progress, ''),
                  seq = o.seq, entries = o.entries, updated_at = now(),
                  payment_token = CASE o.status WHEN 'PENDING' THEN payment_token ELSE '' END,
                  waiting = nullif(o.waiting, ''),
                  waiting_since = CASE
                    WHEN o.waiting = '' THEN NULL
                    WHEN o.waiting = orders.waiting THEN waiting_since
                    ELSE now() END,
                  deadline_at = CASE
                    WHEN o.waiting = '' THEN NULL
                    WHEN o.waiting = orders.waiting THEN deadline_at
                    ELSE now() + o.patience * interval '1 millisecond' END
              FROM (SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[],
                                         $6::text[], $7::text[], $8::text[], $9::text[], $10::text[],
                                         $11::bigint[], $12::bigint[], $13::text[], $14::bigint[])
                    LIMIT cardinality($1))
                   AS o (id, status, reason, stock, payment, shipment, cancel, cancelled_by,
                         cancel_reason, progress, seq, entries, waiting, patience)
              WHERE orders.id = o.id
            ) INSERT INTO order_timeline (order_id, sequence, what, status, cause, trace_id, detail)
              SELECT * FROM unnest($15::bigint[], $16::bigint[], $17::text[], $18::text[],
                                   $19::text[], $20::text[], $21::text[]))sql"};
  if (orders.empty()) return;
  // A member of the facts as its text.
  const auto fact = [](auto member) {
    return [member](const LockedOrder& order) { return FactText(order.facts.*member); };
  };
  const auto waiting = [](const LockedOrder& order) { return WaitingFor(order.facts); };
  tx.Exec(kUpdate, Array(orders, &LockedOrder::id),
          Array(orders, [](const LockedOrder& order) { return EnumText(StatusOf(order.facts)); }),
          Array(orders, &LockedOrder::reason), Array(orders, fact(&Facts::stock)),
          Array(orders, fact(&Facts::payment)), Array(orders, fact(&Facts::shipment)),
          Array(orders, fact(&Facts::cancel)), Array(orders, fact(&Facts::cancelled_by)),
          Array(orders, &LockedOrder::cancel_reason),
          Array(orders, [](const LockedOrder& order) { return ProgressOf(order.facts); }),
          Array(orders, &LockedOrder::seq), Array(orders, &LockedOrder::entries),
          Array(orders, [&](const LockedOrder& order) { return WaitingText(waiting(order)); }),
          Array(orders,
                [&](const LockedOrder& order) { return deadlines.For(waiting(order)).count(); }),
          Array(entries, &NewEntry::order_id), Array(entries, &NewEntry::sequence),
          Array(entries, &NewEntry::what),
          Array(entries, [](const NewEntry& entry) { return EnumText(entry.status); }),
          Array(entries, &NewEntry::cause), Array(entries, &NewEntry::trace_id),
          Array(entries, &NewEntry::detail));
  tx.SignalCommit(kTimelineSignal);
}

std::optional<v1::OrderTimeline> FindTimeline(Tx& tx, int64_t id, int64_t owner) {
  // The order is there also where its timeline is empty, as it is from before there was one.
  static constexpr Statement kFind{"SELECT " ENTRY_COLUMNS R"sql(
            FROM orders LEFT JOIN order_timeline AS t ON order_id = id
            WHERE id = $1 AND ($2::bigint = 0 OR user_id = $2) ORDER BY sequence)sql"};
  const pqxx::result rows = tx.Exec(kFind, id, owner);
  if (rows.empty()) return std::nullopt;
  v1::OrderTimeline timeline;
  for (const pqxx::row& row : rows) {
    if (!row["sequence"].is_null()) *timeline.add_items() = ReadEntry(row);
  }
  return timeline;
}

std::vector<v1::TimelineEntry> TimelineAfter(Tx& tx, int64_t id, int64_t sequence, int limit) {
  static constexpr Statement kAfter{
      "SELECT " ENTRY_COLUMNS
      R"sql( FROM order_timeline AS t WHERE order_id = $1 AND sequence > $2
            ORDER BY sequence LIMIT $3)sql"};
  std::vector<v1::TimelineEntry> entries;
  for (const pqxx::row& row : tx.Exec(kAfter, id, sequence, limit)) {
    entries.push_back(ReadEntry(row));
  }
  return entries;
}

std::map<int64_t, int64_t> NewestEntries(Tx& tx, const std::vector<int64_t>& ids) {
  static constexpr Statement kNewest{
      R"sql(SELECT order_id, max(sequence) FROM order_timeline WHERE order_id = ANY($1::bigint[])
            GROUP BY order_id)sql"};
  std::map<int64_t, int64_t> newest;
  for (const pqxx::row& row : tx.Exec(kNewest, Array(ids))) {
    newest.emplace(row[0].as<int64_t>(), row[1].as<int64_t>());
  }
  return newest;
}

int64_t DatabaseTime(Tx& tx) {
  static constexpr Statement kNow{
      R"sql(SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)sql"};
  return tx.Exec(kNow)[0][0].as<int64_t>();
}

std::vector<LockedOrder> LockOverdue(Tx& tx, int64_t until_us, int limit) {
  static constexpr Statement kOverdue{"SELECT " LOCKED_COLUMNS
                                      R"sql( FROM orders
            WHERE waiting IN ('STOCK', 'PAYMENT', 'DISPATCH')
              AND deadline_at <= least(now(), to_timestamp($1::bigint / 1000000.0))
              AND NOT EXISTS (SELECT FROM retry_queue
                              WHERE consumer = 'orders' AND topic <> 'users'
                                AND key = orders.id::text)
            ORDER BY deadline_at LIMIT $2 FOR UPDATE SKIP LOCKED)sql"};
  std::vector<LockedOrder> orders;
  for (const pqxx::row& row : tx.Exec(kOverdue, until_us, limit)) {
    orders.push_back(ReadLocked(row));
  }
  return orders;
}

std::vector<LockedOrder> LeaseUnfinishedCancels(Tx& tx, int limit, const Deadlines& deadlines) {
  static constexpr Statement kLease{
      R"sql(UPDATE orders SET deadline_at = now() + $2 * interval '1 millisecond'
            WHERE id IN (SELECT id FROM orders WHERE waiting = 'CANCEL' AND deadline_at <= now()
                         ORDER BY deadline_at LIMIT $1 FOR UPDATE SKIP LOCKED)
            RETURNING )sql" LOCKED_COLUMNS};
  std::vector<LockedOrder> orders;
  for (const pqxx::row& row : tx.Exec(kLease, limit, deadlines.cancel.count())) {
    orders.push_back(ReadLocked(row));
  }
  return orders;
}

std::vector<WaitingOrders> CountWaiting(Tx& tx) {
  static constexpr Statement kCount{
      R"sql(SELECT waiting, count(*), extract(epoch FROM now() - min(waiting_since))::bigint,
                   count(*) FILTER (WHERE deadline_at <= now())
            FROM orders WHERE waiting IS NOT NULL GROUP BY waiting)sql"};
  std::vector<WaitingOrders> counted;
  for (const pqxx::row& row : tx.Exec(kCount)) {
    counted.push_back({row[0].as<std::string>(), row[1].as<int64_t>(), row[2].as<int64_t>(),
                       row[3].as<int64_t>()});
  }
  return counted;
}

}  // namespace shop::orders
