// The events that notification consumes.
#pragma once

#include "common/messaging/handlers.h"

namespace shop::notification {

// Topic `orders`: ORDER_CREATED writes a mail job for the MailSender, in the transaction that
// records the event as consumed. A repeated event adds no job. The other events of an order are
// ignored.
messaging::Handlers EventHandlers();

}  // namespace shop::notification
