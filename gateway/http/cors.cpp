#include "gateway/http/cors.h"

#include <algorithm>
#include <utility>

namespace shop::gateway {

std::optional<CorsOrigins> ParseCorsOrigins(const std::string& list) {
  CorsOrigins origins;
  if (list.empty()) return origins;
  for (const std::string_view part : Split(list, ',')) {
    std::string origin(part);
    origin.erase(0, origin.find_first_not_of(' '));
    origin.erase(origin.find_last_not_of(" /") + 1);
    if (origin != "*" && origin.find("://") == std::string::npos) return std::nullopt;
    origins.push_back(std::move(origin));
  }
  return origins;
}

void AddCorsHeaders(const HttpRequest& request, const CorsOrigins& origins,
                    HttpResponse* response) {
  const std::string_view origin = request.Header("origin");
  if (origin.empty() || origins.empty()) return;
  if (AllowsEveryOrigin(origins)) {
    response->AddHeader("Access-Control-Allow-Origin", "*");
  } else if (std::find(origins.begin(), origins.end(), origin) != origins.end()) {
    response->AddHeader("Access-Control-Allow-Origin", origin);
  }
  response->AddHeader("Access-Control-Expose-Headers",
                      "ETag, Idempotent-Replayed, RateLimit, RateLimit-Policy, Retry-After, "
                      "X-Request-Id");
}

void AddPreflightHeaders(const HttpRequest& request, std::string_view methods,
                         std::string_view headers, HttpResponse* response) {
  if (request.Header("access-control-request-method").empty()) return;
  response->AddHeader("Access-Control-Allow-Methods", methods);
  response->AddHeader("Access-Control-Allow-Headers", headers);
  response->AddHeader("Access-Control-Max-Age", "600");
}

}  // namespace shop::gateway
