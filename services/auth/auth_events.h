// The events that auth consumes.
#pragma once

#include "common/messaging/handlers.h"

namespace shop::auth {

// Topic `users`: USER_DELETED erases the account and ends its sessions, USER_ROLE_CHANGED ends those
// with the role of before, in the transaction that records the event as consumed. Repeating them is
// harmless.
messaging::Handlers EventHandlers();

}  // namespace shop::auth
