#include "common/messaging/headers.h"

#include <absl/strings/escaping.h>
#include <simdjson.h>

#include "common/json/codec.h"

namespace shop::messaging {

Headers ToHeaders(const Envelope& event) {
  Headers headers = event.headers;
  const auto set = [&](const char* name, const std::string& value) {
    if (!value.empty()) headers[name] = value;
  };
  set("ce_specversion", "1.0");
  set("ce_id", event.id);
  set("ce_type", event.type);
  set("ce_source", event.source);
  set("ce_subject", event.key);
  set("ce_time", event.time);
  set("content-type", "application/json");
  if (!event.trace.trace_id.empty()) set("traceparent", event.trace.Header());
  set("x-request-id", event.trace.request_id);
  return headers;
}

Envelope FromRecord(std::string topic, std::string key, Headers headers, std::string value) {
  const auto take = [&](const char* name) {
    const auto found = headers.find(name);
    if (found == headers.end()) return std::string();
    std::string text = std::move(found->second);
    headers.erase(found);
    return text;
  };
  Envelope event;
  event.topic = std::move(topic);
  event.key = std::move(key);
  event.id = take("ce_id");
  event.type = take("ce_type");
  event.source = take("ce_source");
  event.time = take("ce_time");
  event.trace = TraceContext::FromHeader(take("traceparent"));
  event.trace.request_id = take("x-request-id");
  event.value = std::move(value);
  take("ce_specversion");
  take("ce_subject");
  take("content-type");
  event.headers = std::move(headers);
  return event;
}

std::string ToJson(const Headers& headers) {
  std::string json = "{";
  for (const auto& [name, value] : headers) {
    if (json.size() > 1) json += ',';
    json::WriteString(name, &json);
    json += ':';
    json::WriteString(value, &json);
  }
  return json + "}";
}

Headers HeadersFromJson(const std::string& json) {
  Headers headers;
  simdjson::dom::parser parser;
  for (const auto [name, value] : simdjson::dom::object(parser.parse(json))) {
    headers.emplace(name, std::string_view(value));
  }
  return headers;
}

std::string AsText(std::string_view bytes) {
  if (bytes.find('\0') == std::string_view::npos &&
      simdjson::validate_utf8(bytes.data(), bytes.size())) {
    return std::string(bytes);
  }
  return "\\x" + absl::BytesToHexString({bytes.data(), bytes.size()});
}

}  // namespace shop::messaging
