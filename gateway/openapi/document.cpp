#include "gateway/openapi/document.h"

#include <absl/strings/ascii.h>
#include <absl/strings/str_join.h>
#include <google/protobuf/empty.pb.h>

#include <algorithm>
#include <boost/json/src.hpp>
#include <cctype>
#include <map>
#include <utility>

#include "common/json/codec.h"
#include "common/rpc/access.h"
#include "common/rpc/stream.h"
#include "gateway/http/conditional.h"
#include "gateway/openapi/comments.h"
#include "gateway/openapi/example.h"
#include "gateway/openapi/schema.h"
#include "gateway/routing/http_rule.h"
#include "shop/api/v1/options.pb.h"

namespace shop::gateway {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::MethodDescriptor;
using google::protobuf::ServiceDescriptor;

namespace openapi {
namespace {

namespace json = boost::json;

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

// Under which name people find the service's operations: OrdersService is "Orders".
std::string GroupName(const ServiceDescriptor& service) {
  static constexpr std::string_view kSuffix = "Service";
  std::string_view name = service.name();
  if (name.ends_with(kSuffix)) name.remove_suffix(kSuffix.size());
  std::string group;
  for (const char c : name) {
    if (!group.empty() && std::isupper(static_cast<unsigned char>(c)) != 0) group += ' ';
    group += c;
  }
  return group;
}

// The first sentence, without its full stop.
std::string Summary(const std::string& comment) {
  std::string summary = comment.substr(0, comment.find(". "));
  if (summary.ends_with('.')) summary.pop_back();
  return summary;
}

std::string RoleName(int role) {
  return std::string(shop::json::BareName(api::v1::Role_descriptor()->FindValueByNumber(role)));
}

// A status that operations can have, and what it means for all of them.
struct ErrorKind {
  int status;
  const char* code;
  const char* message;  // of the example
  const char* description;
  const char* header = nullptr;  // that comes with it
};

constexpr ErrorKind kErrors[] = {
    {400, "INVALID_ARGUMENT", "the request is not valid",
     "Malformed or invalid; `details` name the fields"},
    {401, "UNAUTHENTICATED", "the access token is not valid",
     "No token where one is needed, or one that is not valid", "WWW-Authenticate"},
    {403, "PERMISSION_DENIED", "the caller's role is not enough", "The caller may not do this"},
    {404, "NOT_FOUND", "there is no such order",
     "There is no such thing, or it is somebody else's"},
    {408, "REQUEST_TIMEOUT", "the request took too long to arrive",
     "The request took too long to arrive"},
    {409, "FAILED_PRECONDITION", "only 3 are in stock",
     "It contradicts what is there, such as not enough stock; or another request is at the same "
     "thing, "
     "and `Retry-After` says when to try again"},
    {412, "VERSION_CHANGED", "it has changed since", "It is not what `If-Match` names"},
    {413, "PAYLOAD_TOO_LARGE", "the body is too large", "The body is too large"},
    {415, "UNSUPPORTED_MEDIA_TYPE", "the body has to be application/json in UTF-8",
     "The body is not JSON in UTF-8, or is compressed"},
    {422, "IDEMPOTENCY_KEY_REUSED", "the Idempotency-Key was used with another request",
     "The Idempotency-Key was used with another request"},
    {429, "RESOURCE_EXHAUSTED", "too many requests, try again later",
     "The client asks for too much in a time, or sends too much at once", "Retry-After"},
    {431, "HEADER_TOO_LARGE", "the header is too large", "The headers are too large"},
    {500, "INTERNAL", "something went wrong on our side", "A fault of the platform"},
    {503, "UNAVAILABLE", "the service is away for the moment", "A service is away or busy",
     "Retry-After"},
    {504, "DEADLINE_EXCEEDED", "the request took too long", "A service was too late"}};

// The content of a body: nothing but JSON.
json::object JsonContent(json::value schema, json::value example) {
  return {{"application/json",
           json::object{{"schema", std::move(schema)}, {"example", std::move(example)}}}};
}

class Document {
 public:
  explicit Document(const std::vector<const ServiceDescriptor*>& services) {
    for (const ServiceDescriptor* service : services) Survey(*service);
    for (const ServiceDescriptor* service : services) AddService(*service);
  }

