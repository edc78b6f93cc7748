// What requests must satisfy beyond their types: the option shop.api.v1.rules of their fields.
#pragma once

#include <google/protobuf/message.h>

#include <cstddef>

#include "common/core/result.h"

namespace shop::rpc {

// What the rules `email`, `url` and `name` require, for others that describe it: an e-mail address as
// https://html.spec.whatwg.org/multipage/input.html#valid-e-mail-address has it; scheme, host,
// port and the rest, without credentials, white space or control characters; and one line of characters
// that are seen and do not turn the direction of the text (Unicode's categories Cc and Cf, Zl and Zp, as
// far as they are in use), of which one is not white space.
inline constexpr char kEmailPattern[] =
    R"re([a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]+@)re"
    R"re([a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)re"
    R"re((?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*)re";
inline constexpr size_t kLongestEmail = 254;  // bytes
inline constexpr char kUrlPattern[] =
    R"re([hH][tT][tT][pP][sS]?://)re"
    R"re((?:[^\x00-\x20\x7f/?#@:\[\]\\<>"{}|^`%]+|\[[0-9A-Fa-f:.]+\]))re"
    R"re((?::[0-9]{1,5})?)re"
    R"re((?:[/?#][^\x00-\x20\x7f<>"\\]*)?)re";

#define SHOP_UNSEEN           \
  R"re(\x00-\x1f\x7f-\x9f)re" \
  "\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
inline constexpr char kNamePattern[] =
    "[^" SHOP_UNSEEN "]*[^\\s" SHOP_UNSEEN "][^" SHOP_UNSEEN "]*";
#undef SHOP_UNSEEN

// INVALID_ARGUMENT with every violation in `message` and what is in it, by JSON path
// (`items[2].quantity`); after the first 32 it stops looking, as a status has to fit into a header.
// In a list a rule holds for each element; `min_items` holds for an empty list too.
//
// Without any option, a string must not hold the character NUL (PostgreSQL has no way to keep it),
// an enum must have one of its declared values, and a google.protobuf.Timestamp must be in the range
// that its definition gives it: from the year 1 to 9999, the nanoseconds from 0 to 999,999,999.
//
// Thread-safe. The rules of a message type are read at its first use and kept for the life of the
// process, as its descriptor must be. Throws std::logic_error naming the field when a rule
// does not fit its field's type or a pattern is not RE2.
Result<void> CheckRules(const google::protobuf::Message& message);

}  // namespace shop::rpc
