#include "gateway/openapi/example.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <cstdint>
#include <string>

#include "gateway/openapi/comments.h"

namespace shop::gateway::openapi {

namespace json = boost::json;
using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

namespace {

json::value ElementExample(const FieldDescriptor& field, In in) {
  const api::v1::FieldRules& rules = RulesOf(field);
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return true;
    case FieldDescriptor::CPPTYPE_FLOAT:
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return 1.5;
    case FieldDescriptor::CPPTYPE_ENUM:
      return EnumSchema(field)["enum"].as_array().front();
    case FieldDescriptor::CPPTYPE_STRING:
      return json::value(rules.email()  ? "alice@example.com"
                         : rules.date() ? "1990-12-31"
                         : rules.url()  ? "https://example.com/"
                                        : field.json_name());
    case FieldDescriptor::CPPTYPE_MESSAGE:
      if (IsTimestamp(field)) return kExampleTime;
      return ObjectExample(*field.message_type(), in, AnyField);
    default:
      break;
  }
  if (field.options().GetExtension(api::v1::money)) return 49.99;
  return rules.has_min() ? std::max<int64_t>(rules.min(), 1) : 1;
}

}  // namespace

json::value Example(const FieldDescriptor& field, In in) {
  if (const std::string text = ExampleText(field); !text.empty()) return json::parse(text);
  if (field.is_map()) return json::object();
  const json::value one = ElementExample(field, in);
  return field.is_repeated() ? json::value(json::array{one}) : one;
}

json::object ObjectExample(const Descriptor& message, In in, const FieldFilter& wanted) {
  json::object example;
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor& field = *message.field(i);
    const bool shown =
        !ExampleText(field).empty() ||
        (in == In::kRequest
             ? RulesOf(field).required()
             : !field.has_presence() || field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE);
    const bool endless = field.message_type() == &message;
    if (wanted(field) && shown && !endless) example[field.json_name()] = Example(field, in);
  }
  return example;
}

}  // namespace shop::gateway::openapi
