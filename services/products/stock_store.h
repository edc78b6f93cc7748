// All SQL of stock: what is held for orders, what is adjusted by hand, and the ledger of both.
//
// The orders of a batch are decided together: it claims all of them, locks all of their products and
// then decides one order after the other.
//
// An order's stock is known by the order's UUID, as PostgreSQL writes it (in lower case), and moves as
// reservation.h says: each function here locks, asks that one and writes what it has answered. A
// repeat, at the same moment or later, changes nothing. Orders are locked by UUID and then products
// by id, each in order, so that no two calls wait for each other. All are in the caller's
// transaction, which must be READ COMMITTED; the copies of products that can be bought in another
// number are marked stale in cache_invalidations.
//
// The ledger (stock_movements) is written with every movement: for each product it adds up to what
// is on hand and what is reserved. On hand and sold, which is what was committed less what has come
// back, are together what was ever received.
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
  Quantities quantities;
};

// Decides for each order alone, in the order given; none may be there twice.
std::vector<StockDecision> Reserve(postgres::Tx& tx, const std::vector<StockOrder>& orders);

// What the orders hold is sold. Answers for each whether its stock was sold, now or by an earlier
// call; not that of one without a reservation, or released, or rejected.
std::vector<bool> Commit(postgres::Tx& tx, const std::vector<std::string>& order_uuids);

struct ReleaseOutcome {
  bool released = false;               // now or by an earlier call
  std::vector<int64_t> products = {};  // of which stock was given back now
};

// Gives back what the order holds, or what was sold to it. A repeat is told again that it was
// released. An order without a reservation gets a rejected one, so that a late Reserve holds
// nothing.
ReleaseOutcome Release(postgres::Tx& tx, const std::string& order_uuid, int64_t order_id);

struct ReturnOutcome {
  int64_t pieces = 0;                  // that came back with this return, now or by an earlier call
  std::vector<int64_t> products = {};  // of which pieces came back now
};

// Brings pieces of the order back, once for each return of it.
ReturnOutcome Return(postgres::Tx& tx, const std::string& order_uuid,
                     const std::string& return_uuid, const Quantities& quantities);

// Changes what is on hand by the request's delta, for the user `by`; with an owner only a product
// of theirs is found. Refuses to take reserved pieces, as OUT_OF_STOCK. Once a key of that user has
// made a movement, the same request with it is answered with that movement and moves nothing, and
// another request is refused as IDEMPOTENCY_KEY_REUSED; a refused request leaves its key free. In the caller's transaction, which must be READ COMMITTED.
// `repeated`, where it is given, is set when nothing was moved.
Result<v1::AdjustStockResponse> Adjust(postgres::Tx& tx, const v1::AdjustStockRequest& request,
                                       std::optional<int64_t> owner, int64_t by,
                                       bool* repeated = nullptr);

// Orders whose stock is held and not sold yet, and the pieces of that.
struct HeldStock {
  int64_t orders = 0;
  int64_t pieces = 0;
};
HeldStock CountHeld(postgres::Tx& tx);

// As the ledger has it: LOST of STOCK_REASON_LOST.
std::string ReasonText(v1::StockReason reason);

// How many values the cursor of a product's movements has.
inline constexpr size_t kMovementCursorValues = 1;

// The movements of a product's stock, newest first; with an owner only of a product of theirs.
Result<v1::ListStockMovementsResponse> Movements(postgres::Tx& tx, int64_t product,
                                                 std::optional<int64_t> owner, const Page& page);

}  // namespace shop::products
