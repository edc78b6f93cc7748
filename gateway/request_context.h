// What is known of a request while it is answered.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "common/rpc/call.h"
#include "common/telemetry/span.h"
#include "common/telemetry/trace.h"
#include "gateway/http/message.h"
#include "gateway/limits/rate_limits.h"

namespace shop::gateway {

struct Endpoint;

struct RequestContext {
  explicit RequestContext(const HttpRequest& request)
      : request(request), trace(TraceContext::FromHeader(request.Header("traceparent"))) {
    const std::string_view given = request.Header("x-request-id");
    // The trace's own id serves, unless another request has brought the same trace.
    request_id =
        IsRequestId(given)
            ? std::string(given)
            : (request.Header("traceparent").empty() ? trace : TraceContext::New()).trace_id;
    // It is for this side to say what is sampled: nothing, where nothing is recorded.
    trace.sampled = traces::Samples(trace.trace_id);
    if (!traces::On() || trace.begins) return;
    client_span_id = trace.span_id;
    trace = trace.Child();
  }

  const HttpRequest& request;
  // When it had arrived whole; it has to be answered by `deadline`.
  std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point deadline = {};
  TraceContext trace;  // of this request's own span
  std::string
      client_span_id;  // of the client's, which it is a part of; "" where the trace begins here
  std::string request_id;
  Endpoint* endpoint = nullptr;  // null until a route has matched
  bool token_sent = false;       // whether it has an Authorization header, of whatever form
  std::string_view token = {};   // "" without one
  Caller caller;                 // a guest until the token has been checked
  RateLimits::Verdict rate;      // what the client has left of its quota
};

}  // namespace shop::gateway
