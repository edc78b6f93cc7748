// What every route reads from a request's header: the caller's token, the client's time-out and
// the form of the body.
#pragma once

#include <chrono>
#include <optional>
#include <string_view>

#include "common/core/result.h"
#include "gateway/http/message.h"

namespace shop::gateway {

// The token of `Authorization: Bearer …`; nothing without that header. UNAUTHENTICATED where it is
// of another form or comes twice.
Result<std::optional<std::string_view>> BearerToken(const HttpRequest& request);

// How long the client is willing to wait, by Request-Timeout (seconds) or Grpc-Timeout: never more
// than `most`, which holds without either. INVALID_ARGUMENT naming the header where it is no time.
Result<std::chrono::milliseconds> RequestTimeout(const HttpRequest& request,
                                                 std::chrono::milliseconds most);

// Whether a Content-Type means JSON in UTF-8.
bool IsJson(std::string_view content_type);

}  // namespace shop::gateway
