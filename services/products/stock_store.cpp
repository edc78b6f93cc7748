#include "products/stock_store.h"

#include <fmt/format.h>
#include <google/protobuf/util/time_util.h>

#include <functional>
#include <set>

#include "common/postgres/columns.h"
#include "products/product_store.h"
#include "products/reservation_metrics.h"

namespace shop::products {
namespace {

using postgres::Array;
using postgres::FirstColumn;
using postgres::Statement;

// Waits for transactions of other calls for the same orders; the first one locks the products.
constexpr Statement kClaim{R"sql(
    INSERT INTO reservations (order_uuid, order_id, state)
    SELECT order_uuid, order_id, 'HELD'
    FROM unnest($1::uuid[], $2::bigint[]) AS o(order_uuid, order_id) ORDER BY order_uuid
    ON CONFLICT (order_uuid) DO NOTHING RETURNING order_uuid)sql"};

constexpr Statement kDecided{R"sql(
    SELECT r.order_uuid, r.state, s.product_id, s.requested, s.available
    FROM reservations r
    LEFT JOIN LATERAL jsonb_to_recordset(r.shortages)
         AS s(product_id bigint, requested bigint, available bigint) ON true
    WHERE r.order_uuid IN (SELECT unnest($1::uuid[]) LIMIT cardinality($1)) ORDER BY s.product_id)sql"};

// Reads each row as it is after the wait for its lock: a product that was restocked meanwhile counts
// as restocked.
constexpr Statement kLock{R"sql(
    SELECT id, CASE WHEN deleted_at IS NULL THEN on_hand - reserved ELSE 0 END AS available
    FROM products WHERE id = ANY($1::bigint[]) ORDER BY id FOR UPDATE)sql"};

// Writes the moves of orders whose products are locked. A statement of its own, whose snapshot is
// taken after they were locked: in the snapshot of an earlier one the table's check would see older
// rows. What leaves `on_hand - reserved` as it was has changed nothing that others have a copy of.
constexpr Statement kWrite{R"sql(
    WITH given AS (
      SELECT * FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[])
               AS g(order_uuid, kind, product_id, on_hand, reserved) LIMIT cardinality($1)),
    moved AS (
      UPDATE products p
      SET on_hand = p.on_hand + w.on_hand, reserved = p.reserved + w.reserved,
          stock_version = p.stock_version + (w.on_hand <> w.reserved)::int
      FROM (SELECT product_id, sum(on_hand)::bigint AS on_hand, sum(reserved)::bigint AS reserved
            FROM given GROUP BY product_id) w
      WHERE p.id = w.product_id
      RETURNING p.id, w.on_hand <> w.reserved AS available_changed),
    held AS (
      INSERT INTO reservation_lines (order_uuid, product_id, quantity)
      SELECT order_uuid, product_id, reserved FROM given WHERE kind = 'RESERVED'),
    back AS (
      UPDATE reservation_lines l SET returned = l.returned + g.on_hand FROM given g
      WHERE g.kind = 'RETURNED' AND l.order_uuid = g.order_uuid AND l.product_id = g.product_id),
    ledger AS (
      INSERT INTO stock_movements (product_id, kind, on_hand, reserved, order_uuid)
      SELECT product_id, kind, on_hand, reserved, order_uuid FROM given),
    stale AS (
      INSERT INTO cache_invalidations (product_id, stock_only)
      SELECT id, true FROM moved WHERE available_changed)
    SELECT id FROM moved WHERE available_changed)sql"};

constexpr Statement kReject{R"sql(
    UPDATE reservations SET
      state = 'REJECTED',
      shortages = (
        SELECT jsonb_agg(jsonb_build_object('product_id', product_id, 'requested', requested,
                                            'available', available) ORDER BY product_id)
        FROM unnest($2::bigint[], $3::bigint[], $4::bigint[]) AS s(product_id, requested, available))
    WHERE order_uuid = $1::uuid)sql"};

// Waits for a transaction that reserves for the order.
constexpr Statement kInsert{R"sql(
    INSERT INTO reservations (order_uuid, order_id, state) VALUES ($1, $2, $3)
    ON CONFLICT (order_uuid) DO NOTHING)sql"};

constexpr Statement kLockOrders{R"sql(
    SELECT order_uuid, state FROM reservations
    WHERE order_uuid IN (SELECT unnest($1::uuid[]) LIMIT cardinality($1))
    ORDER BY order_uuid FOR UPDATE)sql"};

// Locks the products, those that have been deleted since too: their pieces come back like others.
constexpr Statement kLockLines{R"sql(
    SELECT l.order_uuid, l.product_id, l.quantity, l.returned
    FROM reservation_lines l JOIN products p ON p.id = l.product_id
    WHERE l.order_uuid IN (SELECT unnest($1::uuid[]) LIMIT cardinality($1))
    ORDER BY p.id FOR UPDATE OF p)sql"};

constexpr Statement kAdvance{R"sql(
    UPDATE reservations r SET state = g.state, updated_at = now()
    FROM (SELECT * FROM unnest($1::uuid[], $2::text[]) LIMIT cardinality($1)) AS g(order_uuid, state)
    WHERE r.order_uuid = g.order_uuid)sql"};

constexpr Statement kReturns{R"sql(
    SELECT return_uuid, pieces FROM stock_returns WHERE order_uuid = $1)sql"};

constexpr Statement kRememberReturn{R"sql(
    INSERT INTO stock_returns (order_uuid, return_uuid, pieces) VALUES ($1, $2, $3)
    ON CONFLICT DO NOTHING)sql"};

// Other adjustments and reservations of the product wait until this transaction ends.
constexpr Statement kLockOne{R"sql(
    SELECT on_hand, reserved FROM products
    WHERE id = $1 AND deleted_at IS NULL AND ($2::bigint IS NULL OR seller_id = $2) FOR UPDATE)sql"};

// What ReadMovement reads.
#define MOVEMENT_COLUMNS                                                                         \
  R"sql(m.id, m.product_id, m.kind, m.on_hand, m.reserved, m.order_uuid, m.reason, m.note, )sql" \
  R"sql(m.by_user, (date_part('epoch', m.at) * 1000000)::bigint AS at)sql"

constexpr Statement kMovementOfKey{
    "SELECT " MOVEMENT_COLUMNS
    R"sql( FROM stock_movements m WHERE by_user = $1 AND request_key = $2)sql"};

// Answers nothing where the key has made a movement of another product meanwhile.
constexpr Statement kAdjust{R"sql(
    WITH m AS (
      INSERT INTO stock_movements (product_id, kind, on_hand, reason, note, by_user, request_key)
      VALUES ($1, 'ADJUSTED', $2, $3, $4, $5, $6)
      ON CONFLICT (by_user, request_key) WHERE request_key IS NOT NULL DO NOTHING RETURNING *),
    moved AS (
      UPDATE products p SET on_hand = p.on_hand + m.on_hand, stock_version = p.stock_version + 1
      FROM m WHERE p.id = m.product_id),
    stale AS (
      INSERT INTO cache_invalidations (product_id, stock_only) SELECT product_id, true FROM m)
    SELECT )sql" MOVEMENT_COLUMNS R"sql( FROM m)sql"};

constexpr Statement kIsThere{R"sql(
    SELECT FROM products
    WHERE id = $1 AND deleted_at IS NULL AND ($2::bigint IS NULL OR seller_id = $2))sql"};

// $3 rows after the first $4, older than the movement $2.
constexpr Statement kMovements{"SELECT " MOVEMENT_COLUMNS R"sql(, r.order_id
    FROM stock_movements m LEFT JOIN reservations r USING (order_uuid)
    WHERE m.product_id = $1 AND ($2::bigint IS NULL OR m.id < $2)
    ORDER BY m.id DESC LIMIT $3 OFFSET $4)sql"};

constexpr Statement kCountMovements{R"sql(
    SELECT count(*) FROM (SELECT FROM stock_movements WHERE product_id = $1 LIMIT $2) AS counted)sql"};

constexpr Statement kCountHeld{R"sql(
    SELECT count(*), coalesce(sum(pieces), 0)
    FROM reservations r, LATERAL (SELECT sum(quantity)::bigint AS pieces FROM reservation_lines l
                                  WHERE l.order_uuid = r.order_uuid) AS lines
    WHERE state = 'HELD')sql"};

// As much as a product can have for sale at all.
constexpr int64_t kMostAvailable = 1'000'000'000;

// Those of the orders that are not decided yet: this transaction decides them.
std::set<std::string> Claim(postgres::Tx& tx, const std::vector<StockOrder>& orders) {
  return FirstColumn<std::set<std::string>>(
      tx.Exec(kClaim, Array(orders, &StockOrder::uuid), Array(orders, &StockOrder::order_id)));
}

// The state of orders that are decided, and what was short of them.
std::map<std::string, OrderStock> DecidedBefore(postgres::Tx& tx,
                                                const std::vector<StockOrder>& orders) {
  std::map<std::string, OrderStock> decided;
  for (const pqxx::row& row : tx.Exec(kDecided, Array(orders, &StockOrder::uuid))) {
    OrderStock& order = decided[row["order_uuid"].as<std::string>()];
    order.state = ParseReservation(row["state"].as<std::string>());
    if (row["product_id"].is_null()) continue;
    order.shortages.push_back(MakeShortage(row["product_id"].as<int64_t>(),
                                           row["requested"].as<int64_t>(),
                                           row["available"].as<int64_t>()));
  }
  return decided;
}

// Locks the products of the claimed orders; answers what is available of each.
Quantities Lock(postgres::Tx& tx, const std::vector<StockOrder>& orders,
                const std::set<std::string>& claimed) {
  std::set<int64_t> products;
  for (const StockOrder& order : orders) {
    if (!claimed.contains(order.uuid)) continue;
    for (const auto& [product, quantity] : order.quantities) products.insert(product);
  }
  Quantities available;
  if (products.empty()) return available;
  for (const pqxx::row& row : tx.Exec(kLock, Array(products, std::identity()))) {
    available[row[0].as<int64_t>()] = row[1].as<int64_t>();
  }
  return available;
}

// The moves of several orders, to be written together.
struct OrderMove {
  std::string order;
  StockMove move;
};
using OrderMoves = std::vector<OrderMove>;

void Append(const std::string& order, const StockMoves& moves, OrderMoves* all) {
  for (const StockMove& move : moves) all->push_back({order, move});
}

// Answers the products of which another number can be bought now.
std::vector<int64_t> Write(postgres::Tx& tx, const OrderMoves& moves) {
  if (moves.empty()) return {};
  const auto of = [&](const auto& value) {
    return Array(moves, [&](const OrderMove& m) { return std::invoke(value, m.move); });
  };
  return FirstColumn<std::vector<int64_t>>(
      tx.Exec(kWrite, Array(moves, &OrderMove::order),
              of([](const StockMove& m) { return std::string(m.kind); }), of(&StockMove::product),
              of(&StockMove::on_hand), of(&StockMove::reserved)));
}

void Reject(postgres::Tx& tx, const std::string& order,
            const std::vector<v1::Shortage>& shortages) {
  tx.Exec(kReject, order, Array(shortages, &v1::Shortage::product_id),
          Array(shortages, &v1::Shortage::requested), Array(shortages, &v1::Shortage::available));
}

// The orders that have a reservation, locked with their products.
std::map<std::string, OrderStock> LockOrders(postgres::Tx& tx, const std::string& uuids) {
  std::map<std::string, OrderStock> orders;
  for (const pqxx::row& row : tx.Exec(kLockOrders, uuids)) {
    orders[row[0].as<std::string>()].state = ParseReservation(row[1].as<std::string>());
  }
  for (const pqxx::row& row : tx.Exec(kLockLines, uuids)) {
    const auto order = orders.find(row["order_uuid"].as<std::string>());
    // Reserved since: whoever asked for a change knew of no reservation.
    if (order == orders.end()) continue;
    order->second.lines[row["product_id"].as<int64_t>()] = {row["quantity"].as<int64_t>(),
                                                            row["returned"].as<int64_t>()};
  }
  return orders;
}

struct Changed {
  std::map<std::string, OrderStock> orders;  // as they are now; those without a reservation are not
  std::vector<int64_t> products;             // of which another number can be bought now
};

// Does `change` to each of the orders and writes what it has done.
Changed Change(postgres::Tx& tx, const std::vector<std::string>& uuids,
               const std::function<StockMoves(OrderStock*)>& change) {
  Changed changed{.orders = LockOrders(tx, Array(uuids)), .products = {}};
  OrderMoves moves;
  std::vector<std::string> advanced;
  std::vector<std::string> states;
  for (auto& [uuid, order] : changed.orders) {
    const Reservation before = order.state;
    Append(uuid, change(&order), &moves);
    if (order.state == before) continue;
    CountReservation(order.state);
    advanced.push_back(uuid);
    states.push_back(ReservationText(order.state));
  }
  if (!advanced.empty()) tx.Exec(kAdvance, Array(advanced), Array(states));
  changed.products = Write(tx, moves);
  return changed;
}

// "LOST" and so on; UNSPECIFIED for what this release does not know.
v1::StockReason ReasonFrom(const std::string& text) {
  v1::StockReason reason = v1::STOCK_REASON_UNSPECIFIED;
  v1::StockReason_Parse("STOCK_REASON_" + text, &reason);
  return reason;
}

v1::StockMovementKind KindFrom(const std::string& text) {
  v1::StockMovementKind kind = v1::STOCK_MOVEMENT_KIND_UNSPECIFIED;
  v1::StockMovementKind_Parse("STOCK_MOVEMENT_KIND_" + text, &kind);
  return kind;
}

v1::StockMovement ReadMovement(const pqxx::row& row) {
  v1::StockMovement movement;
  movement.set_id(row["id"].as<int64_t>());
  movement.set_kind(KindFrom(row["kind"].as<std::string>()));
  movement.set_on_hand_delta(row["on_hand"].as<int64_t>());
  movement.set_reserved_delta(row["reserved"].as<int64_t>());
  if (!row["order_uuid"].is_null()) movement.set_order_uuid(row["order_uuid"].as<std::string>());
  if (!row["reason"].is_null()) movement.set_reason(ReasonFrom(row["reason"].as<std::string>()));
  if (!row["note"].is_null()) movement.set_note(row["note"].as<std::string>());
  if (!row["by_user"].is_null()) movement.set_user_id(row["by_user"].as<int64_t>());
  *movement.mutable_at() =
      google::protobuf::util::TimeUtil::MicrosecondsToTimestamp(row["at"].as<int64_t>());
  return movement;
}

// Received goods cannot lower the stock: a delta with the wrong sign is a slip.
bool MayMove(v1::StockReason reason, int64_t delta) {
  switch (reason) {
    case v1::STOCK_REASON_RECEIVED:
    case v1::STOCK_REASON_RETURNED:
      return delta > 0;
    case v1::STOCK_REASON_DAMAGED:
    case v1::STOCK_REASON_LOST:
      return delta < 0;
    default:
      return true;
  }
}

Refusal KeyReused() {
  return {.code = Code::kFailedPrecondition,
          .message = "this Idempotency-Key was used with another request",
          .reason = "IDEMPOTENCY_KEY_REUSED"};
}

Refusal CannotMove(std::string message, std::string about_delta, std::string reason) {
  return {.code = Code::kFailedPrecondition,
          .message = std::move(message),
          .details = {{"delta", std::move(about_delta)}},
          .reason = std::move(reason)};
}

// Whether the movement is the one that the request asks for.
bool IsSameRequest(const v1::AdjustStockRequest& request, int64_t product,
                   const v1::StockMovement& movement) {
  return product == request.id() && movement.on_hand_delta() == request.delta() &&
         movement.reason() == request.reason() && movement.has_note() == request.has_note() &&
         movement.note() == request.note();
}

v1::AdjustStockResponse Adjusted(v1::StockMovement movement, int64_t on_hand, int64_t reserved) {
  v1::AdjustStockResponse response;
  *response.mutable_movement() = std::move(movement);
  response.set_stock(on_hand - reserved);
  response.set_on_hand(on_hand);
  response.set_reserved(reserved);
  return response;
}

}  // namespace

