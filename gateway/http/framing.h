// Where a request ends and what it asks for, read strictly: whatever two readers could take
// differently is refused, so that nothing is hidden from one of them (RFC 9112, sections 3.2, 6.1, 6.3
// and 11.2).
#pragma once

#include <boost/beast/http/fields.hpp>
#include <boost/beast/http/message.hpp>
#include <optional>
#include <string_view>

#include "gateway/http/message.h"

namespace shop::gateway {

inline constexpr HttpFault kBadTransferEncoding{
    400, "INVALID_ARGUMENT",
    "Transfer-Encoding must be chunked, once, without a Content-Length and in HTTP/1.1"};
inline constexpr HttpFault kBadContentLength{
    400, "INVALID_ARGUMENT", "there has to be one Content-Length at most, in digits"};

using RequestHeader = boost::beast::http::request_header<boost::beast::http::fields>;

// What to answer to a header that does not say plainly where its request ends: a Transfer-Encoding
// that is not `chunked`, comes twice, beside a Content-Length or in HTTP/1.0 (section 6.1); more than
// one Content-Length, or one that is not digits alone (section 6.3); a Host that is missing or not
// the only one (section 3.2). Status 0 where there is nothing to say.
HttpFault CheckFraming(const RequestHeader& header);

// The path and the query that `target` asks for: `target` itself where it begins with a slash
// (section 3.2.1), what follows the authority in http://host/path (section 3.2.2), where the authority
// has to be `host` as the Host header has it, and the * of OPTIONS (section 3.2.4). Nothing for any other.
std::optional<std::string_view> PathAndQuery(std::string_view method, std::string_view target,
                                             std::string_view host);

}  // namespace shop::gateway