  std::string Text() {
    json::object info{
        {"title", "Shop API"},
        {"version", "1"},
        {"description",
         "Amounts are decimals with two digits, ids are numbers below 2^53, times are RFC 3339 in "
         "UTC. Unknown fields of a body are ignored; null counts as not sent. A method that a path "
         "does not have is 405, with `Allow` and a body like every other error's. Every read can "
         "be asked for with HEAD, every path with OPTIONS. A connection more than a client may "
         "have "
         "is answered 429, and one more than all may have together 503. Where requests are "
         "limited, each answer says by `RateLimit-Policy` and `RateLimit` what is left to the "
         "user, "
         "or to the address of who sends no token. A request for a host that is not served is "
         "421."},
        {"license", json::object{{"name", "Apache-2.0"}, {"identifier", "Apache-2.0"}}}};
    const json::object bearer{{"type", "http"},
                              {"scheme", "bearer"},
                              {"bearerFormat", "JWT"},
                              {"description", "The `accessToken` that logging in answers."}};
    json::object schemas = schemas_.Take();
    schemas["Error"] = ErrorSchema();
    json::object components{{"schemas", std::move(schemas)},
                            {"responses", ErrorResponses()},
                            {"headers", Headers()},
                            {"parameters", CommonParameters()},
                            {"securitySchemes", json::object{{"bearer", bearer}}}};
    return json::serialize(json::object{{"openapi", "3.1.0"},
                                        {"info", std::move(info)},
                                        {"servers", json::array{json::object{{"url", "/"}}}},
                                        {"tags", std::move(tags_)},
                                        {"paths", std::move(paths_)},
                                        {"components", std::move(components)}});
  }

 private:
  // Notes which messages the service's requests and answers hold, and what its paths' reads answer.
  void Survey(const ServiceDescriptor& service) {
    for (int i = 0; i < service.method_count(); ++i) {
      const MethodDescriptor& method = *service.method(i);
      for (const HttpBinding& http : HttpBindings(method)) {
        schemas_.Add(*method.input_type(), In::kRequest);
        schemas_.Add(*method.output_type(), In::kResponse);
        if (http.method == "GET") reads_[http.path_template] = method.output_type();
      }
    }
  }

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
      tags_.push_back(
          json::object{{"name", GroupName(service)}, {"description", Comment(service)}});
  }

  // `number` counts the method's bindings from 1.
  void AddOperation(const MethodDescriptor& method, const HttpBinding& http, int number) {
    const Descriptor& request = *method.input_type();
    std::vector<const FieldDescriptor*> variables;
    const std::string path = TemplatePath(http.path_template, request, &variables);

    json::object operation;
    const std::string comment = Comment(method);
    operation["operationId"] = method.name() + (number == 1 ? "" : std::to_string(number));
    operation["tags"] = json::array{GroupName(*method.service())};
    operation["summary"] = Summary(comment);
    std::vector<std::string> roles;
    for (const int role : method.options().GetExtension(api::v1::access).roles()) {
      roles.push_back(RoleName(role));
    }
    const bool open = rpc::IsPublic(method);
    operation["description"] =
        comment + (comment.empty() ? "" : "\n\n") +
        (open ? "Anybody may call it." : "Who may call it: " + absl::StrJoin(roles, ", ") + ".");
    operation["x-roles"] = json::value_from(roles);
    // Swagger UI puts a lock where there is any.
    operation["security"] =
        open ? json::array{} : json::array{json::object{{"bearer", json::array{}}}};

    const bool tagged = IsTagged(method, http);
    const bool reads = http.method == "GET";
    operation["parameters"] = Parameters(request, variables, http.body, reads && tagged);
    if (!http.body.empty()) operation["requestBody"] = RequestBody(request, variables, http.body);
    json::object responses;
    const auto [status, success] =
        method.server_streaming() ? StreamSuccess(method) : Success(method, tagged);
    responses[std::to_string(status)] = success;
    if (const int empty = method.options().GetExtension(api::v1::answer).empty_status()) {
      responses[std::to_string(empty)] =
          Success(method, empty, *google::protobuf::Empty::descriptor());
    }
    if (method.server_streaming()) {
      responses["101"] = json::object{
          {"description",
           "To a request for a WebSocket: the same messages, as text of the form "
           "`{\"id\":7,\"data\":{…}}`. Where no header can be set, the token is the subprotocol "
           "`bearer.<token>`, offered beside `shop.v1`"}};
    }
    if (reads && tagged) {
      responses["304"] = json::object{
          {"description", "What the client has is still right"},
          {"headers", json::object{{"ETag", Reference("headers", "ETag")},
                                   {"X-Request-Id", Reference("headers", "X-Request-Id")}}}};
    }
    for (const ErrorKind& error : kErrors) {
      if (CanAnswer(error.status, request, http, open, !variables.empty()) ||
          (error.status == 412 && reads && tagged)) {
        const std::string code = std::to_string(error.status);
        responses[code] = Reference("responses", "E" + code);
      }
    }
    operation["responses"] = std::move(responses);
    json::value& item = paths_[path];
    if (!item.is_object()) item = json::object();
    item.as_object()[absl::AsciiStrToLower(http.method)] = std::move(operation);
  }

