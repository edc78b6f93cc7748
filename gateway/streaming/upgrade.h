// A request for a WebSocket: what of its header decides whether it gets one.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "common/core/result.h"
#include "gateway/http/cors.h"
#include "gateway/http/message.h"

namespace shop::gateway {

// The subprotocol of the messages, and how a page, which cannot set headers, brings its token: it
// offers `shop.v1` and `bearer.<token>`, and is answered shop.v1.
inline constexpr std::string_view kSubprotocol = "shop.v1";

bool WantsWebSocket(const HttpRequest& request);

// Refuses a page of another origin than `origins` allow and this host's own (PERMISSION_DENIED), an
// upgrade that is not RFC 6455's version 13, and one that offers subprotocols without kSubprotocol.
Result<void> CheckUpgrade(const HttpRequest& request, const CorsOrigins& origins);

// Whether the client offers kSubprotocol.
bool OffersSubprotocol(const HttpRequest& request);
// The token among the subprotocols, if any.
std::optional<std::string_view> SubprotocolToken(const HttpRequest& request);

}  // namespace shop::gateway
