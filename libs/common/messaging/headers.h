// What an event looks like as a Kafka record, and as columns of text.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "common/messaging/event.h"

namespace shop::messaging {

using Headers = std::map<std::string, std::string>;

// The headers an event is published with; attributes it lacks are left out.
Headers ToHeaders(const Envelope& event);
// The event that a record has; attributes it lacks are empty.
Envelope FromRecord(std::string topic, std::string key, Headers headers, std::string value);

// A JSON object of strings, and back.
std::string ToJson(const Headers& headers);
Headers HeadersFromJson(const std::string& json);

// The bytes themselves where they are UTF-8 without NUL, which is all that PostgreSQL keeps as
// text; else `\x` and their hex digits.
std::string AsText(std::string_view bytes);

}  // namespace shop::messaging
