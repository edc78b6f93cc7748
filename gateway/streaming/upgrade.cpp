#include "gateway/streaming/upgrade.h"

#include <algorithm>
#include <vector>

namespace shop::gateway {
namespace {

std::vector<std::string_view> Offered(const HttpRequest& request) {
  std::vector<std::string_view> offered;
  for (const auto& [name, value] : request.headers) {
    if (!EqualsIgnoringCase(name, "sec-websocket-protocol")) continue;
    for (const std::string_view part : Split(value, ',')) offered.push_back(Trim(part));
  }
  return offered;
}

bool IsAllowed(std::string_view origin, std::string_view host, const CorsOrigins& origins) {
  if (origin.empty() || AllowsEveryOrigin(origins)) return true;  // not a browser, or anybody's
  const size_t authority = origin.find("://");
  if (authority != std::string_view::npos && origin.substr(authority + 3) == host) return true;
  return std::ranges::find(origins, origin) != origins.end();
}

}  // namespace

bool WantsWebSocket(const HttpRequest& request) {
  return EqualsIgnoringCase(request.Header("upgrade"), "websocket");
}

Result<void> CheckUpgrade(const HttpRequest& request, const CorsOrigins& origins) {
  if (!IsAllowed(request.Header("origin"), request.Header("host"), origins)) {
    return Refusal{Code::kPermissionDenied, "pages of this origin may not open a stream"};
  }
  if (request.Header("sec-websocket-version") != "13") {
    return InvalidField("Sec-WebSocket-Version", "must be 13");
  }
  if (request.Header("sec-websocket-key").size() != 24) {
    return InvalidField("Sec-WebSocket-Key", "must be 16 bytes in base64");
  }
  bool upgrades = false;
  for (const std::string_view part : Split(request.Header("connection"), ',')) {
    upgrades = upgrades || EqualsIgnoringCase(Trim(part), "upgrade");
  }
  if (!upgrades) return InvalidField("Connection", "must name Upgrade");
  const auto offered = Offered(request);
  if (!offered.empty() && !OffersSubprotocol(request)) {
    return InvalidField("Sec-WebSocket-Protocol", "must offer shop.v1");
  }
  return kDone;
}

bool OffersSubprotocol(const HttpRequest& request) {
  return std::ranges::count(Offered(request), kSubprotocol) > 0;
}

std::optional<std::string_view> SubprotocolToken(const HttpRequest& request) {
  static constexpr std::string_view kBearer = "bearer.";
  for (const std::string_view offer : Offered(request)) {
    if (offer.starts_with(kBearer)) return offer.substr(kBearer.size());
  }
  return std::nullopt;
}

}  // namespace shop::gateway
