#include "gateway/routing/binding.h"

#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <optional>
#include <stdexcept>

#include "common/json/codec.h"
#include "gateway/http/conditional.h"
#include "gateway/routing/router.h"
#include "shop/api/v1/options.pb.h"

namespace shop::gateway {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// As for JSON.
constexpr size_t kMaxDepth = 32;

// What ReadScalar can set.
bool IsScalar(const FieldDescriptor& field) {
  return field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE ||
         field.message_type()->full_name() == "google.protobuf.Timestamp";
}

bool IsRawBody(const FieldDescriptor& field) {
  return field.options().GetExtension(api::v1::raw_body);
}

// The message that holds the last field of `path`.
Message* Holder(Message* message, const std::vector<const FieldDescriptor*>& path) {
  for (size_t i = 0; i + 1 < path.size(); ++i) {
    message = message->GetReflection()->MutableMessage(message, path[i]);
  }
  return message;
}

// Whether `path` would put another member of a oneof in the place of one that is set.
bool OthersGiven(const Message& message, const std::vector<const FieldDescriptor*>& path) {
  const Message* holder = &message;
  for (const FieldDescriptor* field : path) {
    const auto* reflection = holder->GetReflection();
    const auto* choice = field->real_containing_oneof();
    if (choice != nullptr && reflection->HasOneof(*holder, choice) &&
        !reflection->HasField(*holder, field)) {
      return true;
    }
    if (field == path.back() || !reflection->HasField(*holder, field)) return false;
    holder = &reflection->GetMessage(*holder, field);
  }
  return false;
}

}  // namespace

Binding::Binding(const Descriptor* request, const std::vector<std::string>& variables,
                 const std::string& body)
    : request_(request), whole_body_(body == "*") {
  for (const std::string& variable : variables) {
    FieldPath path;
    std::string name;
    const Descriptor* message = request;
    for (const std::string_view part : Split(variable, '.')) {
      const FieldDescriptor* field =
          message == nullptr ? nullptr : message->FindFieldByName(std::string(part));
      if (field == nullptr || field->is_repeated()) {
        throw std::logic_error(request->full_name() + " has no single field " + variable +
                               " for its path");
      }
      path.push_back(field);
      name += (name.empty() ? "" : ".") + field->json_name();
      message = field->message_type();
    }
    if (!IsScalar(*path.back())) {
      throw std::logic_error(request->full_name() + ": " + variable + " of its path is a message");
    }
    if (IsOfPath(path)) {
      throw std::logic_error(request->full_name() + ": its path has " + variable + " twice");
    }
    variables_.emplace_back(std::move(path), std::move(name));
  }
  if (!body.empty() && !whole_body_) {
    body_field_ = request->FindFieldByName(body);
    raw_body_ = body_field_ != nullptr && IsRawBody(*body_field_);
    if (body_field_ == nullptr || body_field_->is_repeated() ||
        (IsScalar(*body_field_) && !raw_body_)) {
      throw std::logic_error(request->full_name() + " has no message " + body + " for its body");
    }
  }
  for (int i = 0; i < request->field_count(); ++i) {
    const FieldDescriptor* field = request->field(i);
    if (IsRawBody(*field) &&
        (field != body_field_ || field->type() != FieldDescriptor::TYPE_BYTES)) {
      throw std::logic_error(field->full_name() + " is no field of bytes that the body fills");
    }
    const std::string& header = field->options().GetExtension(api::v1::header);
    if (EqualsIgnoringCase(header, "If-Match")) {
      if (!field->is_repeated() || field->cpp_type() != FieldDescriptor::CPPTYPE_INT64) {
        throw std::logic_error(field->full_name() + " is no list of versions for If-Match");
      }
      const bool of_part = field->options().GetExtension(api::v1::part_version);
      const FieldDescriptor*& versions = of_part ? part_versions_field_ : versions_field_;
      if (versions != nullptr) {
        throw std::logic_error(field->full_name() + " is a second list of versions for If-Match");
      }
      versions = field;
    } else if (!header.empty()) {
      headers_.emplace_back(field, header);
    }
  }
  if (part_versions_field_ != nullptr && versions_field_ == nullptr) {
    throw std::logic_error(part_versions_field_->full_name() +
                           " has no list of versions beside it");
  }
}

