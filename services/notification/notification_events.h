// What notification consumes.
#pragma once

#include "common/messaging/handlers.h"

namespace shop::notification {

// Topics `orders`, `payments` and `accounts`: every change that the customer should know of writes a mail
// job, one an order and type, of refunds and of what concerns accounts one a request. Nothing is sent here. ORDER_RETURNED has no mail, as its
// refund has one; PAYMENT_COMPLETED and PAYMENT_FAILED have none, as the order's next event tells.
messaging::Handlers EventHandlers();

}  // namespace shop::notification
