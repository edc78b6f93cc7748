#include "products/stock_store.h"

#include <set>
#include <stdexcept>

namespace shop::products {
namespace {

using postgres::Statement;

// Waits for other calls about the same orders that have not committed yet; who comes first locks
// the products.
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

// What it reads of a row is what the row is once its lock is had: a product that was restocked
// while its lock was waited for counts as restocked.
constexpr Statement kLock{R"sql(
    SELECT id, CASE WHEN deleted_at IS NULL THEN on_hand - reserved ELSE 0 END AS available
    FROM products WHERE id = ANY($1::bigint[]) ORDER BY id FOR UPDATE)sql"};

// Writes down what orders were given, a line each. A statement of its own: its snapshot is taken
// when the locks are held, and the table's check would judge rows as that of an earlier one saw
// them.
constexpr Statement kTake{R"sql(
    WITH given AS (
      SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[])
               AS g(order_uuid, product_id, quantity)),
    taken AS (
      UPDATE products p SET reserved = p.reserved + w.quantity, version = p.version + 1
      FROM (SELECT product_id, sum(quantity)::bigint AS quantity FROM given GROUP BY product_id) w
      WHERE p.id = w.product_id AND p.on_hand - p.reserved >= w.quantity
      RETURNING p.id),
    lines AS (
      INSERT INTO reservation_lines (order_uuid, product_id, quantity) SELECT * FROM given),
    ledger AS (
      INSERT INTO stock_movements (product_id, kind, reserved, order_uuid)
      SELECT product_id, 'RESERVED', quantity, order_uuid FROM given),
    stale AS (
      INSERT INTO cache_invalidations (product_id) SELECT id FROM taken)
    SELECT count(*) FROM taken)sql"};

constexpr Statement kRefuse{R"sql(
    UPDATE reservations SET
      state = 'REJECTED',
      shortages = (
        SELECT jsonb_agg(jsonb_build_object('product_id', product_id, 'requested', requested,
                                            'available', available) ORDER BY product_id)
        FROM unnest($2::bigint[], $3::bigint[], $4::bigint[]) AS s(product_id, requested, available))
    WHERE order_uuid = $1::uuid)sql"};

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

v1::Shortage Short(int64_t product, int64_t requested, int64_t available) {
  v1::Shortage shortage;
  shortage.set_product_id(product);
  shortage.set_requested(requested);
  shortage.set_available(available);
  return shortage;
}

std::vector<std::string> Uuids(const std::vector<StockOrder>& orders) {
  std::vector<std::string> uuids;
  for (const StockOrder& order : orders) uuids.push_back(order.uuid);
  return uuids;
}

// Those of the orders that nobody has decided; they are ours to decide.
std::set<std::string> Claim(postgres::Tx& tx, const std::vector<StockOrder>& orders) {
  std::vector<int64_t> ids;
  for (const StockOrder& order : orders) ids.push_back(order.order_id);
  std::set<std::string> claimed;
  for (const pqxx::row& row :
       tx.Exec(kClaim, postgres::Array(Uuids(orders)), postgres::Array(ids))) {
    claimed.insert(row[0].as<std::string>());
  }
  return claimed;
}

std::map<std::string, StockDecision> DecidedBefore(postgres::Tx& tx,
                                                   const std::vector<StockOrder>& orders) {
  std::map<std::string, StockDecision> decided;
  for (const pqxx::row& row : tx.Exec(kDecided, postgres::Array(Uuids(orders)))) {
    StockDecision& decision = decided[row["order_uuid"].as<std::string>()];
    decision.reserved = row["state"].as<std::string>() != "REJECTED";
    if (row["product_id"].is_null()) continue;
    decision.shortages.push_back(Short(row["product_id"].as<int64_t>(),
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
  for (const pqxx::row& row :
       tx.Exec(kLock, postgres::Array(std::vector<int64_t>(products.begin(), products.end())))) {
    available[row[0].as<int64_t>()] = row[1].as<int64_t>();
  }
  return available;
}

// What is given to orders, line by line.
struct Taken {
  void Add(const std::string& order, int64_t product, int64_t quantity) {
    orders.push_back(order);
    products.push_back(product);
    quantities.push_back(quantity);
  }

  std::vector<std::string> orders;
  std::vector<int64_t> products;
  std::vector<int64_t> quantities;
};

void Take(postgres::Tx& tx, const Taken& taken) {
  if (taken.orders.empty()) return;
  const std::set<int64_t> products(taken.products.begin(), taken.products.end());
  const auto changed =
      tx.Exec(kTake, postgres::Array(taken.orders), postgres::Array(taken.products),
              postgres::Array(taken.quantities))[0][0]
          .as<size_t>();
  if (changed != products.size()) throw std::logic_error("stock changed while it was locked");
}

void Refuse(postgres::Tx& tx, const std::string& order,
            const std::vector<v1::Shortage>& shortages) {
  std::vector<int64_t> products;
  std::vector<int64_t> requested;
  std::vector<int64_t> available;
  for (const v1::Shortage& shortage : shortages) {
    products.push_back(shortage.product_id());
    requested.push_back(shortage.requested());
    available.push_back(shortage.available());
  }
  tx.Exec(kRefuse, order, postgres::Array(products), postgres::Array(requested),
          postgres::Array(available));
}

}  // namespace

std::vector<StockDecision> Reserve(postgres::Tx& tx, const std::vector<StockOrder>& orders) {
  const std::set<std::string> claimed = Claim(tx, orders);
  std::map<std::string, StockDecision> decided;
  if (claimed.size() < orders.size()) decided = DecidedBefore(tx, orders);

  std::map<int64_t, int64_t> available = Lock(tx, orders, claimed);
  Taken taken;
  std::vector<StockDecision> decisions;
  for (const StockOrder& order : orders) {
    if (!claimed.contains(order.uuid)) {
      decisions.push_back(decided.at(order.uuid));
      continue;
    }
    StockDecision& decision = decisions.emplace_back();
    for (const auto& [product, quantity] : order.quantities) {
      if (available[product] < quantity) {
        decision.shortages.push_back(Short(product, quantity, available[product]));
      }
    }
    decision.reserved = decision.shortages.empty();
    if (!decision.reserved) {
      Refuse(tx, order.uuid, decision.shortages);
      continue;
    }
    for (const auto& [product, quantity] : order.quantities) {
      available[product] -= quantity;
      taken.Add(order.uuid, product, quantity);
    }
  }
  Take(tx, taken);
  return decisions;
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
