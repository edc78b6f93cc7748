// How orders are placed: each in one transaction with its event, and under load many in one.
//
// A transaction costs PostgreSQL and this process about as much for one order as for several: BEGIN, the statements' round
// trips, the commit's write to disk. So orders that are placed at the same moment share one, a group. Nobody waits for
// others to come: while no group is under way an order is placed at once, alone; those that come meanwhile are the next group
// (common/core/batcher.h).
//
// Nobody is harmed by who shares the transaction. An order that may not be placed in it (its Idempotency-Key has an answer or
// is another's in the group, its customer has too many orders that wait) is left out and goes on in a transaction of its own,
// where it is refused, replayed or waits; when anything fails for the group, it is rolled back and all of it goes on so. Only a
// commit whose outcome is unknown is that for everybody.
#pragma once

#include <cstddef>
#include <exception>
#include <optional>
#include <vector>

#include "common/core/batcher.h"
#include "common/idempotency/idempotency.h"
#include "common/postgres/pool.h"
#include "common/telemetry/metrics.h"
#include "orders/order_store.h"

namespace shop::orders {

// Writes the orders and publishes ORDER_CREATED of each that was inserted (order_store.h), in the caller's transaction.
std::vector<Inserted> KeepAndPublish(postgres::Tx& tx, const std::vector<const NewOrder*>& orders,
                                     const Deadlines& deadlines, const OrderLimits& limits);

// Thread-safe.
class OrderGroups {
 public:
  // `db` must outlive this.
  OrderGroups(postgres::Pool& db, const Deadlines& deadlines, const OrderLimits& limits);

  // Places an order that is of no cart, and keeps the answer under the attempt's key. Refuses as Attempt::InTransaction
  // does, and when the customer has as many PENDING orders as they may.
  Result<v1::Order> Place(idempotency::Attempt& attempt, const NewOrder& order);

  // How many orders wait for the next group.
  size_t waiting() const { return groups_.waiting(); }

 private:
  struct Placing {
    idempotency::Attempt* attempt;
    const NewOrder* order;
    std::optional<v1::Order> placed = {};
    std::exception_ptr unknown = {};          // a CommitUnknown
    std::optional<TraceContext> led_by = {};  // the trace of the order whose thread places this one
  };

  void PlaceTogether(const std::vector<Placing*>& group);
  Result<v1::Order> PlaceAlone(idempotency::Attempt& attempt, const NewOrder& order);

  postgres::Pool& db_;
  const Deadlines deadlines_;
  const OrderLimits limits_;
  prometheus::Histogram& sizes_;
  Batcher<Placing> groups_;
};

}  // namespace shop::orders
