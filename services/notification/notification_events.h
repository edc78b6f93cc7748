// What notification hears.
#pragma once

#include "common/messaging/handlers.h"

namespace shop::notification {

// The group's handlers for topic `orders`: ORDER_CREATED leaves a mail job in the event's own
// transaction, for a MailSender. The other events of an order send nothing yet.
messaging::Handlers OrderHandlers();

}  // namespace shop::notification
