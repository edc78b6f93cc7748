// The events that auth consumes.
#pragma once

#include "common/messaging/handlers.h"

namespace shop::auth {

// Topic `users`: USER_DELETED erases the account, in the transaction that records the event as
// consumed. Repeating it is harmless.
messaging::Handlers EventHandlers();

}  // namespace shop::auth