  // Whether the answer has an entity tag: reads, and changes that answer what a read of their path
  // would, with its version.
  bool IsTagged(const MethodDescriptor& method, const HttpBinding& http) const {
    if (method.options().GetExtension(api::v1::answer).status() != 0) return false;
    if (method.server_streaming()) return false;
    if (http.method == "GET") return true;
    if (http.method != "PUT" && http.method != "PATCH") return false;
    const auto read = reads_.find(http.path_template);
    return read != reads_.end() && read->second == method.output_type() &&
           VersionFields::Of(*method.output_type()).version != nullptr;
  }

  static bool HasHeader(const Descriptor& request, std::string_view name) {
    return std::ranges::any_of(Fields(request), [&](const FieldDescriptor* field) {
      return field->options().GetExtension(api::v1::header) == name;
    });
  }

  static bool CanAnswer(int error, const Descriptor& request, const HttpBinding& http, bool open,
                        bool has_variables) {
    const bool writes = http.method != "GET";
    switch (error) {
      case 403:
        return !open || writes;
      case 404:
        return has_variables || writes;
      case 409:
        return writes;
      case 412:
        return HasHeader(request, "If-Match");
      case 408:
      case 413:
      case 415:
        return !http.body.empty();
      case 422:
        return HasHeader(request, "Idempotency-Key");
      default:
        return true;
    }
  }

  json::array Parameters(const Descriptor& request, const std::vector<const FieldDescriptor*>& path,
                         const std::string& body, bool conditional) {
    json::array parameters;
    for (const FieldDescriptor* field : path) {
      json::object parameter = Parameter(*field, field->json_name(), "path", true);
      parameter["example"] = Example(*field, In::kRequest);
      parameters.push_back(std::move(parameter));
    }
    for (const FieldDescriptor* field : Fields(request)) {
      const std::string& header = field->options().GetExtension(api::v1::header);
      if (header == "If-Match") {
        if (field->options().GetExtension(api::v1::part_version)) continue;  // of the same header
        parameters.push_back(Reference("parameters", header));
      } else if (!header.empty()) {
        parameters.push_back(Parameter(*field, header, "header", false));
      } else if (body.empty() && std::ranges::find(path, field) == path.end() &&
                 (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE || IsTimestamp(*field))) {
        parameters.push_back(
            Parameter(*field, field->json_name(), "query", RulesOf(*field).required()));
      }
    }
    if (conditional) {
      parameters.push_back(Reference("parameters", "If-None-Match"));
      parameters.push_back(Reference("parameters", "If-Match-Read"));
    }
    parameters.push_back(Reference("parameters", "X-Request-Id"));
    parameters.push_back(Reference("parameters", "Request-Timeout"));
    return parameters;
  }

  json::object Parameter(const FieldDescriptor& field, const std::string& name, const char* in,
                         bool required) {
    json::object parameter{{"name", name}, {"in", in}, {"required", required}};
    AddDescription(Comment(field), &parameter);
    parameter["schema"] = schemas_.FieldSchema(field, In::kRequest);
    if (!ExampleText(field).empty()) parameter["example"] = Example(field, In::kRequest);
    return parameter;
  }

