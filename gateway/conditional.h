// Entity tags and the conditions that clients attach to them (RFC 9110, sections 8.8.3 and 13.1).
//
// A tag is a hash of the body: "9f86d081884c7d65". Where the answer's message has a field with
// shop.api.v1.version, its value stands before: "12-9f86d081884c7d65". The gzip form of the same
// body, being other bytes, has `-gzip` at its end. All tags are strong, and the same in every
// process and after a restart.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/core/result.h"
#include "gateway/http.h"

namespace shop::gateway {

// The tag of `body` with its quotes; version 0 stands for none.
std::string EntityTag(std::string_view body, int64_t version = 0);
// The tag of the gzip form of what `tag` means.
std::string GzipTag(std::string_view tag);

// Whether If-None-Match names `tag`, compared weakly, or anything: the client has what it asks for.
// False without that header, and where it is no list of tags.
bool ClientHas(const HttpRequest& request, std::string_view tag);

// Whether If-Match names `tag`, compared strongly, or anything. True without that header.
bool ClientMeans(const HttpRequest& request, std::string_view tag);

// The versions in the tags of If-Match; empty without that header or where it is `*`. A weak tag
// and one that is not of ours count as version 0, which nothing has. INVALID_ARGUMENT naming
// If-Match where it is no list of tags.
Result<std::vector<int64_t>> VersionsMeant(const HttpRequest& request);

}  // namespace shop::gateway
