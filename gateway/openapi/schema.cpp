#include "gateway/openapi/schema.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/value.hpp>
#include <cstdint>
#include <limits>
#include <utility>

#include "common/json/codec.h"
#include "common/rpc/rules.h"
#include "gateway/openapi/comments.h"

namespace shop::gateway::openapi {

namespace json = boost::json;
using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

namespace {

constexpr int64_t kMaxInteger = (int64_t{1} << 53) - 1;

void AllowNull(json::object* schema) {
  if (schema->contains("$ref")) {
    *schema = json::object{{"anyOf", json::array{*schema, Typed("null")}}};
    return;
  }
  (*schema)["type"] = json::array{(*schema)["type"], "null"};
  if (schema->contains("enum")) (*schema)["enum"].as_array().push_back(nullptr);
}

// Whether the field's default value is the same as none, which its rules do not look at.
bool CanBeUnset(const FieldDescriptor& field) {
  return !field.is_repeated() && !field.has_presence() && !RulesOf(field).required();
}

bool IsRequired(const FieldDescriptor& field) {
  return RulesOf(field).required() || RulesOf(field).min_items() > 0;
}

json::object TextSchema(const FieldDescriptor& field, In in) {
  const api::v1::FieldRules& rules = RulesOf(field);
  json::object schema = Typed("string");
  if (field.type() == FieldDescriptor::TYPE_BYTES) {
    schema["contentEncoding"] = "base64";
    return schema;
  }
  // What a deleted user had written is empty in answers.
  const bool can_be_unset = in != In::kRequest || CanBeUnset(field);
  const uint32_t least = std::max(rules.min_length(), rules.required() ? 1u : 0u);
  if (least > 0 && !can_be_unset) schema["minLength"] = least;
  if (rules.max_length() > 0) schema["maxLength"] = rules.max_length();
  // What their patterns take is not just what JSON Schema's formats of these names do.
  if (rules.email()) schema["maxLength"] = rpc::kLongestEmail;
  if (rules.date()) schema["format"] = "date";
  const std::string pattern = !rules.pattern().empty() ? rules.pattern()
                              : rules.email()          ? rpc::kEmailPattern
                              : rules.url()            ? rpc::kUrlPattern
                              : rules.name()           ? rpc::kNamePattern
                              : rules.date()           ? ""
                              : in == In::kRequest     ? R"([^\x00]*)"  // no field takes NUL
                                                       : "";
  if (!pattern.empty()) schema["pattern"] = "^(?:" + pattern + (can_be_unset ? ")?$" : ")$");
  return schema;
}

json::object IntegerSchema(const FieldDescriptor& field) {
  const api::v1::FieldRules& rules = RulesOf(field);
  const bool is_32 = field.cpp_type() == FieldDescriptor::CPPTYPE_INT32 ||
                     field.cpp_type() == FieldDescriptor::CPPTYPE_UINT32;
  const bool is_unsigned = field.cpp_type() == FieldDescriptor::CPPTYPE_UINT32 ||
                           field.cpp_type() == FieldDescriptor::CPPTYPE_UINT64;
  const int64_t bound = !is_32        ? kMaxInteger
                        : is_unsigned ? std::numeric_limits<uint32_t>::max()
                                      : std::numeric_limits<int32_t>::max();
  int64_t least = rules.has_min() ? rules.min() : is_unsigned ? 0 : -bound;
  if (CanBeUnset(field)) least = std::min<int64_t>(least, 0);
  const int64_t most = rules.has_max() ? rules.max() : bound;
  if (field.options().GetExtension(api::v1::money)) {
    return {{"type", "number"},
            {"multipleOf", 0.01},
            {"minimum", static_cast<double>(least) / 100},
            {"maximum", static_cast<double>(most) / 100}};
  }
  return {{"type", "integer"},
          {"format", is_32 ? "int32" : "int64"},
          {"minimum", least},
          {"maximum", most}};
}

}  // namespace

std::vector<const FieldDescriptor*> Fields(const Descriptor& message) {
  std::vector<const FieldDescriptor*> fields;
  for (int i = 0; i < message.field_count(); ++i) fields.push_back(message.field(i));
  return fields;
}

const api::v1::FieldRules& RulesOf(const FieldDescriptor& field) {
  return field.options().GetExtension(api::v1::rules);
}

json::object Typed(const char* type) {
  return {{"type", type}};
}

void AddDescription(const std::string& comment, json::object* schema) {
  if (!comment.empty()) (*schema)["description"] = comment;
}

json::object Reference(const char* kind, const std::string& name) {
  return {{"$ref", std::string("#/components/") + kind + "/" + name}};
}

bool IsTimestamp(const FieldDescriptor& field) {
  return field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE &&
         field.message_type()->full_name() == "google.protobuf.Timestamp";
}

json::object ErrorSchema() {
  const json::object text = Typed("string");
  const json::object detail{{"type", "object"},
                            {"required", json::array{"field", "message"}},
                            {"properties", json::object{{"field", text}, {"message", text}}}};
  const json::object error{
      {"type", "object"},
      {"required", json::array{"code", "message", "details"}},
      {"properties",
       json::object{{"code", text},
                    {"message", text},
                    {"details", json::object{{"type", "array"}, {"items", detail}}}}}};
  return {
      {"type", "object"},
      {"required", json::array{"success", "statusCode", "timestamp", "path", "error", "requestId"}},
      {"properties",
       json::object{{"success", json::object{{"const", false}}},
                    {"statusCode", json::object{{"type", "integer"}}},
                    {"timestamp", json::object{{"type", "string"}, {"format", "date-time"}}},
                    {"path", text},
                    {"error", error},
                    {"requestId", text}}}};
}

json::object EnumSchema(const FieldDescriptor& field) {
  json::array names;
  for (int i = 0; i < field.enum_type()->value_count(); ++i) {
    const auto* value = field.enum_type()->value(i);
    const api::v1::FieldRules& rules = RulesOf(field);
    if (value->number() == 0 || (rules.has_min() && value->number() < rules.min())) continue;
    names.push_back(json::value(std::string(shop::json::BareName(value))));
  }
  return {{"type", "string"}, {"enum", std::move(names)}};
}

void Schemas::Add(const Descriptor& message, In in) {
  std::set<const Descriptor*>& reached = in == In::kRequest ? of_requests_ : of_responses_;
  if (!reached.insert(&message).second) return;
  for (const FieldDescriptor* field : Fields(message)) {
    if (const Descriptor* inner = field->message_type()) Add(*inner, in);
  }
}

std::string Schemas::NameOf(const Descriptor& message, In in) const {
  const bool both = of_requests_.contains(&message) && of_responses_.contains(&message);
  return message.name() + (both && in == In::kRequest ? "Input" : "");
}

json::object Schemas::MessageSchema(const Descriptor& message, In in) {
  const std::string name = NameOf(message, in);
  if (!schemas_.contains(name)) {
    schemas_[name] = json::object();  // ends the recursion of a message in itself
    schemas_[name] = ObjectSchema(message, in, AnyField);
  }
  return Reference("schemas", name);
}

json::object Schemas::BodySchema(const Descriptor& request, const FieldFilter& wanted) {
  schemas_[NameOf(request, In::kRequest)] = ObjectSchema(request, In::kRequest, wanted);
  return Reference("schemas", NameOf(request, In::kRequest));
}

json::object Schemas::ObjectSchema(const Descriptor& message, In in, const FieldFilter& wanted) {
  json::object properties;
  json::array required;
  json::array aliases;
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor& field = *message.field(i);
    if (!wanted(field)) continue;
    json::object schema = FieldSchema(field, in);
    const bool always = in == In::kRequest ? IsRequired(field) : !field.has_presence();
    if (always) required.push_back(json::value(field.json_name()));
    if (!always && in == In::kRequest) AllowNull(&schema);
    AddDescription(Comment(field), &schema);
    const std::string& alias = field.options().GetExtension(api::v1::alias);
    if (!alias.empty() && in == In::kRequest) {
      json::object other = schema;
      other["description"] = "The same as `" + field.json_name() + "`.";
      properties[alias] = std::move(other);
      aliases.push_back(json::object{{"required", json::array{field.json_name(), alias}}});
    }
    properties[field.json_name()] = std::move(schema);
  }
  json::object schema = Typed("object");
  AddDescription(Comment(message), &schema);
  if (!required.empty()) schema["required"] = std::move(required);
  schema["properties"] = std::move(properties);
  if (!aliases.empty()) schema["not"] = json::object{{"anyOf", std::move(aliases)}};
  return schema;
}

