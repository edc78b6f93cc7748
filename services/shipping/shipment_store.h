// All SQL of shipping. A shipment moves with its row locked, by the function of shipment.h, in one
// transaction with the event that the move publishes; so of two moves at once the later one finds
// what the earlier one has made. Rows are locked, and made, in the order of their UUIDs, so that two
// transactions with several never wait for each other.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "common/messaging/event.h"
#include "common/postgres/pool.h"
#include "shipping/shipment.h"
#include "shop/shipping/v1/shipping.pb.h"

namespace shop::shipping {

// What has become known of an order: the shipment that it has from now on if it had none, and what
// the event that the move publishes follows from.
struct Step {
  Shipment fresh;
  messaging::EventContext context;
};
// Applies the fact to the shipment of each order, found by its UUID, or to `fresh` where there is
// none: by the same few statements for any number, one after another in their order, several of one
// order too. Answers for each the shipment as it is then, or why it is not moved. A
// unique_violation when another order has the number, or another shipment the tracking number. In
// the caller's transaction, which must be READ COMMITTED.
std::vector<Result<Shipment>> MoveAll(postgres::Tx& tx, const std::vector<Step>& steps, Fact fact);

// The same for one.
Result<Shipment> Move(postgres::Tx& tx, const Shipment& fresh, Fact fact,
                      const messaging::EventContext& context);

// The same for an order that is named by its number; NOT_FOUND where it has no shipment.
Result<Shipment> MoveExisting(postgres::Tx& tx, int64_t order_id, Fact fact,
                              const messaging::EventContext& context);

// Moves the shipments, at most `limit`, that have been in the state for as long as `after`, by the
// database's clock; those first that have waited longest. What another transaction has locked is
// left to it. Answers how many there were. Their events carry on the trace of their orders.
size_t MoveDue(postgres::Tx& tx, State state, std::chrono::milliseconds after, Fact fact,
               int limit);

// The shipment of an order: of `owner` alone, or of anybody where there is no owner.
std::optional<v1::Shipment> FindShipment(postgres::Tx& tx, int64_t order_id,
                                         std::optional<int64_t> owner);

}  // namespace shop::shipping
