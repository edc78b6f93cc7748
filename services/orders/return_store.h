// The SQL of returns. Functions that take a Tx belong to the caller's transaction.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/postgres/pool.h"
#include "orders/order.h"
#include "orders/order_return.h"

namespace shop::orders {

// An order of which something is returned.
struct ReturnedOrder {
  std::string uuid;
  int64_t user_id;
  v1::OrderStatus status;
  OrderItems items;
};
// Locks the order's row until the transaction ends, so that its returns take turns. `owner` 0 finds
// anybody's.
std::optional<ReturnedOrder> LockReturnedOrder(postgres::Tx& tx, int64_t order_id, int64_t owner);
// Counts one more event of the order, whose row is locked; answers its number.
int64_t NextSeq(postgres::Tx& tx, int64_t order_id);

// The lines of all returns of the order that were not rejected.
std::vector<Line> FindAskedLines(postgres::Tx& tx, int64_t order_id);

// Answers the return's id.
int64_t InsertReturn(postgres::Tx& tx, int64_t order_id, const OrderItems& items,
                     const std::string& reason);

struct StoredReturn {
  v1::Return shown;
  std::string uuid;
};
// First to last; of one alone with `return_id`. Empty when the order is not the owner's (0: anybody's).
std::vector<StoredReturn> FindReturns(postgres::Tx& tx, int64_t order_id, int64_t owner,
                                      std::optional<int64_t> return_id = {});
bool OrderExists(postgres::Tx& tx, int64_t order_id, int64_t owner);

void UpdateReturn(postgres::Tx& tx, int64_t return_id, v1::ReturnStatus status, int64_t decided_by,
                  const std::string& rejection);

}  // namespace shop::orders
