// The events that payments consumes.
#pragma once

#include "common/messaging/handlers.h"

namespace shop::payments {

// Topic `stock`: STOCK_RESERVED wants the payment, unless it is of a release that charged nothing, whose
// events have no lines. Topic `orders`: ORDER_CANCELLED ends it, before it
// was wanted too, and ORDER_RETURNED refunds the returned lines. The handlers write down what is wanted;
// a PaymentWorker asks the provider.
messaging::Handlers EventHandlers();

}  // namespace shop::payments
