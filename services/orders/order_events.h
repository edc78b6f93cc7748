// How the orders service publishes and consumes events.
#pragma once

#include <optional>
#include <vector>

#include "common/messaging/event.h"
#include "common/messaging/handlers.h"
#include "common/rpc/client.h"
#include "orders/order_store.h"
#include "orders/ordered_carts.h"
#include "shop/events/v1/orders.pb.h"

namespace shop::orders {

// The event of an order that was just placed, with the cart that it was made from, if any.
events::v1::OrderCreated OrderCreated(const v1::Order& order, const std::optional<CartState>& cart);

// A fact about an order, and the context of the event that is published if it enters a status.
struct OrderFact {
  int64_t order_id;
  Fact fact;
  messaging::EventContext context;
};

// The one way in which orders change, for events and rpcs alike: locks the orders, applies the
// facts in their sequence (order.h), stores what has changed and publishes the event of each status
// that was entered. NOT_FOUND for an unknown order, ILLEGAL_MOVE; then nothing is stored.
Result<void> ApplyFacts(postgres::Tx& tx, const std::vector<OrderFact>& facts);

// Topic `stock`: STOCK_RESERVED confirms an order, STOCK_REJECTED cancels it. The first decision
// stands: a repeat, or a different one later, changes nothing.
messaging::Handlers EventHandlers();

// Topic `orders`, in a consumer group of its own: ORDER_CREATED of a cart removes what was ordered
// from that cart, ORDER_CANCELLED puts it back when it was stock that rejected the order. Both are
// repeatable: the cart remembers its last orders, and an order whose cart is updated according to
// `db` is not removed again, however old it is. `cart` and `db` must outlive the handlers.
messaging::Handlers CartHandlers(const rpc::Channel& cart, postgres::Pool& db);

}  // namespace shop::orders
