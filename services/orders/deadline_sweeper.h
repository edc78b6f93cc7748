// Ends what nobody has finished: orders that wait longer than they may (WaitingFor in order.h), and
// cancellations whose rpc died before it had shipping's answer.
//
// Deadlines stand in the orders' rows and are compared with the database's time. An order expires only
// once the group `orders` has consumed everything that was published before its deadline, and has none
// of its events in the retry queue: what it waited for may have happened. An order in SHIPPED is
// counted and logged, and never moved.
//
// Any number of sweepers may run, in one process or many: what one has locked, the others leave to it.
//
// Metrics: orders_waiting{for}, orders_waiting_oldest_seconds{for}, orders_overdue{for},
// orders_expired_total{for}.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "common/messaging/positions.h"
#include "common/postgres/pool.h"
#include "orders/order_shipping.h"
#include "orders/order_store.h"

namespace shop::orders {

// Up to when a consumer group has consumed all that was published on its topics. Used by one thread.
class ConsumedUntil {
 public:
  // The ends of all partitions of these topics (kafka::TopicEnds); throws while Kafka is away.
  using Ends = std::function<std::map<messaging::Place, int64_t>()>;

  ConsumedUntil(postgres::Pool& db, std::string group, Ends ends);

  // A time of the database in microseconds since 1970: later from one call to the next as the group
  // goes on, the same while it lags behind. Nothing before the group has caught up once.
  std::optional<int64_t> Look();

 private:
  struct Mark {
    int64_t time_us;
    std::map<messaging::Place, int64_t> ends;
  };

  postgres::Pool& db_;
  const std::string group_;
  const Ends ends_;
  std::optional<Mark> mark_;
  std::optional<int64_t> until_us_;
};

// One transaction: orders whose deadline has passed, and was before `until_us`, are cancelled where
// they are PENDING; where they are PROCESSING, their cancellation is requested. Answers how many.
int ExpireOverdue(postgres::Pool& db, int64_t until_us, int limit, const Deadlines& deadlines);

// Asks shipping about cancellations that nobody has finished in time, and stores its answers. Answers
// how many there were. Throws Unavailable when shipping is away; they are due again after
// Deadlines::cancel.
int FinishCancels(postgres::Pool& db, const OrderShipping& shipping, int limit,
                  const Deadlines& deadlines);

// A thread that does so about once a second.
class DeadlineSweeper {
 public:
  // The pool, and what `ends` and `shipping` refer to, must outlive it.
  DeadlineSweeper(postgres::Pool& db, OrderShipping shipping, ConsumedUntil::Ends ends,
                  const Deadlines& deadlines);
  // Ends the waits of what is under way.
  ~DeadlineSweeper();
  DeadlineSweeper(const DeadlineSweeper&) = delete;
  DeadlineSweeper& operator=(const DeadlineSweeper&) = delete;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shop::orders
