// What every request for a stream has to satisfy, and how it says where to go on.
#pragma once

#include "common/core/result.h"
#include "gateway/http/cors.h"
#include "gateway/http/message.h"

namespace shop::gateway {

// Refuses a token in the URL (INVALID_ARGUMENT), which logs and histories would keep, and a WebSocket
// that CheckUpgrade refuses.
Result<void> CheckStreamRequest(const HttpRequest& request, const CorsOrigins& origins);

// The request with the query's lastEventId as its Last-Event-ID, for pages, which cannot set headers.
// A header that was sent wins: EventSource sets it when it comes back to the same URL.
HttpRequest WithLastEventId(const HttpRequest& request);

}  // namespace shop::gateway
