#include "products/stock_store.h"

#include <fmt/format.h>
#include <google/protobuf/util/time_util.h>

#include <functional>
#include <set>
#include <stdexcept>

#include "common/postgres/columns.h"
#include "products/product_store.h"

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
    WHERE r.order_uuid = ANY($1::uuid[]) ORDER BY s.product_id)sql"};

// Reads each row as it is after the wait for its lock: a product that was restocked meanwhile counts
// as restocked.
constexpr Statement kLock{R"sql(
    SELECT id, CASE WHEN deleted_at IS NULL THEN on_hand - reserved ELSE 0 END AS available
    FROM products WHERE id = ANY($1::bigint[]) ORDER BY id FOR UPDATE)sql"};

// Writes what orders hold, a line each. A statement of its own, whose snapshot is taken after the
// products were locked: in the snapshot of an earlier one the table's check would see older rows.
constexpr Statement kHold{R"sql(
    WITH given AS (
      SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[])
               AS g(order_uuid, product_id, quantity)),
    taken AS (
      UPDATE products p SET reserved = p.reserved + w.quantity, stock_version = p.stock_version + 1
      FROM (SELECT product_id, sum(quantity)::bigint AS quantity FROM given GROUP BY product_id) w
      WHERE p.id = w.product_id AND p.on_hand - p.reserved >= w.quantity
      RETURNING p.id),
    lines AS (
      INSERT INTO reservation_lines (order_uuid, product_id, quantity) SELECT * FROM given),
    ledger AS (
      INSERT INTO stock_movements (product_id, kind, reserved, order_uuid)
      SELECT product_id, 'RESERVED', quantity, order_uuid FROM given),
    stale AS (
      INSERT INTO cache_invalidations (product_id, stock_only) SELECT id, true FROM taken)
    SELECT count(*) FROM taken)sql"};

constexpr Statement kReject{R"sql(
    UPDATE reservations SET
      state = 'REJECTED',
      shortages = (
        SELECT jsonb_agg(jsonb_build_object('product_id', product_id, 'requested', requested,
                                            'available', available) ORDER BY product_id)
        FROM unnest($2::bigint[], $3::bigint[], $4::bigint[]) AS s(product_id, requested, available))
    WHERE order_uuid = $1::uuid)sql"};

// $3 is the state after releasing an order without a reservation, $4 after releasing one that held
// its lines. Of two releases at once the condition lets one change the state.
constexpr Statement kRelease{R"sql(
    INSERT INTO reservations (order_uuid, order_id, state) VALUES ($1, $2, $3)
    ON CONFLICT (order_uuid) DO UPDATE SET state = $4, updated_at = now()
    WHERE reservations.state = 'HELD'
    RETURNING state)sql"};

constexpr Statement kState{R"sql(SELECT state FROM reservations WHERE order_uuid = $1)sql"};

// A statement of its own for the reason given at kHold.
constexpr Statement kLockHeld{R"sql(
    SELECT p.id FROM products p JOIN reservation_lines h ON h.product_id = p.id
    WHERE h.order_uuid = $1 ORDER BY p.id FOR UPDATE OF p)sql"};

constexpr Statement kGiveBack{R"sql(
    WITH given AS (
      UPDATE products p SET reserved = p.reserved - h.quantity, stock_version = p.stock_version + 1
      FROM reservation_lines h WHERE h.order_uuid = $1::uuid AND p.id = h.product_id
      RETURNING p.id, h.quantity),
    ledger AS (
      INSERT INTO stock_movements (product_id, kind, reserved, order_uuid)
      SELECT id, 'RELEASED', -quantity, $1::uuid FROM given),
    stale AS (
      INSERT INTO cache_invalidations (product_id, stock_only) SELECT id, true FROM given)
    SELECT id FROM given)sql"};

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

// As much as a product can have for sale at all.
constexpr int64_t kMostAvailable = 1'000'000'000;

// Those of the orders that are not decided yet: this transaction decides them.
std::set<std::string> Claim(postgres::Tx& tx, const std::vector<StockOrder>& orders) {
  return FirstColumn<std::set<std::string>>(
      tx.Exec(kClaim, Array(orders, &StockOrder::uuid), Array(orders, &StockOrder::order_id)));
}

