// Protobuf messages to JSON and back by the rules of the HTTP contract, over descriptors alone. The
// gateway and the events use the same codec.
//
// Writing: lowerCamelCase names in the order of the declaration; every field without presence is
// written, fields with presence (optional, messages) only when set; 64-bit integers as numbers;
// money fields (shop.api.v1.money) as decimals with two digits (49.99); enum values without their
// prefix
// ("PENDING"); google.protobuf.Timestamp as RFC 3339 UTC with milliseconds; bytes as base64; maps
// with string keys as objects.
//
// Reading: unknown fields are ignored; enum values in any case and with or without prefix; a field
// is known by its JSON name, its proto name or its alias; null counts as not sent. Malformed JSON,
// duplicate keys (also a name and its alias), wrong types, numbers out of range or with a fraction,
// an amount with more digits than the currency has, invalid UTF-8 and nesting deeper than 32 are
// refused with INVALID_ARGUMENT naming the field by its JSON path (`items[2].quantity`). No binary
// float is used on the way of an amount.
//
// Thread-safe. What a message type needs is worked out at its first use and kept.
#pragma once

#include <google/protobuf/message.h>

#include <string>
#include <string_view>

#include "common/core/result.h"

namespace shop::json {

// Appends the JSON of `message` to `out`.
void Write(const google::protobuf::Message& message, std::string* out);
std::string Write(const google::protobuf::Message& message);

// Appends `text` as a JSON string with its quotes. Invalid UTF-8 becomes U+FFFD.
void WriteString(std::string_view text, std::string* out);

// Merges the JSON object in `text` into `message`. On refusal the message is in no useful state.
// Fields filled from headers (shop.api.v1.header) are not read.
Result<void> Read(std::string_view text, google::protobuf::Message* message);

// Sets one scalar (or adds one element of a repeated scalar) field from text, as path variables,
// query parameters and headers carry it; `path` names it in a refusal.
Result<void> ReadScalar(std::string_view text, const google::protobuf::FieldDescriptor* field,
                        const std::string& path, google::protobuf::Message* message);

// The name of an enum value without the prefix its enum's name gives: ORDER_STATUS_PENDING is
// "PENDING".
std::string_view BareName(const google::protobuf::EnumValueDescriptor* value);

}  // namespace shop::json
