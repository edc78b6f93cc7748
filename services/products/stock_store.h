// All SQL of reservations: stock held for orders.
//
// Orders are decided together where many are asked for at once: a batch claims all of its orders,
// locks all of their products and then decides one order after the other.
//
// An order's reservation is decided once, by its UUID: all of its lines are held or none, and the
// decision is kept with what was short. Whoever asks again, at the same moment or after a restock,
// is told that decision. Orders are locked by UUID and then products by id, each in order, so that
// no two calls wait for each other.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/postgres/pool.h"
#include "shop/products/v1/products.pb.h"

namespace shop::products {

struct StockOrder {
  std::string uuid;
  int64_t order_id = 0;
  std::map<int64_t, int64_t> quantities;  // by product
};

struct StockDecision {
  bool reserved = false;
  std::vector<v1::Shortage> shortages;  // none when reserved
};

// Decides for each order alone, in the order given; none may be there twice. In the caller's
// transaction, which must be READ COMMITTED. What it holds is marked stale in cache_invalidations.
std::vector<StockDecision> Reserve(postgres::Tx& tx, const std::vector<StockOrder>& orders);

struct ReleaseOutcome {
  bool released = false;               // now or by an earlier call
  std::vector<int64_t> products = {};  // of which stock was given back now
};

// Gives back what the order holds. A repeat is told again that it was released. An order that has
// no reservation gets a refusal in its place, so that a late Reserve holds nothing.
ReleaseOutcome Release(postgres::Tx& tx, const std::string& order_uuid, int64_t order_id);

}  // namespace shop::products
