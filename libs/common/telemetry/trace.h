// W3C trace context (https://www.w3.org/TR/trace-context/): the ids that tie a request, its rpcs
// and its events together, and the id that the request was given.
#pragma once

#include <string>
#include <string_view>

namespace shop {

struct TraceContext {
  std::string trace_id;  // 32 lower-case hex digits, empty when there is none
  std::string span_id;   // 16 lower-case hex digits
  bool sampled = false;
  bool begins = false;  // the trace begins here: the next span takes `span_id` for its own
  // That of the request from which all of this comes, for logs; empty where it is the trace's own.
  std::string request_id = {};

  // A new trace with a random id, sampled if its id is one of those (span.h).
  static TraceContext New();
  // Reads a `traceparent` header; what does not parse starts a new trace, as the standard says.
  static TraceContext FromHeader(std::string_view traceparent);
  // The same trace with a new span id: what is passed on to the next call or event.
  TraceContext Child() const;
  // The `traceparent`, which says nothing of the request's id.
  std::string Header() const;
  std::string_view RequestId() const { return request_id.empty() ? trace_id : request_id; }
};

}  // namespace shop
