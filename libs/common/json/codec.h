// Protobuf messages to JSON and back by the rules of the HTTP contract, over descriptors alone. The
// gateway and the events use the same codec.
//
// Writing: lowerCamelCase names in the order of the declaration; every field without presence is
// written, fields with presence (optional, messages) only when set; 64-bit integers as numbers;
// money fields (shop.api.v1.money) as decimals with two digits (49.99); enum values without their
// prefix (PENDING); google.protobuf.Timestamp as RFC 3339 UTC with milliseconds; bytes as base64;
// maps with string keys as objects, in the order of their keys. A number that JSON cannot say (NaN)
// and a time outside the years 1 to 9999 are null.
//
// Reading: unknown fields are ignored, though they have to be well-formed; enum values in any case
// and with or without prefix; a field is known by its JSON name, its proto name or its alias; null
// counts as not sent, unless the field is cleared by it (shop.api.v1.cleared_by). Refused with
// INVALID_ARGUMENT naming the field by its JSON path
// (`items[2].quantity`) are duplicate keys (also a name and its alias), wrong types (also a number
// in quotes), integers with a fraction or an exponent, or outside their type or ±(2^53 - 1), an
// amount with more digits than the currency has, two members of a oneof, the character NUL, which
// no database keeps, nesting deeper than 32, and more than 10,000 members and elements in all. Text that is not JSON, or not UTF-8, or goes on
// after its end is refused saying where. No binary float is used on the way of an amount.
//
// Thread-safe. The plan of a message type is made at its first use and kept, so descriptors have to
// live as long as the process. Throws std::logic_error for a type that JSON has no rule for
// here: a map whose keys are not strings, money that is not an int64, more than 256 fields.
#pragma once

#include <google/protobuf/message.h>

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "common/core/result.h"

namespace shop::json {

// Appends the JSON of `message` to `out`.
void Write(const google::protobuf::Message& message, std::string* out);
std::string Write(const google::protobuf::Message& message);

// Appends `text` as a JSON string with its quotes. Invalid UTF-8 becomes U+FFFD.
void WriteString(std::string_view text, std::string* out);

// Appends `time` as Timestamps are written, with its quotes.
void WriteTime(std::chrono::system_clock::time_point time, std::string* out);

// Merges the JSON object in `text` into `message`; lists are appended to. On refusal the message is
// in no useful state. Fields filled from headers (shop.api.v1.header) are not read. `at` is where
// in a greater message this one stands, for the paths of refusals.
Result<void> Read(std::string_view text, google::protobuf::Message* message,
                  std::string_view at = {});

// The same for what a newer version of our own programs may have written, such as an event, however many
// values that has: an enum
// value that this binary does not know is no refusal. The field then has a number that its enum
// does not declare, and Write, in this process, gives back the very text; the first 1,000 such
// texts, of up to 100 bytes each, are told apart, and any further one reads as the zero value. A
// number in the place of an enum's name is taken as it is.
Result<void> ReadTolerantly(std::string_view text, google::protobuf::Message* message);

// The member `name` of the JSON object in `text` as it stands there, with what no message of ours
// has a field for; nothing when there is none, or when it is no object. For text that was read
// before.
std::optional<std::string> ObjectMember(std::string_view text, std::string_view name);

// Sets one scalar (or adds one element of a repeated scalar) field from text, as path variables,
// query parameters and headers carry it; a Timestamp counts as a scalar. `path` names it in a
// refusal.
Result<void> ReadScalar(std::string_view text, const google::protobuf::FieldDescriptor* field,
                        const std::string& path, google::protobuf::Message* message);

// The field that JSON knows by `name` (JSON name, proto name or alias); nothing for a field that is
// filled from a header.
const google::protobuf::FieldDescriptor* FindField(const google::protobuf::Descriptor* message,
                                                   std::string_view name);

// The name of an enum value without the prefix its enum's name gives: ORDER_STATUS_PENDING is
// "PENDING".
std::string_view BareName(const google::protobuf::EnumValueDescriptor* value);

}  // namespace shop::json
