// What shipping consumes.
#pragma once

#include "common/messaging/handlers.h"

namespace shop::shipping {

// Topic `orders`: ORDER_CREATED makes the order's shipment, once an order, with a tracking number of
// its own. The other events of an order change nothing yet.
messaging::Handlers EventHandlers();

}  // namespace shop::shipping
