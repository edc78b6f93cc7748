#include "gateway/openapi.h"

#include <google/protobuf/descriptor.pb.h>

#include <algorithm>
#include <boost/json/src.hpp>
#include <cctype>
#include <map>
#include <set>

#include "common/json/codec.h"
#include "gateway/descriptors.h"
#include "gateway/http_rule.h"
#include "shop/api/v1/options.pb.h"

namespace shop::gateway {
namespace {

namespace json = boost::json;
using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::MethodDescriptor;
using google::protobuf::ServiceDescriptor;

constexpr int64_t kMaxInteger = (int64_t{1} << 53) - 1;

// The protos with their comments; the descriptors compiled into a process have none.
const google::protobuf::DescriptorPool& CommentedPool() {
  static const auto* const pool = [] {
    google::protobuf::FileDescriptorSet files;
    files.ParseFromArray(DescriptorSet().data(), static_cast<int>(DescriptorSet().size()));
    auto* made = new google::protobuf::DescriptorPool();
    for (const auto& file : files.file()) made->BuildFile(file);
    return made;
  }();
  return *pool;
}

template <typename Element>
std::string CommentOf(const Element* element) {
  google::protobuf::SourceLocation location;
  if (element == nullptr || !element->GetSourceLocation(&location)) return {};
  std::string text;
  for (const char c : location.leading_comments) {
    if (c == '\n') {
      if (!text.empty() && text.back() != ' ') text += ' ';
    } else if (c != ' ' || (!text.empty() && text.back() != ' ')) {
      text += c;
    }
  }
  while (!text.empty() && text.back() == ' ') text.pop_back();
  return text;
}

std::string Comment(const MethodDescriptor& method) {
  return CommentOf(CommentedPool().FindMethodByName(method.full_name()));
}
std::string Comment(const Descriptor& message) {
  return CommentOf(CommentedPool().FindMessageTypeByName(message.full_name()));
}
std::string Comment(const FieldDescriptor& field) {
  return CommentOf(CommentedPool().FindFieldByName(field.full_name()));
}
std::string Comment(const ServiceDescriptor& service) {
  return CommentOf(CommentedPool().FindServiceByName(service.full_name()));
}

// Replaces `{order_id}` and `{name=…}` by `{orderId}` and names the fields.
std::string TemplatePath(const std::string& path, const Descriptor& request,
                         std::vector<const FieldDescriptor*>* variables) {
  std::string out;
  for (size_t at = 0; at < path.size();) {
    if (path[at] != '{') {
      out += path[at++];
      continue;
    }
    const size_t end = path.find('}', at);
    std::string name = path.substr(at + 1, end - at - 1);
    name = name.substr(0, name.find('='));
    if (const FieldDescriptor* field = request.FindFieldByName(name); field != nullptr) {
      variables->push_back(field);
      name = field->json_name();
    }
    out += "{" + name + "}";
    at = end + 1;
  }
  return out;
}

std::string LowerCase(std::string text) {
  std::ranges::transform(text, text.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

bool IsTimestamp(const FieldDescriptor& field) {
  return field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE &&
         field.message_type()->full_name() == "google.protobuf.Timestamp";
}

class Document {
 public:
  explicit Document(const std::vector<const ServiceDescriptor*>& services) {
    for (const ServiceDescriptor* service : services) AddService(*service);
  }

  std::string Text() {
    json::object document;
    document["openapi"] = "3.1.0";
    document["info"] = json::object{
        {"title", "Shop API"},
        {"version", "1"},
        {"description",
         "Amounts are decimals with two digits, ids are numbers below 2^53, times are RFC 3339 in "
         "UTC. Unknown fields are ignored. Every answer carries X-Request-Id."},
        {"license", json::object{{"name", "Apache-2.0"}, {"identifier", "Apache-2.0"}}}};
    document["servers"] = json::array{json::object{{"url", "/"}}};
    document["tags"] = std::move(tags_);
    document["paths"] = std::move(paths_);
    json::object components;
    AddErrorSchema();
    components["schemas"] = std::move(schemas_);
    components["responses"] = ErrorResponses();
    components["securitySchemes"] = json::object{
        {"bearer", json::object{{"type", "http"}, {"scheme", "bearer"}, {"bearerFormat", "JWT"}}}};
    document["components"] = std::move(components);
    return json::serialize(document);
  }

 private:
  void AddService(const ServiceDescriptor& service) {
    bool bound = false;
    for (int i = 0; i < service.method_count(); ++i) {
      const MethodDescriptor& method = *service.method(i);
      int number = 0;
      for (const HttpBinding& http : HttpBindings(method)) {
        AddOperation(method, http, ++number);
        bound = true;
      }
    }
    if (bound)
      tags_.push_back(json::object{{"name", service.name()}, {"description", Comment(service)}});
  }

  // `number` counts the method's bindings from 1.
  void AddOperation(const MethodDescriptor& method, const HttpBinding& http, int number) {
    std::vector<const FieldDescriptor*> variables;
    const std::string path = TemplatePath(http.path_template, *method.input_type(), &variables);

    json::object operation;
    const std::string comment = Comment(method);
    operation["operationId"] = method.name() + (number == 1 ? "" : std::to_string(number));
    operation["tags"] = json::array{method.service()->name()};
    operation["summary"] = comment.substr(0, comment.find(". "));
    operation["description"] = comment;
    const api::v1::Access& access = method.options().GetExtension(api::v1::access);
    json::array roles;
    bool open = false;
    for (const int role : access.roles()) {
      const auto* value = api::v1::Role_descriptor()->FindValueByNumber(role);
      roles.push_back(json::value(std::string(shop::json::BareName(value))));
      open |= role == api::v1::ROLE_GUEST;
    }
    operation["x-roles"] = std::move(roles);
    operation["security"] =
        open ? json::array{json::object{}, json::object{{"bearer", json::array{}}}}
             : json::array{json::object{{"bearer", json::array{}}}};
    operation["parameters"] = Parameters(*method.input_type(), variables, http.body);
    if (!http.body.empty()) {
      operation["requestBody"] = json::object{
          {"required", HasRequired(*method.input_type(), variables)},
          {"content",
           json::object{{"application/json",
                         json::object{{"schema", BodySchema(method, variables, http.body)}}}}}};
    }
    operation["responses"] = Responses(method, open, !variables.empty());
    json::value& item = paths_[path];
    if (!item.is_object()) item = json::object();
    item.as_object()[LowerCase(http.method)] = std::move(operation);
  }

  json::array Parameters(const Descriptor& request, const std::vector<const FieldDescriptor*>& path,
                         const std::string& body) {
    json::array parameters;
    for (const FieldDescriptor* field : path) {
      parameters.push_back(Parameter(*field, field->json_name(), "path", true));
    }
    for (int i = 0; i < request.field_count(); ++i) {
      const FieldDescriptor& field = *request.field(i);
      const std::string& header = field.options().GetExtension(api::v1::header);
      if (!header.empty()) {
        parameters.push_back(Parameter(field, header, "header", false));
      } else if (body.empty() && std::ranges::find(path, &field) == path.end() &&
                 (field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE || IsTimestamp(field))) {
        parameters.push_back(Parameter(field, field.json_name(), "query",
                                       field.options().GetExtension(api::v1::rules).required()));
      }
    }
    return parameters;
  }

  json::object Parameter(const FieldDescriptor& field, const std::string& name, const char* in,
                         bool required) {
    json::object parameter{{"name", name}, {"in", in}, {"required", required}};
    if (const std::string comment = Comment(field); !comment.empty()) {
      parameter["description"] = comment;
    }
    parameter["schema"] = FieldSchema(field);
    return parameter;
  }

  static bool IsBodyField(const FieldDescriptor& field,
                          const std::vector<const FieldDescriptor*>& path) {
    return std::ranges::find(path, &field) == path.end() &&
           field.options().GetExtension(api::v1::header).empty();
  }

  static bool HasRequired(const Descriptor& request,
                          const std::vector<const FieldDescriptor*>& path) {
    for (int i = 0; i < request.field_count(); ++i) {
      const FieldDescriptor& field = *request.field(i);
      if (IsBodyField(field, path) && field.options().GetExtension(api::v1::rules).required()) {
        return true;
      }
    }
    return false;
  }

  json::value BodySchema(const MethodDescriptor& method,
                         const std::vector<const FieldDescriptor*>& path, const std::string& body) {
    if (body != "*") return FieldSchema(*method.input_type()->FindFieldByName(body));
    json::object schema = ObjectSchema(*method.input_type(), [&](const FieldDescriptor& field) {
      return IsBodyField(field, path);
    });
    schemas_[method.input_type()->name()] = std::move(schema);
    return Reference(*method.input_type());
  }

  json::object Responses(const MethodDescriptor& method, bool open, bool has_variables) {
    const api::v1::Answer& answer = method.options().GetExtension(api::v1::answer);
    const int status = answer.status() == 0 ? 200 : answer.status();
    json::value schema = MessageSchema(*method.output_type());
    if (!answer.raw()) {
      schema =
          json::object{{"type", "object"},
                       {"required", json::array{"success", "statusCode", "data"}},
                       {"properties", json::object{{"success", json::object{{"const", true}}},
                                                   {"statusCode", json::object{{"const", status}}},
                                                   {"data", std::move(schema)}}}};
    }
    json::object responses;
    responses[std::to_string(status)] = json::object{
        {"description", "Done"},
        {"content",
         json::object{{"application/json", json::object{{"schema", std::move(schema)}}}}}};
    const auto refer = [&](const char* code) {
      responses[code] = json::object{{"$ref", std::string("#/components/responses/E") + code}};
    };
    refer("400");
    refer("401");
    if (!open) refer("403");
    if (has_variables) refer("404");
    for (const char* code : {"409", "413", "415", "422", "429", "431", "500", "503", "504"}) {
      refer(code);
    }
    if (!has_variables) refer("404");
    return responses;
  }

  static json::object ErrorResponses() {
    static constexpr std::pair<const char*, const char*> kErrors[] = {
        {"400", "Malformed or invalid; details name the fields"},
        {"401", "No token, or one that is not valid"},
        {"403", "The caller's role is not enough"},
        {"404", "There is no such thing, or it is somebody else's"},
        {"409", "It contradicts what is there, such as not enough stock"},
        {"413", "The body is too large"},
        {"415", "The body is not application/json"},
        {"422", "The Idempotency-Key was used with another request"},
        {"429", "Too many requests; see Retry-After"},
        {"431", "The headers are too large"},
        {"500", "A fault of the platform"},
        {"503", "A service is away or busy; see Retry-After"},
        {"504", "A service was too late"}};
    json::object responses;
    for (const auto& [code, description] : kErrors) {
      responses[std::string("E") + code] = json::object{
          {"description", description},
          {"content",
           json::object{
               {"application/json",
                json::object{{"schema", json::object{{"$ref", "#/components/schemas/Error"}}}}}}}};
    }
    return responses;
  }

  void AddErrorSchema() {
    const json::object text{{"type", "string"}};
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
    schemas_["Error"] = json::object{
        {"type", "object"},
        {"required",
         json::array{"success", "statusCode", "timestamp", "path", "error", "requestId"}},
        {"properties",
         json::object{{"success", json::object{{"const", false}}},
                      {"statusCode", json::object{{"type", "integer"}}},
                      {"timestamp", json::object{{"type", "string"}, {"format", "date-time"}}},
                      {"path", text},
                      {"error", error},
                      {"requestId", text}}}};
  }

  static json::object Reference(const Descriptor& message) {
    return {{"$ref", "#/components/schemas/" + message.name()}};
  }

  json::value MessageSchema(const Descriptor& message) {
    if (!schemas_.contains(message.name())) {
      schemas_[message.name()] = json::object();  // ends the recursion of a message in itself
      schemas_[message.name()] = ObjectSchema(message, [](const FieldDescriptor&) { return true; });
    }
    return Reference(message);
  }

  template <typename Filter>
  json::object ObjectSchema(const Descriptor& message, const Filter& wanted) {
    json::object properties;
    json::array required;
    for (int i = 0; i < message.field_count(); ++i) {
      const FieldDescriptor& field = *message.field(i);
      if (!wanted(field)) continue;
      json::object schema = FieldSchema(field);
      if (const std::string comment = Comment(field); !comment.empty()) {
        schema["description"] = comment;
      }
      const std::string& alias = field.options().GetExtension(api::v1::alias);
      if (!alias.empty()) {
        json::object other = schema;
        other["description"] = "The same as `" + field.json_name() + "`.";
        properties[alias] = std::move(other);
      }
      if (field.options().GetExtension(api::v1::rules).required()) {
        required.push_back(json::value(field.json_name()));
      }
      properties[field.json_name()] = std::move(schema);
    }
    json::object schema{{"type", "object"}};
    if (const std::string comment = Comment(message); !comment.empty()) {
      schema["description"] = comment;
    }
    if (!required.empty()) schema["required"] = std::move(required);
    schema["properties"] = std::move(properties);
    return schema;
  }

  json::object FieldSchema(const FieldDescriptor& field) {
    if (field.is_map()) {
      return {{"type", "object"},
              {"additionalProperties", ElementSchema(*field.message_type()->map_value())}};
    }
    if (!field.is_repeated()) return ElementSchema(field);
    const api::v1::FieldRules& rules = field.options().GetExtension(api::v1::rules);
    json::object schema{{"type", "array"}, {"items", ElementSchema(field)}};
    const uint32_t least = std::max(rules.min_items(), rules.required() ? 1u : 0u);
    if (least > 0) schema["minItems"] = least;
    if (rules.max_items() > 0) schema["maxItems"] = rules.max_items();
    return schema;
  }

  json::object ElementSchema(const FieldDescriptor& field) {
    const api::v1::FieldRules& rules = field.options().GetExtension(api::v1::rules);
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_BOOL:
        return {{"type", "boolean"}};
      case FieldDescriptor::CPPTYPE_FLOAT:
      case FieldDescriptor::CPPTYPE_DOUBLE:
        return {{"type", "number"}};
      case FieldDescriptor::CPPTYPE_ENUM:
        return EnumSchema(*field.enum_type(), rules);
      case FieldDescriptor::CPPTYPE_STRING:
        return TextSchema(rules);
      case FieldDescriptor::CPPTYPE_MESSAGE:
        if (IsTimestamp(field)) return {{"type", "string"}, {"format", "date-time"}};
        return MessageSchema(*field.message_type()).as_object();
      default:
        return IntegerSchema(field, rules);
    }
  }

  static json::object EnumSchema(const EnumDescriptor& type, const api::v1::FieldRules& rules) {
    json::array names;
    for (int i = 0; i < type.value_count(); ++i) {
      const auto* value = type.value(i);
      if (value->number() == 0 || (rules.has_min() && value->number() < rules.min())) continue;
      names.push_back(json::value(std::string(shop::json::BareName(value))));
    }
    return {{"type", "string"}, {"enum", std::move(names)}};
  }

  static json::object TextSchema(const api::v1::FieldRules& rules) {
    json::object schema{{"type", "string"}};
    const uint32_t least = std::max(rules.min_length(), rules.required() ? 1u : 0u);
    if (least > 0) schema["minLength"] = least;
    if (rules.max_length() > 0) schema["maxLength"] = rules.max_length();
    if (!rules.pattern().empty()) schema["pattern"] = "^(?:" + rules.pattern() + ")$";
    if (rules.email()) schema["format"] = "email";
    if (rules.date()) schema["format"] = "date";
    if (rules.url()) schema["format"] = "uri";
    return schema;
  }

  static json::object IntegerSchema(const FieldDescriptor& field,
                                    const api::v1::FieldRules& rules) {
    if (field.options().GetExtension(api::v1::money)) {
      json::object schema{{"type", "number"}, {"multipleOf", 0.01}};
      if (rules.has_min()) schema["minimum"] = static_cast<double>(rules.min()) / 100;
      if (rules.has_max()) schema["maximum"] = static_cast<double>(rules.max()) / 100;
      return schema;
    }
    const bool is_32 = field.cpp_type() == FieldDescriptor::CPPTYPE_INT32 ||
                       field.cpp_type() == FieldDescriptor::CPPTYPE_UINT32;
    json::object schema{{"type", "integer"}, {"format", is_32 ? "int32" : "int64"}};
    if (rules.has_min()) schema["minimum"] = rules.min();
    if (rules.has_max()) {
      schema["maximum"] = rules.max();
    } else if (!is_32) {
      schema["maximum"] = kMaxInteger;
    }
    return schema;
  }

  json::array tags_;
  json::object paths_;
  json::object schemas_;
};

}  // namespace

std::string OpenApiDocument(const std::vector<const ServiceDescriptor*>& services) {
  return Document(services).Text();
}

std::string AccessTable(const std::vector<const ServiceDescriptor*>& services) {
  std::string table = "| method | HTTP | who may call |\n|---|---|---|\n";
  for (const ServiceDescriptor* service : services) {
    for (int i = 0; i < service->method_count(); ++i) {
      const MethodDescriptor& method = *service->method(i);
      const std::vector<HttpBinding> bindings = HttpBindings(method);
      std::string who;
      const api::v1::Access& access = method.options().GetExtension(api::v1::access);
      for (const int role : access.roles()) {
        const auto* value = api::v1::Role_descriptor()->FindValueByNumber(role);
        who += (who.empty() ? "" : ", ") +
               (role == api::v1::ROLE_GUEST ? "anyone" : std::string(shop::json::BareName(value)));
      }
      for (const std::string& name : access.services()) {
        who += (who.empty() ? "" : ", ") + ("the service " + name);
      }
      const std::string http =
          bindings.empty() ? "internal"
                           : "`" + bindings[0].method + " " + bindings[0].path_template + "`";
      table +=
          "| `" + service->full_name() + "/" + method.name() + "` | " + http + " | " + who + " |\n";
    }
  }
  return table;
}

}  // namespace shop::gateway
