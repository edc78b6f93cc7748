// What shipping hears.
#pragma once

#include "common/messaging/handlers.h"

namespace shop::shipping {

// The group's handlers for topic `orders`: ORDER_CREATED makes the order's shipment, with a
// tracking number of its own. The other events of an order change nothing yet.
messaging::Handlers OrderHandlers();

}  // namespace shop::shipping
