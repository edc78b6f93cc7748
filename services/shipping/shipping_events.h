// What shipping consumes.
#pragma once

#include "common/messaging/handlers.h"

namespace shop::shipping {

// Topic `orders`: ORDER_CREATED makes the order's shipment, once an order, with a tracking number of
// its own; ORDER_CONFIRMED makes it ready for the carrier; ORDER_CANCELLED cancels it. What each
// publishes stands in shipment.h. The other events of an order follow from what shipping has
// published itself and change nothing. Topic `users`: whose addresses are erased (shipment_erasure.h).
messaging::Handlers EventHandlers();

}  // namespace shop::shipping
