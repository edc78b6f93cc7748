// What the orders service announces and what it hears.
#pragma once

#include "common/kafka/events.h"
#include "orders/order_store.h"
#include "shop/events/v1/orders.pb.h"

namespace shop::orders {

events::v1::OrderCreated OrderCreated(const v1::Order& order, std::optional<int64_t> cart_version);

// Who announces, as part of which trace.
kafka::Origin EventOrigin(const TraceContext& trace, const std::string& cause_id = {});

// Topic `stock`: STOCK_RESERVED confirms an order, STOCK_REJECTED cancels it. The first answer
// stands: a repeat, or the other answer later, changes nothing.
kafka::Handlers EventHandlers();

}  // namespace shop::orders