json::object Schemas::FieldSchema(const FieldDescriptor& field, In in) {
  if (field.is_map()) {
    return {{"type", "object"},
            {"additionalProperties", ElementSchema(*field.message_type()->map_value(), in)}};
  }
  if (!field.is_repeated()) return ElementSchema(field, in);
  const api::v1::FieldRules& rules = RulesOf(field);
  json::object schema{{"type", "array"}, {"items", ElementSchema(field, in)}};
  const uint32_t least = std::max(rules.min_items(), rules.required() ? 1u : 0u);
  if (least > 0) schema["minItems"] = least;
  if (rules.max_items() > 0) schema["maxItems"] = rules.max_items();
  return schema;
}

json::object Schemas::ElementSchema(const FieldDescriptor& field, In in) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return Typed("boolean");
    case FieldDescriptor::CPPTYPE_FLOAT:
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return Typed("number");
    case FieldDescriptor::CPPTYPE_ENUM:
      return EnumSchema(field);
    case FieldDescriptor::CPPTYPE_STRING:
      return TextSchema(field, in);
    case FieldDescriptor::CPPTYPE_MESSAGE:
      if (IsTimestamp(field)) return {{"type", "string"}, {"format", "date-time"}};
      return MessageSchema(*field.message_type(), in);
    default:
      return IntegerSchema(field);
  }
}

}  // namespace shop::gateway::openapi
