// How an HTTP request becomes a method's request message, by google.api.http: variables of the
// path, the body, the query, and the headers that fields name with shop.api.v1.header.
//
// The body is read first and the path last, so that the path alone decides which thing it is. With
// `body: "*"` everything but path and headers comes from the body, and an empty body is {}.
// Otherwise query parameters fill what is left, by name (JSON name, proto name or alias), nested
// ones as a.b, lists by repeating the parameter; those that no field has are ignored. A field whose
// header is If-Match takes the versions of its entity tags (gateway/http/conditional.h), and one with
// shop.api.v1.part_version those of the part, one for each. What does not fit is INVALID_ARGUMENT
// naming the field, parameter or header.
//
// A body field with shop.api.v1.raw_body gets the body's bytes as they were sent, and nothing of them is
// read; the other fields come from path, query and headers.
#pragma once

#include <google/protobuf/message.h>

#include <string>
#include <utility>
#include <vector>

#include "common/core/result.h"
#include "gateway/http/message.h"

namespace shop::gateway {

class Binding {
 public:
  // `variables` are the field paths of the path template, `body` what google.api.http says of it.
  // Throws std::logic_error when they do not fit the request type.
  Binding(const google::protobuf::Descriptor* request, const std::vector<std::string>& variables,
          const std::string& body);

  // Whether the method reads the body of a request.
  bool has_body() const { return whole_body_ || body_field_ != nullptr; }

  // Whether that body may be of any content type, as nothing of it is read.
  bool has_raw_body() const { return raw_body_; }

  // Fills `message`; `values` are those of the path's variables, in order.
  Result<void> Bind(const HttpRequest& request, const std::vector<std::string>& values,
                    google::protobuf::Message* message) const;

 private:
  using FieldPath = std::vector<const google::protobuf::FieldDescriptor*>;

  Result<void> BindBody(std::string_view body, google::protobuf::Message* message) const;
  Result<void> BindQuery(std::string_view query, google::protobuf::Message* message) const;
  // The field of a parameter, empty when there is none or the path or body fills it.
  FieldPath FindParameter(std::string_view name) const;
  bool IsOfPath(const FieldPath& path) const;

  const google::protobuf::Descriptor* request_;
  std::vector<std::pair<FieldPath, std::string>> variables_;  // with their names in JSON
  bool whole_body_ = false;
  bool raw_body_ = false;
  const google::protobuf::FieldDescriptor* body_field_ = nullptr;
  std::vector<std::pair<const google::protobuf::FieldDescriptor*, std::string>> headers_;
  // Those of If-Match.
  const google::protobuf::FieldDescriptor* versions_field_ = nullptr;
  const google::protobuf::FieldDescriptor* part_versions_field_ = nullptr;
};

}  // namespace shop::gateway
