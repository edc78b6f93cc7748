// W3C trace context (https://www.w3.org/TR/trace-context/): the ids that tie a request, its rpcs
// and its events together.
#pragma once

#include <string>
#include <string_view>

namespace shop {

struct TraceContext {
  std::string trace_id;  // 32 lower-case hex digits, empty when there is none
  std::string span_id;   // 16 lower-case hex digits
  bool sampled = false;

  // A new trace with a random id.
  static TraceContext New();
  // Reads a `traceparent` header; what does not parse starts a new trace, as the standard says.
  static TraceContext FromHeader(std::string_view traceparent);
  // The same trace with a new span id: what is passed on to the next call or event.
  TraceContext Child() const;
  std::string Header() const;
};

}  // namespace shop
