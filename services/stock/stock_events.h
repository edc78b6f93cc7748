// What the stock service consumes and publishes.
#pragma once

#include "common/messaging/handlers.h"
#include "common/rpc/client.h"

namespace shop::stock {

// Topic `orders`: ORDER_CREATED reserves the order's stock through products and publishes
// STOCK_RESERVED, with all that payments needs, or STOCK_REJECTED; ORDER_CONFIRMED makes what is
// reserved sold; ORDER_CANCELLED gives back what is reserved or sold, if anything, and publishes
// STOCK_RELEASED; ORDER_RETURNED brings back what the return names. All are idempotent by the order's
// UUID, a return by its own besides, so a repeat after a crash gets the first answer; products is
// called outside of any transaction. While products is away the events wait. A confirmation and a
// cancellation take the order's payment token out of what was published. Topic `users`: whose events are
// erased (common/messaging/erasure.h).
//
// `products` must outlive the handlers.
messaging::Handlers EventHandlers(const rpc::Channel& products);

}  // namespace shop::stock