std::vector<StockDecision> Reserve(postgres::Tx& tx, const std::vector<StockOrder>& orders) {
  const std::set<std::string> claimed = Claim(tx, orders);
  std::map<std::string, OrderStock> decided;
  if (claimed.size() < orders.size()) decided = DecidedBefore(tx, orders);

  Quantities available = Lock(tx, orders, claimed);
  OrderMoves moves;
  std::vector<StockDecision> decisions;
  for (const StockOrder& order : orders) {
    OrderStock& stock = decided[order.uuid];
    if (claimed.contains(order.uuid)) {
      stock = {};
      Append(order.uuid, Reserve(order.quantities, &stock, &available), &moves);
      CountReservation(stock.state);
      if (stock.state == Reservation::kRejected) Reject(tx, order.uuid, stock.shortages);
    }
    decisions.push_back(DecisionOf(stock));
  }
  Write(tx, moves);
  return decisions;
}

std::vector<bool> Commit(postgres::Tx& tx, const std::vector<std::string>& order_uuids) {
  const Changed changed = Change(tx, order_uuids, [](OrderStock* order) { return Commit(order); });
  std::vector<bool> committed;
  for (const std::string& uuid : order_uuids) {
    const auto order = changed.orders.find(uuid);
    committed.push_back(order != changed.orders.end() && WasCommitted(order->second));
  }
  return committed;
}

