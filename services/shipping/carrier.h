// The simulated carrier: takes shipments that are ready and delivers them, each some seconds after
// the move before. A real one would call DispatchShipment and DeliverShipment in its place.
#pragma once

#include <chrono>
#include <memory>
#include <optional>

#include "common/postgres/pool.h"

namespace shop::shipping {

struct CarrierSettings {
  // After the order's confirmation, and after the dispatch; none: that move is made by hand alone.
  std::optional<std::chrono::milliseconds> dispatch_after;
  std::optional<std::chrono::milliseconds> deliver_after;
  int batch = 50;  // moved by one transaction
};

// Moves a batch of the shipments that are due, each kind in a transaction of its own with its
// events. Answers whether there may be more.
bool MoveDueShipments(postgres::Pool& db, const CarrierSettings& settings);

// A thread that does so, several times a second. Any number of them may run, in one process or
// many: what one has locked, the others leave to it. A batch that a crash cuts off has not moved.
class Carrier {
 public:
  // The pool must outlive it. Without a delay in the settings it does nothing.
  Carrier(postgres::Pool& db, const CarrierSettings& settings);
  // Waits for the batch under way, whose wait for the database it ends.
  ~Carrier();
  Carrier(const Carrier&) = delete;
  Carrier& operator=(const Carrier&) = delete;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shop::shipping
