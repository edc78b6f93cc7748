// All SQL of reservations: stock held for orders.
//
// An order's reservation is decided once, by its UUID: all of its lines are held or none, and the
// decision is kept with what was short. Whoever asks again, at the same moment or after a restock,
// is told that decision. Products are locked by id in order, so that no two orders wait for each
// other.
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

// In the caller's transaction, which must be READ COMMITTED. What it holds is marked stale in
// cache_invalidations.
StockDecision Reserve(postgres::Tx& tx, const StockOrder& order);

struct ReleaseOutcome {
  bool released = false;               // now or by an earlier call
  std::vector<int64_t> products = {};  // of which stock was given back now
};

// Gives back what the order holds. A repeat is told again that it was released. An order that has
// no reservation gets a refusal in its place, so that a late Reserve holds nothing.
ReleaseOutcome Release(postgres::Tx& tx, const std::string& order_uuid, int64_t order_id);

}  // namespace shop::products
