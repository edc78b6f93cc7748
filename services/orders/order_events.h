// What the orders service announces and what it hears.
#pragma once

#include "common/messaging/event.h"
#include "common/messaging/handlers.h"
#include "common/rpc/client.h"
#include "orders/order_store.h"
#include "orders/ordered_carts.h"
#include "shop/events/v1/orders.pb.h"

namespace shop::orders {

events::v1::OrderCreated OrderCreated(const v1::Order& order, std::optional<int64_t> cart_version);

// What a move by hand to SHIPPED, DELIVERED or CANCELLED announces.
void PublishMove(postgres::Tx& tx, const LockedOrder& order, const messaging::EventContext& origin);

// Who announces, as part of which trace.
messaging::EventContext EventOrigin(const TraceContext& trace, const std::string& cause_id = {});

// Topic `stock`: STOCK_RESERVED confirms an order, STOCK_REJECTED cancels it. The first answer
// stands: a repeat, or the other answer later, changes nothing.
messaging::Handlers EventHandlers();

// Topic `orders`, in a consumer group of its own: ORDER_CREATED of a cart takes what was ordered
// out of that cart, ORDER_CANCELLED puts it back when it was stock that rejected the order. Both
// are repeatable: the cart remembers its last orders, and an order in `db` that its cart has been
// told of is not taken out again, however old it is. `cart` and `db` must outlive the handlers.
messaging::Handlers CartHandlers(const rpc::Channel& cart, postgres::Pool& db);

}  // namespace shop::orders
