// What auth does on hearing of users.
#pragma once

#include "common/messaging/handlers.h"

namespace shop::auth {

// Topic `users`: a deleted user's account is erased.
messaging::Handlers AuthEventHandlers();

}  // namespace shop::auth