  // `body` is "*" or the field that is the body.
  json::object RequestBody(const Descriptor& request,
                           const std::vector<const FieldDescriptor*>& path,
                           const std::string& body) {
    const auto in_body = [&](const FieldDescriptor& field) {
      return std::ranges::find(path, &field) == path.end() &&
             field.options().GetExtension(api::v1::header).empty();
    };
    const FieldDescriptor* part = request.FindFieldByName(body);
    if (part != nullptr && part->options().GetExtension(api::v1::raw_body)) {
      json::object raw{{"required", RulesOf(*part).required()},
                       {"content", json::object{{"application/octet-stream", json::object()}}}};
      AddDescription(Comment(*part), &raw);
      return raw;
    }
    json::object content =
        part == nullptr
            ? JsonContent(schemas_.BodySchema(request, in_body),
                          ObjectExample(request, In::kRequest, in_body))
            : JsonContent(schemas_.FieldSchema(*part, In::kRequest), Example(*part, In::kRequest));
    const bool required = std::ranges::any_of(Fields(request), [&](const FieldDescriptor* field) {
      return in_body(*field) && RulesOf(*field).required();
    });
    return {{"required", required}, {"content", std::move(content)}};
  }

  // The status of a success, and its response.
  std::pair<int, json::object> Success(const MethodDescriptor& method, bool tagged) {
    const api::v1::Answer& answer = method.options().GetExtension(api::v1::answer);
    const int status = answer.status() == 0 ? 200 : answer.status();
    return {status, Success(method, status, *method.output_type(), tagged)};
  }

  // The response of a success that has this message.
  json::object Success(const MethodDescriptor& method, int status, const Descriptor& message,
                       bool tagged = false) {
    json::value schema = schemas_.MessageSchema(message, In::kResponse);
    json::value example = ObjectExample(message, In::kResponse, AnyField);
    if (!method.options().GetExtension(api::v1::answer).raw()) {
      schema =
          json::object{{"type", "object"},
                       {"required", json::array{"success", "statusCode", "data"}},
                       {"properties", json::object{{"success", json::object{{"const", true}}},
                                                   {"statusCode", json::object{{"const", status}}},
                                                   {"data", std::move(schema)}}}};
      example =
          json::object{{"success", true}, {"statusCode", status}, {"data", std::move(example)}};
    }
    json::object headers{{"X-Request-Id", Reference("headers", "X-Request-Id")}};
    if (tagged) headers["ETag"] = Reference("headers", "ETag");
    if (HasHeader(*method.input_type(), "Idempotency-Key")) {
      headers["Idempotent-Replayed"] = Reference("headers", "Idempotent-Replayed");
    }
    const char* description = status == 201 ? "Made" : status == 202 ? "Taken" : "Done";
    return {{"description", description},
            {"headers", std::move(headers)},
            {"content", JsonContent(std::move(schema), std::move(example))}};
  }

  // Server-sent events, each with the JSON of a message.
  std::pair<int, json::object> StreamSuccess(const MethodDescriptor& method) {
    const Descriptor& message = *method.output_type();
    const json::value example = ObjectExample(message, In::kResponse, AnyField);
    const json::value& id = example.at(rpc::StreamIdOf(message)->json_name());
    const json::object schema{
        {"type", "string"},
        {"description",
         "Events of the HTML standard. `data` is the JSON of a message, without an envelope, `id` "
         "its number: sent as `Last-Event-ID`, the stream goes on after it. A comment every 15 "
         "seconds keeps an idle stream alive. The last event is `bye` (connect again after "
         "`retry`), `error` (with the body of an error) or `end`."},
        {"contentMediaType", "application/json"},
        {"contentSchema", schemas_.MessageSchema(message, In::kResponse)}};
    const std::string text =
        "id: " + json::serialize(id) + "\ndata: " + json::serialize(example) + "\n\n";
    return {200,
            json::object{
                {"description", "The stream is open"},
                {"headers", json::object{{"X-Request-Id", Reference("headers", "X-Request-Id")}}},
                {"content", json::object{{"text/event-stream",
                                          json::object{{"schema", schema}, {"example", text}}}}}}};
  }

