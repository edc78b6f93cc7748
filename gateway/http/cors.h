// Which web pages may read the gateway's responses in a browser (CORS, by the Fetch standard).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/http/message.h"

namespace shop::gateway {

// Whose pages may: their origins, such as https://shop.example, or "*" alone for everybody's. Those of
// the gateway's own origin always may.
using CorsOrigins = std::vector<std::string>;

// Of a comma-separated list, which may be empty; nothing where it is neither "*" nor a list of origins.
std::optional<CorsOrigins> ParseCorsOrigins(const std::string& list);

// Whether everybody's pages may.
inline bool AllowsEveryOrigin(const CorsOrigins& origins) {
  return !origins.empty() && origins.front() == "*";
}

// Whether a response depends on the Origin header, so that Vary has to name it.
inline bool VariesByOrigin(const CorsOrigins& origins) {
  return !origins.empty() && origins.front() != "*";
}

// What the response to a request with an Origin header says, if any page may read it.
void AddCorsHeaders(const HttpRequest& request, const CorsOrigins& origins, HttpResponse* response);

// What the response to a preflight says besides: which methods and request headers the path takes.
void AddPreflightHeaders(const HttpRequest& request, std::string_view methods,
                         std::string_view headers, HttpResponse* response);

}  // namespace shop::gateway