ReleaseOutcome Release(postgres::Tx& tx, const std::string& order_uuid, int64_t order_id) {
  OrderStock none;
  Release(&none);
  if (tx.Exec(kInsert, order_uuid, order_id, ReservationText(none.state)).affected_rows() == 1) {
    CountReservation(none.state);
    return {.released = WasReleased(none)};
  }
  const Changed changed =
      Change(tx, {order_uuid}, [](OrderStock* order) { return Release(order); });
  return {.released = WasReleased(changed.orders.at(order_uuid)), .products = changed.products};
}

ReturnOutcome Return(postgres::Tx& tx, const std::string& order_uuid,
                     const std::string& return_uuid, const Quantities& quantities) {
  const Changed changed = Change(tx, {order_uuid}, [&](OrderStock* order) {
    for (const pqxx::row& row : tx.Exec(kReturns, order_uuid)) {
      order->returns[row[0].as<std::string>()] = row[1].as<int64_t>();
    }
    return Return(return_uuid, quantities, order);
  });
  const auto order = changed.orders.find(order_uuid);
  if (order == changed.orders.end()) return {};
  const auto known = order->second.returns.find(return_uuid);
  if (known == order->second.returns.end()) return {.products = changed.products};
  tx.Exec(kRememberReturn, order_uuid, return_uuid, known->second);
  return {.pieces = known->second, .products = changed.products};
}

