// The content coding gzip (RFC 9110, sections 8.4.1 and 12.5.3).
#pragma once

#include <string>
#include <string_view>

#include "gateway/http/message.h"

namespace shop::gateway {

// Whether Accept-Encoding takes gzip, and no less than the body as it is.
bool AcceptsGzip(const HttpRequest& request);

// `body` in gzip form, the same bytes for the same body. Fast, for what is made for one answer.
std::string Gzip(std::string_view body);
// As small as it gets, for what is made once.
std::string GzipSmall(std::string_view body);

}  // namespace shop::gateway
