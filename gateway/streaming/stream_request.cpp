#include "gateway/streaming/stream_request.h"

#include <string>
#include <string_view>

#include "gateway/streaming/upgrade.h"

namespace shop::gateway {

Result<void> CheckStreamRequest(const HttpRequest& request, const CorsOrigins& origins) {
  for (const std::string_view pair : Split(request.query(), '&')) {
    const std::string_view name = pair.substr(0, pair.find('='));
    if (name == "access_token" || name == "token") {
      return InvalidField(std::string(name), "a token must not be part of the URL");
    }
  }
  return WantsWebSocket(request) ? CheckUpgrade(request, origins) : kDone;
}

HttpRequest WithLastEventId(const HttpRequest& request) {
  static constexpr std::string_view kParameter = "lastEventId=";
  HttpRequest with = request;
  if (!request.Header("last-event-id").empty()) return with;
  for (const std::string_view pair : Split(request.query(), '&')) {
    if (!pair.starts_with(kParameter)) continue;
    with.headers.emplace_back("Last-Event-ID", pair.substr(kParameter.size()));
    break;
  }
  return with;
}

}  // namespace shop::gateway