  static json::object ErrorResponses() {
    json::object responses;
    for (const ErrorKind& error : kErrors) {
      json::object headers{{"X-Request-Id", Reference("headers", "X-Request-Id")}};
      if (error.header != nullptr) headers[error.header] = Reference("headers", error.header);
      json::array details;
      if (error.status == 400) {
        details.push_back(
            json::object{{"field", "items[0].quantity"}, {"message", "must be at least 1"}});
      }
      const json::object example{{"success", false},
                                 {"statusCode", error.status},
                                 {"timestamp", kExampleTime},
                                 {"path", "/api/v1/orders"},
                                 {"error", json::object{{"code", error.code},
                                                        {"message", error.message},
                                                        {"details", std::move(details)}}},
                                 {"requestId", kExampleRequestId}};
      responses["E" + std::to_string(error.status)] =
          json::object{{"description", error.description},
                       {"headers", std::move(headers)},
                       {"content", JsonContent(Reference("schemas", "Error"), example)}};
    }
    return responses;
  }

  static json::object Headers() {
    const auto header = [](const char* description, json::object schema, bool required = true) {
      return json::object{
          {"description", description}, {"required", required}, {"schema", std::move(schema)}};
    };
    return {{"ETag", header("The entity tag of this very answer.", Typed("string"))},
            {"Idempotent-Replayed",
             header("`true` where this is the answer to an earlier request with the same "
                    "Idempotency-Key; else it is not there.",
                    {{"const", "true"}}, false)},
            {"X-Request-Id", header("Under which logs know the request.", Typed("string"))},
            {"Retry-After",
             header("After how many seconds to try again.", {{"type", "integer"}, {"minimum", 1}})},
            {"WWW-Authenticate", header("How to authenticate: Bearer.", Typed("string"))}};
  }

  static json::object CommonParameters() {
    const auto parameter = [](const char* name, const char* description, json::object schema) {
      return json::object{{"name", name},
                          {"in", "header"},
                          {"required", false},
                          {"description", description},
                          {"schema", std::move(schema)}};
    };
    const json::object tags{
        {"type", "string"},
        {"pattern", R"re(^(?:\*|(?:W/)?"[!#-~]*"(?:, ?(?:W/)?"[!#-~]*")*)$)re"}};
    json::object if_match = parameter(
        "If-Match", "Entity tags, or `*`: nothing is done unless one is that of what is there.",
        tags);
    if_match["example"] = "*";
    return {
        {"If-Match", std::move(if_match)},
        {"If-Match-Read",
         parameter("If-Match", "Entity tags, or `*`: 412 unless one is that of the answer.", tags)},
        {"If-None-Match",
         parameter("If-None-Match",
                   "Entity tags, or `*`: 304 where one is that of the answer. Anything else is "
                   "ignored.",
                   Typed("string"))},
        {"X-Request-Id",
         parameter("X-Request-Id", "Comes back, and is in the logs; one is made without it.",
                   Typed("string"))},
        {"Request-Timeout",
         parameter("Request-Timeout", "How many seconds the client waits; less alone counts.",
                   {{"type", "number"}, {"minimum", 0}})}};
  }

  static constexpr char kExampleRequestId[] = "4bf92f3577b34da6a3ce929d0e0e4736";

  std::map<std::string, const Descriptor*> reads_;  // by path template
  json::array tags_;
  json::object paths_;
  Schemas schemas_;
};

}  // namespace
}  // namespace openapi

std::string OpenApiDocument(const std::vector<const ServiceDescriptor*>& services) {
  return openapi::Document(services).Text();
}

std::string AccessTable(const std::vector<const ServiceDescriptor*>& services) {
  std::string table = "| method | HTTP | who may call |\n|---|---|---|\n";
  for (const ServiceDescriptor* service : services) {
    for (int i = 0; i < service->method_count(); ++i) {
      const MethodDescriptor& method = *service->method(i);
      const std::vector<HttpBinding> bindings = HttpBindings(method);
      std::vector<std::string> who;
      const api::v1::Access& access = method.options().GetExtension(api::v1::access);
      for (const int role : access.roles()) {
        who.push_back(role == api::v1::ROLE_GUEST ? "anyone" : openapi::RoleName(role));
      }
      for (const std::string& name : access.services()) who.push_back("the service " + name);
      const std::string http =
          bindings.empty() ? "internal"
                           : "`" + bindings[0].method + " " + bindings[0].path_template + "`";
      table += "| `" + service->full_name() + "/" + method.name() + "` | " + http + " | " +
               absl::StrJoin(who, ", ") + " |\n";
    }
  }
  return table;
}

}  // namespace shop::gateway
