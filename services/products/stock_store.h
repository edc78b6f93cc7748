// All SQL of stock: what is held for orders, what is adjusted by hand, and the ledger of both.
//
// The orders of a batch are decided together: it claims all of them, locks all of their products and
// then decides one order after the other.
//
// An order's reservation is decided once, by its UUID (reservation.h), and the decision is stored
// with what was short. A repeat, at the same moment or after a restock, is answered with that
// decision. Orders are locked by UUID and then products by id, each in order, so that no two calls
// wait for each other.
//
// The ledger (stock_movements) is written with every movement: for each product it adds up to what
// is on hand and what is reserved. An order that was delivered keeps its reservation, so what was
// sold is reserved and still on hand; only a release ends that.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/core/paging.h"
#include "common/core/result.h"
#include "common/postgres/pool.h"
#include "products/reservation.h"
#include "shop/products/v1/products.pb.h"

namespace shop::products {

struct StockOrder {
  std::string uuid;
  int64_t order_id = 0;
  std::map<int64_t, int64_t> quantities;  // by product
};

// Decides for each order alone, in the order given; none may be there twice. In the caller's
// transaction, which must be READ COMMITTED. What it holds is marked stale in cache_invalidations.
std::vector<StockDecision> Reserve(postgres::Tx& tx, const std::vector<StockOrder>& orders);

struct ReleaseOutcome {
  bool released = false;               // now or by an earlier call
  std::vector<int64_t> products = {};  // of which stock was given back now
};

// Gives back what the order holds. A repeat is told again that it was released. An order without a
// reservation gets a rejected one, so that a late Reserve holds nothing.
ReleaseOutcome Release(postgres::Tx& tx, const std::string& order_uuid, int64_t order_id);

// Changes what is on hand by the request's delta, for the user `by`; with an owner only a product
// of theirs is found. Refuses to take reserved pieces, as OUT_OF_STOCK. Once a key of that user has
// made a movement, the same request with it is answered with that movement and moves nothing, and
// another request is refused as IDEMPOTENCY_KEY_REUSED; a refused request leaves its key free. In the caller's transaction, which must be READ COMMITTED.
Result<v1::AdjustStockResponse> Adjust(postgres::Tx& tx, const v1::AdjustStockRequest& request,
                                       std::optional<int64_t> owner, int64_t by);

// How many values the cursor of a product's movements has.
inline constexpr size_t kMovementCursorValues = 1;

// The movements of a product's stock, newest first; with an owner only of a product of theirs.
Result<v1::ListStockMovementsResponse> Movements(postgres::Tx& tx, int64_t product,
                                                 std::optional<int64_t> owner, const Page& page);

}  // namespace shop::products
