// What auth does on hearing of users.
#pragma once

#include "common/kafka/events.h"

namespace shop::auth {

// Topic `users`: a deleted user's account is erased.
kafka::Handlers AuthEventHandlers();

}  // namespace shop::auth
