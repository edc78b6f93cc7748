// Entity tags and the conditions that clients attach to them (RFC 9110, sections 8.8.3 and 13.1).
//
// A tag is a hash of the body: "9f86d081884c7d65". Where the answer's message has a field with
// shop.api.v1.version, its value stands before: "12-9f86d081884c7d65", and behind that the one with
// shop.api.v1.part_version: "12.7-9f86d081884c7d65". The gzip form of the same body, being other
// bytes, has `-gzip` at its end. All tags are strong, and the same in every process and after a
// restart.
#pragma once

#include <google/protobuf/message.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/core/result.h"
#include "gateway/http/message.h"

namespace shop::gateway {

// What a tag says of the thing's state; 0 for what it does not say.
struct TagVersion {
  int64_t version = 0;
  int64_t part = 0;

  bool operator==(const TagVersion&) const = default;
};

// The fields of a message that tags carry; nothing where it has none.
struct VersionFields {
  const google::protobuf::FieldDescriptor* version = nullptr;
  const google::protobuf::FieldDescriptor* part = nullptr;

  // Throws std::logic_error where the options are on fields that cannot be versions, or a part's
  // version is without one of the whole.
  static VersionFields Of(const google::protobuf::Descriptor& message);
  TagVersion Read(const google::protobuf::Message& message) const;
};

// The tag of `body` with its quotes.
std::string EntityTag(std::string_view body, const TagVersion& version = {});
// The tag of the gzip form of the body with `tag`.
std::string GzipTag(std::string_view tag);

// Whether If-None-Match names `tag`, compared weakly, or anything: the client has what it asks for.
// False without that header, and where it is no list of tags.
bool MatchesIfNoneMatch(const HttpRequest& request, std::string_view tag);

// Whether If-Match names `tag`, compared strongly, or anything. True without that header.
bool MatchesIfMatch(const HttpRequest& request, std::string_view tag);

// The versions in the tags of If-Match; empty without that header or where it is `*`. A weak tag
// and one that is not of ours count as version 0, which nothing has; so does the part of a tag that
// was sent before its thing had one. INVALID_ARGUMENT naming If-Match where it is no list of
// tags.
Result<std::vector<TagVersion>> VersionsMeant(const HttpRequest& request);

}  // namespace shop::gateway
