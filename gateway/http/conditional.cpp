#include "gateway/http/conditional.h"

#define XXH_INLINE_ALL
#include <google/protobuf/descriptor.h>
#include <xxhash.h>

#include <algorithm>
#include <charconv>
#include <stdexcept>

#include "shop/api/v1/options.pb.h"

namespace shop::gateway {
namespace {

using google::protobuf::FieldDescriptor;

constexpr size_t kHashDigits = 16;
constexpr std::string_view kGzipSuffix = "-gzip";

struct Tag {
  bool weak;
  std::string_view text;  // with its quotes
};

// What If-Match or If-None-Match says.
struct Condition {
  bool given = false;
  bool anything = false;  // *
  bool malformed = false;
  std::vector<Tag> tags;
};

// Reads `[W/]"…"` off the front of `list`.
bool TakeTag(std::string_view* list, std::vector<Tag>* tags) {
  const bool weak = list->starts_with("W/");
  if (weak) list->remove_prefix(2);
  if (!list->starts_with('"')) return false;
  const size_t end = list->find('"', 1);
  if (end == std::string_view::npos) return false;
  const std::string_view text = list->substr(0, end + 1);
  const bool legal = std::ranges::all_of(
      text, [](char c) { return static_cast<unsigned char>(c) > ' ' && c != '\x7f'; });
  tags->push_back({weak, text});
  list->remove_prefix(end + 1);
  return legal;
}

bool TakeList(std::string_view list, std::vector<Tag>* tags) {
  for (bool first = true;; first = false) {
    const size_t next = list.find_first_not_of(", \t");
    if (next == std::string_view::npos) return true;
    if (!first && list.substr(0, next).find(',') == std::string_view::npos) return false;
    list.remove_prefix(next);
    if (!TakeTag(&list, tags)) return false;
  }
}

Condition Read(const HttpRequest& request, std::string_view name) {
  Condition condition;
  for (const auto& [header, value] : request.headers) {
    if (!EqualsIgnoringCase(header, name)) continue;
    if (value == "*" && !condition.given) {
      condition.anything = true;
    } else if (condition.anything || !TakeList(value, &condition.tags)) {
      condition.malformed = true;
    }
    condition.given = true;
  }
  if (condition.given && !condition.anything && condition.tags.empty()) condition.malformed = true;
  return condition;
}

// A whole number above zero; 0 for anything else.
int64_t Number(std::string_view text) {
  int64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  return error == std::errc() && rest == end && number > 0 ? number : 0;
}

// Of `"12.7-9f86d081884c7d65"`, gzip or not: 12 and 7.
TagVersion VersionOf(const Tag& tag) {
  if (tag.weak) return {};
  std::string_view text = tag.text.substr(1, tag.text.size() - 2);
  if (text.ends_with(kGzipSuffix)) text.remove_suffix(kGzipSuffix.size());
  const size_t dash = text.find('-');
  if (dash == std::string_view::npos || text.size() - dash - 1 != kHashDigits) return {};
  const std::string_view versions = text.substr(0, dash);
  const size_t dot = versions.find('.');
  if (dot == std::string_view::npos) return {Number(versions)};
  const TagVersion found{Number(versions.substr(0, dot)), Number(versions.substr(dot + 1))};
  return found.version == 0 || found.part == 0 ? TagVersion() : found;
}

// The one field with the option, which has to be an int64; nothing where there is none.
template <typename Option>
const FieldDescriptor* VersionField(const google::protobuf::Descriptor& message,
                                    const Option& option) {
  const FieldDescriptor* found = nullptr;
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor* field = message.field(i);
    if (!field->options().GetExtension(option)) continue;
    if (found != nullptr || field->is_repeated() ||
        field->cpp_type() != FieldDescriptor::CPPTYPE_INT64) {
      throw std::logic_error(field->full_name() + " is not the one int64 of a version");
    }
    found = field;
  }
  return found;
}

}  // namespace

VersionFields VersionFields::Of(const google::protobuf::Descriptor& message) {
  VersionFields fields{VersionField(message, api::v1::version),
                       VersionField(message, api::v1::part_version)};
  if (fields.part != nullptr && fields.version == nullptr) {
    throw std::logic_error(message.full_name() + " has the version of a part and none of its own");
  }
  return fields;
}

TagVersion VersionFields::Read(const google::protobuf::Message& message) const {
  const auto value = [&](const FieldDescriptor* field) {
    return field == nullptr ? 0 : message.GetReflection()->GetInt64(message, field);
  };
  return {value(version), value(part)};
}

std::string EntityTag(std::string_view body, const TagVersion& version) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string tag = "\"";
  if (version.version != 0) {
    tag += std::to_string(version.version);
    if (version.part != 0) tag.append(".").append(std::to_string(version.part));
    tag += '-';
  }
  const uint64_t hash = XXH3_64bits(body.data(), body.size());
  for (int shift = 60; shift >= 0; shift -= 4) tag += kDigits[hash >> shift & 15];
  tag += '"';
  return tag;
}

std::string GzipTag(std::string_view tag) {
  std::string made(tag.substr(0, tag.size() - 1));
  return made.append(kGzipSuffix) += '"';
}

bool MatchesIfNoneMatch(const HttpRequest& request, std::string_view tag) {
  const Condition condition = Read(request, "if-none-match");
  if (condition.malformed) return false;
  return condition.anything ||
         std::ranges::any_of(condition.tags, [&](const Tag& known) { return known.text == tag; });
}

bool MatchesIfMatch(const HttpRequest& request, std::string_view tag) {
  const Condition condition = Read(request, "if-match");
  return !condition.given || condition.anything ||
         std::ranges::any_of(condition.tags,
                             [&](const Tag& meant) { return !meant.weak && meant.text == tag; });
}

Result<std::vector<TagVersion>> VersionsMeant(const HttpRequest& request) {
  const Condition condition = Read(request, "if-match");
  if (condition.malformed) {
    return InvalidField("If-Match", "must be * or a list of entity tags such as \"12-0a1b\"");
  }
  std::vector<TagVersion> versions;
  for (const Tag& tag : condition.tags) versions.push_back(VersionOf(tag));
  return versions;
}

}  // namespace shop::gateway
