#include "products/stock_store.h"

namespace shop::products {
namespace {

using postgres::Statement;

// Waits for another call about the same order that has not committed yet; who comes first locks the
// products.
constexpr Statement kClaim{R"sql(
    WITH claim AS (
      INSERT INTO reservations (order_uuid, order_id, state) VALUES ($1, $2, 'HELD')
      ON CONFLICT (order_uuid) DO NOTHING RETURNING order_uuid),
    locked AS (
      SELECT id FROM products
      WHERE id = ANY($3::bigint[]) AND EXISTS (SELECT FROM claim)
      ORDER BY id FOR UPDATE)
    SELECT EXISTS (SELECT FROM claim), (SELECT count(*) FROM locked))sql"};

constexpr Statement kDecided{R"sql(
    SELECT r.state, s.product_id, s.requested, s.available
    FROM reservations r
    LEFT JOIN LATERAL jsonb_to_recordset(r.shortages)
         AS s(product_id bigint, requested bigint, available bigint) ON true
    WHERE r.order_uuid = $1 ORDER BY s.product_id)sql"};

// Decides for one order that was just claimed. A statement of its own, so that its snapshot is
// taken when the locks are held and sees what is locked: in the claim's, a product that was
// restocked while its lock was waited for would still be judged, here or by the table's check, as
// it was before.
constexpr Statement kDecide{R"sql(
    WITH wanted AS (
      SELECT w.product_id, w.quantity, coalesce(p.on_hand - p.reserved, 0) AS available
      FROM unnest($2::bigint[], $3::bigint[]) AS w(product_id, quantity)
      LEFT JOIN products p ON p.id = w.product_id AND p.deleted_at IS NULL),
    short AS MATERIALIZED (
      SELECT product_id, quantity AS requested, available FROM wanted WHERE available < quantity),
    taken AS (
      UPDATE products p SET reserved = p.reserved + w.quantity, version = p.version + 1
      FROM wanted w
      WHERE p.id = w.product_id AND p.on_hand - p.reserved >= w.quantity
        AND NOT EXISTS (SELECT FROM short)
      RETURNING p.id, w.quantity),
    lines AS (
      INSERT INTO reservation_lines (order_uuid, product_id, quantity)
      SELECT $1::uuid, id, quantity FROM taken),
    ledger AS (
      INSERT INTO stock_movements (product_id, kind, reserved, order_uuid)
      SELECT id, 'RESERVED', quantity, $1::uuid FROM taken),
    stale AS (
      INSERT INTO cache_invalidations (product_id) SELECT id FROM taken),
    refused AS (
      UPDATE reservations SET
        state = 'REJECTED',
        shortages = (SELECT jsonb_agg(to_jsonb(short)) FROM short)
      WHERE order_uuid = $1::uuid AND EXISTS (SELECT FROM short))
    SELECT product_id, requested, available FROM short ORDER BY product_id)sql"};

constexpr Statement kEnd{R"sql(
    INSERT INTO reservations (order_uuid, order_id, state) VALUES ($1, $2, 'REJECTED')
    ON CONFLICT (order_uuid) DO UPDATE SET state = 'RELEASED', updated_at = now()
    WHERE reservations.state = 'HELD'
    RETURNING state)sql"};

constexpr Statement kState{"SELECT state FROM reservations WHERE order_uuid = $1"};

// A statement of its own for the reason given at kDecide.
constexpr Statement kLockHeld{R"sql(
    SELECT p.id FROM products p JOIN reservation_lines h ON h.product_id = p.id
    WHERE h.order_uuid = $1 ORDER BY p.id FOR UPDATE OF p)sql"};

constexpr Statement kGiveBack{R"sql(
    WITH given AS (
      UPDATE products p SET reserved = p.reserved - h.quantity, version = p.version + 1
      FROM reservation_lines h WHERE h.order_uuid = $1::uuid AND p.id = h.product_id
      RETURNING p.id, h.quantity),
    ledger AS (
      INSERT INTO stock_movements (product_id, kind, reserved, order_uuid)
      SELECT id, 'RELEASED', -quantity, $1::uuid FROM given),
    stale AS (
      INSERT INTO cache_invalidations (product_id) SELECT id FROM given)
    SELECT id FROM given)sql"};

v1::Shortage ToShortage(const pqxx::row& row) {
  v1::Shortage shortage;
  shortage.set_product_id(row["product_id"].as<int64_t>());
  shortage.set_requested(row["requested"].as<int64_t>());
  shortage.set_available(row["available"].as<int64_t>());
  return shortage;
}

}  // namespace

StockDecision Reserve(postgres::Tx& tx, const StockOrder& order) {
  std::vector<int64_t> ids;
  std::vector<int64_t> quantities;
  for (const auto& [id, quantity] : order.quantities) {
    ids.push_back(id);
    quantities.push_back(quantity);
  }
  StockDecision decision;
  const std::string products = postgres::Array(ids);
  const bool claimed = tx.Exec(kClaim, order.uuid, order.order_id, products)[0][0].as<bool>();
  if (!claimed) {
    for (const pqxx::row& row : tx.Exec(kDecided, order.uuid)) {
      decision.reserved = row["state"].as<std::string>() != "REJECTED";
      if (!row["product_id"].is_null()) decision.shortages.push_back(ToShortage(row));
    }
    return decision;
  }
  for (const pqxx::row& row : tx.Exec(kDecide, order.uuid, products, postgres::Array(quantities))) {
    decision.shortages.push_back(ToShortage(row));
  }
  decision.reserved = decision.shortages.empty();
  return decision;
}

ReleaseOutcome Release(postgres::Tx& tx, const std::string& order_uuid, int64_t order_id) {
  const pqxx::result ended = tx.Exec(kEnd, order_uuid, order_id);
  if (ended.empty()) {
    return {.released = tx.Exec(kState, order_uuid)[0][0].as<std::string>() == "RELEASED"};
  }
  if (ended[0][0].as<std::string>() != "RELEASED") return {};
  ReleaseOutcome outcome{.released = true};
  tx.Exec(kLockHeld, order_uuid);
  for (const pqxx::row& row : tx.Exec(kGiveBack, order_uuid)) {
    outcome.products.push_back(row[0].as<int64_t>());
  }
  return outcome;
}

}  // namespace shop::products