std::map<std::string, StockDecision> DecidedBefore(postgres::Tx& tx,
                                                   const std::vector<StockOrder>& orders) {
  std::map<std::string, StockDecision> decided;
  for (const pqxx::row& row : tx.Exec(kDecided, Array(orders, &StockOrder::uuid))) {
    StockDecision& decision = decided[row["order_uuid"].as<std::string>()];
    decision.reserved = WasReserved(ParseReservation(row["state"].as<std::string>()));
    if (row["product_id"].is_null()) continue;
    decision.shortages.push_back(MakeShortage(row["product_id"].as<int64_t>(),
                                              row["requested"].as<int64_t>(),
                                              row["available"].as<int64_t>()));
  }
  return decided;
}

// Locks the products of the claimed orders; answers what is available of each.
std::map<int64_t, int64_t> Lock(postgres::Tx& tx, const std::vector<StockOrder>& orders,
                                const std::set<std::string>& claimed) {
  std::set<int64_t> products;
  for (const StockOrder& order : orders) {
    if (!claimed.contains(order.uuid)) continue;
    for (const auto& [product, quantity] : order.quantities) products.insert(product);
  }
  std::map<int64_t, int64_t> available;
  if (products.empty()) return available;
  for (const pqxx::row& row : tx.Exec(kLock, Array(products, std::identity()))) {
    available[row[0].as<int64_t>()] = row[1].as<int64_t>();
  }
  return available;
}

// What an order of a batch holds of one product.
struct HeldLine {
  std::string order;
  int64_t product;
  int64_t quantity;
};

void Hold(postgres::Tx& tx, const std::vector<HeldLine>& held) {
  if (held.empty()) return;
  std::set<int64_t> products;
  for (const HeldLine& line : held) products.insert(line.product);
  const pqxx::result taken =
      tx.Exec(kHold, Array(held, &HeldLine::order), Array(held, &HeldLine::product),
              Array(held, &HeldLine::quantity));
  if (taken[0][0].as<size_t>() != products.size())
    throw std::logic_error("stock changed while it was locked");
}

void Reject(postgres::Tx& tx, const std::string& order,
            const std::vector<v1::Shortage>& shortages) {
  tx.Exec(kReject, order, Array(shortages, &v1::Shortage::product_id),
          Array(shortages, &v1::Shortage::requested), Array(shortages, &v1::Shortage::available));
}

// "RECEIVED" and so on; nothing for what this release does not know.
std::string ReasonText(v1::StockReason reason) {
  constexpr std::string_view kPrefix = "STOCK_REASON_";
  return v1::StockReason_Name(reason).substr(kPrefix.size());
}

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
  std::map<std::string, StockDecision> decided;
  if (claimed.size() < orders.size()) decided = DecidedBefore(tx, orders);

  std::map<int64_t, int64_t> available = Lock(tx, orders, claimed);
  std::vector<HeldLine> held;
  std::vector<StockDecision> decisions;
  for (const StockOrder& order : orders) {
    if (!claimed.contains(order.uuid)) {
      decisions.push_back(decided.at(order.uuid));
      continue;
    }
    const StockDecision& decision = decisions.emplace_back(Decide(order.quantities, &available));
    if (!decision.reserved) {
      Reject(tx, order.uuid, decision.shortages);
      continue;
    }
    for (const auto& [product, quantity] : order.quantities) {
      held.push_back({order.uuid, product, quantity});
    }
  }
  Hold(tx, held);
  return decisions;
}

ReleaseOutcome Release(postgres::Tx& tx, const std::string& order_uuid, int64_t order_id) {
  const pqxx::result changed =
      tx.Exec(kRelease, order_uuid, order_id, ReservationText(AfterRelease(Reservation::kNone)),
              ReservationText(AfterRelease(Reservation::kHeld)));
  const pqxx::result state = changed.empty() ? tx.Exec(kState, order_uuid) : changed;
  ReleaseOutcome outcome{.released = ParseReservation(state[0][0].as<std::string>()) ==
                                     Reservation::kReleased};
  if (changed.empty() || !outcome.released) return outcome;
  tx.Exec(kLockHeld, order_uuid);
  outcome.products = FirstColumn<std::vector<int64_t>>(tx.Exec(kGiveBack, order_uuid));
  return outcome;
}

Result<v1::AdjustStockResponse> Adjust(postgres::Tx& tx, const v1::AdjustStockRequest& request,
                                       std::optional<int64_t> owner, int64_t by) {
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