HeldStock CountHeld(postgres::Tx& tx) {
  const pqxx::result held = tx.Exec(kCountHeld);
  return {held[0][0].as<int64_t>(), held[0][1].as<int64_t>()};
}

std::string ReasonText(v1::StockReason reason) {
  constexpr std::string_view kPrefix = "STOCK_REASON_";
  return v1::StockReason_Name(reason).substr(kPrefix.size());
}

Result<v1::AdjustStockResponse> Adjust(postgres::Tx& tx, const v1::AdjustStockRequest& request,
                                       std::optional<int64_t> owner, int64_t by, bool* repeated) {
  if (!MayMove(request.reason(), request.delta())) {
    return InvalidField(
        "delta", fmt::format("must be {} zero for {}", request.delta() > 0 ? "below" : "above",
                             ReasonText(request.reason())));
  }
  const pqxx::result locked = tx.Exec(kLockOne, request.id(), owner);
  if (locked.empty()) return NoSuchProduct(request.id());
  const int64_t on_hand = locked[0][0].as<int64_t>();
  const int64_t reserved = locked[0][1].as<int64_t>();
  const auto optional = [](bool has, const std::string& text) {
    return has ? std::optional(text) : std::nullopt;
  };
  const std::optional<std::string> key =
      optional(!request.idempotency_key().empty(), request.idempotency_key());
  if (key) {
    // Under the lock, so that the first of two at once has committed.
    const pqxx::result before = tx.Exec(kMovementOfKey, by, key);
    if (!before.empty()) {
      v1::StockMovement movement = ReadMovement(before[0]);
      if (!IsSameRequest(request, before[0]["product_id"].as<int64_t>(), movement))
        return KeyReused();
      if (repeated != nullptr) *repeated = true;
      return Adjusted(std::move(movement), on_hand, reserved);
    }
  }

  const int64_t available = on_hand - reserved;
  if (available + request.delta() < 0) {
    return CannotMove("there is not enough in stock",
                      fmt::format("only {} of {} on hand can be taken, {} are reserved for orders",
                                  available, on_hand, reserved),
                      "OUT_OF_STOCK");
  }
  if (available + request.delta() > kMostAvailable) {
    return CannotMove("there would be too much in stock",
                      fmt::format("{} are in stock, and {} is the most", available, kMostAvailable),
                      "TOO_MUCH_STOCK");
  }
  const pqxx::result moved =
      tx.Exec(kAdjust, request.id(), request.delta(), ReasonText(request.reason()),
              optional(request.has_note(), request.note()), by, key);
  if (moved.empty()) return KeyReused();
  return Adjusted(ReadMovement(moved[0]), on_hand + request.delta(), reserved);
}

