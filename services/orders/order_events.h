// How the orders service publishes and consumes events.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "common/messaging/event.h"
#include "common/messaging/handlers.h"
#include "common/rpc/client.h"
#include "orders/order_store.h"
#include "orders/ordered_carts.h"
#include "shop/events/v1/orders.pb.h"

namespace shop::orders {

// The event of an order that was just placed, with the cart that it was made from, if any, and the
// payment token, which orders are not read with.
events::v1::OrderCreated OrderCreated(const v1::Order& order, const std::optional<CartState>& cart,
                                      const std::string& payment_token = "");

// A fact about an order, and the context of the events that are published if it moves the order.
struct OrderFact {
  int64_t order_id;
  Fact fact;
  messaging::EventContext context;
  // Whose doing it is, for the timeline, where `context` names no event as the cause.
  CancelledBy by = CancelledBy::kNobody;
};

// The one way in which orders change, for events, rpcs and deadlines alike: locks the orders, applies
// the facts in their sequence (order.h), stores what has changed with its entries of the timeline, and
// publishes the event of each status that was entered. NOT_FOUND for an unknown order, ILLEGAL_MOVE;
// then nothing is stored.
Result<void> ApplyFacts(postgres::Tx& tx, const std::vector<OrderFact>& facts,
                        const Deadlines& deadlines);
// The same for orders that the transaction has locked, by their ids.
Result<void> ApplyFacts(postgres::Tx& tx, std::map<int64_t, LockedOrder> orders,
                        const std::vector<OrderFact>& facts, const Deadlines& deadlines);

// Topics `stock`, `payments` and `shipments`: what each says of an order (order.h). The topics come in
// any sequence among each other; repeats and contradictions change nothing. Topic `users`: who was
// deleted (order_erasure.h).
messaging::Handlers EventHandlers(const Deadlines& deadlines = {});

// Topic `orders`, in a consumer group of its own: ORDER_CREATED of a cart removes what was ordered
// from that cart, ORDER_CANCELLED puts it back when stock rejected the order or its payment failed. Both are
// repeatable: the cart remembers its last orders, and an order whose cart is updated according to
// `db` is not removed again, however old it is. `cart` and `db` must outlive the handlers.
messaging::Handlers CartHandlers(const rpc::Channel& cart, postgres::Pool& db);

}  // namespace shop::orders