Result<void> Binding::Bind(const HttpRequest& request, const std::vector<std::string>& values,
                           Message* message) const {
  if (has_body()) {
    Result<void> read = BindBody(request.body, message);
    if (!read) return read;
  }
  if (!whole_body_) {
    Result<void> read = BindQuery(request.query(), message);
    if (!read) return read;
  }
  for (size_t i = 0; i < variables_.size(); ++i) {
    const auto& [path, name] = variables_[i];
    Result<void> read = json::ReadScalar(values[i], path.back(), name, Holder(message, path));
    if (!read) return read;
  }
  for (const auto& [field, name] : headers_) {
    bool seen = false;
    for (const auto& [header, value] : request.headers) {
      if (!EqualsIgnoringCase(header, name)) continue;
      if (seen && !field->is_repeated()) return InvalidField(name, "is given twice");
      seen = true;
      Result<void> read = json::ReadScalar(value, field, name, message);
      if (!read) return read;
    }
  }
  if (versions_field_ != nullptr) {
    const Result<std::vector<TagVersion>> versions = VersionsMeant(request);
    if (!versions) return versions.refusal();
    const google::protobuf::Reflection& reflection = *message->GetReflection();
    for (const TagVersion& meant : *versions) {
      reflection.AddInt64(message, versions_field_, meant.version);
      if (part_versions_field_ == nullptr) continue;
      reflection.AddInt64(message, part_versions_field_, meant.part);
    }
  }
  return kDone;
}

Result<void> Binding::BindBody(std::string_view body, Message* message) const {
  if (body.empty()) return kDone;
  if (raw_body_) {
    message->GetReflection()->SetString(message, body_field_, std::string(body));
    return kDone;
  }
  if (whole_body_) return json::Read(body, message);
  return json::Read(body, message->GetReflection()->MutableMessage(message, body_field_),
                    body_field_->json_name());
}

Result<void> Binding::BindQuery(std::string_view query, Message* message) const {
  std::vector<FieldPath> seen;
  for (const std::string_view pair : Split(query, '&')) {
    const size_t equals = std::min(pair.find('='), pair.size());
    const std::optional<std::string> name = PercentDecode(pair.substr(0, equals), Encoded::kForm);
    if (!name) continue;
    FieldPath path = FindParameter(*name);
    if (path.empty()) continue;
    const std::optional<std::string> value =
        PercentDecode(pair.substr(std::min(pair.size(), equals + 1)), Encoded::kForm);
    if (!value) return InvalidField(*name, "is not percent-encoded properly");
    if (path.size() > kMaxDepth) {
      return InvalidField(*name, "is nested deeper than " + std::to_string(kMaxDepth));
    }
    if (OthersGiven(*message, path)) {
      return InvalidField(*name, "cannot be given together with another of its kind");
    }
    const FieldDescriptor* field = path.back();
    Message* holder = Holder(message, path);
    if (!field->is_repeated()) {
      if (std::find(seen.begin(), seen.end(), path) != seen.end()) {
        return InvalidField(*name, "is given twice");
      }
      seen.push_back(std::move(path));
    }
    Result<void> read = json::ReadScalar(*value, field, *name, holder);
    if (!read) return read;
  }
  return kDone;
}

Binding::FieldPath Binding::FindParameter(std::string_view name) const {
  FieldPath path;
  const Descriptor* message = request_;
  const std::vector<std::string_view> parts = Split(name, '.');
  for (const std::string_view part : parts) {
    const FieldDescriptor* field = message == nullptr ? nullptr : json::FindField(message, part);
    const bool last = path.size() + 1 == parts.size();
    if (field == nullptr || (last && !IsScalar(*field)) || (!last && field->is_repeated())) {
      return {};
    }
    path.push_back(field);
    message = IsScalar(*field) ? nullptr : field->message_type();
  }
  if (path.front() == body_field_) return {};
  return IsOfPath(path) ? FieldPath{} : path;
}

bool Binding::IsOfPath(const FieldPath& path) const {
  return std::ranges::any_of(variables_, [&](const auto& known) { return known.first == path; });
}

}  // namespace shop::gateway
