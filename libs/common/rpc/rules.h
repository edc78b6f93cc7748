// What requests must satisfy beyond their types: the option shop.api.v1.rules of their fields.
#pragma once

#include <google/protobuf/message.h>

#include "common/core/result.h"

namespace shop::rpc {

// INVALID_ARGUMENT with every violation in `message` and what is in it, by JSON path
// (`items[2].quantity`); after the first 32 it stops looking, as a status has to fit into a header.
// In a list a rule holds for each element; `min_items` holds for an empty list too.
//
// Without any option, a string must not hold the character NUL (PostgreSQL has no way to keep it),
// and an enum must have one of its declared values.
//
// Thread-safe. What a message type asks for is worked out at its first use and kept for the life of
// the process, and so must its descriptor be. Throws std::logic_error naming the field when a rule
// does not fit its field's type or a pattern is not RE2.
Result<void> CheckRules(const google::protobuf::Message& message);

}  // namespace shop::rpc