Result<v1::ListStockMovementsResponse> Movements(postgres::Tx& tx, int64_t product,
                                                 std::optional<int64_t> owner, const Page& page) {
  std::optional<int64_t> before;
  if (page.by_cursor()) {
    before = CursorNumber(page.after[0]);
    if (!before) return InvalidCursor();
  }
  if (tx.Exec(kIsThere, product, owner).empty()) return NoSuchProduct(product);

  v1::ListStockMovementsResponse list;
  const pqxx::result rows = tx.Exec(kMovements, product, before, page.limit + 1, page.offset());
  for (const pqxx::row& row : rows) {
    if (list.items_size() == page.limit) break;
    v1::StockMovement* movement = list.add_items();
    *movement = ReadMovement(row);
    if (!row["order_id"].is_null()) movement->set_order_id(row["order_id"].as<int64_t>());
  }
  std::vector<std::string> next;
  if (std::ssize(rows) > page.limit) next.push_back(std::to_string(list.items().rbegin()->id()));
  int64_t total = 0;
  if (!page.by_cursor()) {
    const std::optional<int64_t> seen = page.TotalFrom(std::ssize(rows));
    total = seen ? *seen : tx.Exec(kCountMovements, product, kMostByNumber)[0][0].as<int64_t>();
  }
  Describe(page, total, next, &list);
  return list;
}

}  // namespace shop::products
