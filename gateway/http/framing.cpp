#include "gateway/http/framing.h"

#include <algorithm>

namespace shop::gateway {
namespace {

namespace http = boost::beast::http;

// The scheme and what is between it and the authority; "" where `target` begins with none.
std::string_view SchemeOf(std::string_view target) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    const std::string_view start = target.substr(0, scheme.size());
    if (EqualsIgnoringCase(start, scheme)) return start;
  }
  return {};
}

}  // namespace

HttpFault CheckFraming(const RequestHeader& header) {
  const bool old = header.version() < 11;
  const size_t encodings = header.count(http::field::transfer_encoding);
  const size_t lengths = header.count(http::field::content_length);
  if (encodings > 0 &&
      (encodings > 1 || lengths > 0 || old ||
       !EqualsIgnoringCase(Trim(header[http::field::transfer_encoding]), "chunked"))) {
    return kBadTransferEncoding;
  }
  const std::string_view length = header[http::field::content_length];
  if (lengths > 1 ||
      (lengths == 1 && !std::ranges::all_of(length, [](char c) { return c >= '0' && c <= '9'; }))) {
    return kBadContentLength;
  }
  const size_t hosts = header.count(http::field::host);
  if (hosts > 1 || (hosts == 0 && !old)) {
    return {400, "INVALID_ARGUMENT", "there has to be one Host header"};
  }
  return {};
}

std::optional<std::string_view> PathAndQuery(std::string_view method, std::string_view target,
                                             std::string_view host) {
  if (target.find('#') != std::string_view::npos || method == "CONNECT") return std::nullopt;
  if (target.starts_with('/') || (target == "*" && method == "OPTIONS")) return target;
  const std::string_view scheme = SchemeOf(target);
  if (scheme.empty()) return std::nullopt;
  const std::string_view address = target.substr(scheme.size());
  const size_t end = std::min(address.find_first_of("/?"), address.size());
  if (end == 0 || !EqualsIgnoringCase(address.substr(0, end), host)) return std::nullopt;
  if (end == address.size()) return "/";
  return address[end] == '/' ? std::optional(address.substr(end)) : std::nullopt;
}

}  // namespace shop::gateway
