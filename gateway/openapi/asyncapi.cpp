#include "gateway/openapi/asyncapi.h"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <map>
#include <string_view>

#include "common/messaging/event.h"
#include "gateway/embedded.h"
#include "gateway/openapi/comments.h"
#include "gateway/openapi/example.h"
#include "gateway/openapi/schema.h"
#include "shop/api/v1/options.pb.h"

SHOP_EMBED(shop_events_page, SHOP_EVENTS_PAGE);

namespace shop::gateway {

using google::protobuf::Descriptor;

namespace openapi {
namespace {

namespace json = boost::json;

constexpr char kExampleId[] = "b9d1f0e4-6c1f-5b8e-9a50-2f1d3c4b5a69";
constexpr char kExampleTrace[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

json::object Text(const char* description) {
  json::object schema = Typed("string");
  AddDescription(description, &schema);
  return schema;
}

// What the headers of every event have in common.
json::object HeaderSchema() {
  json::object version = Text("The version of CloudEvents.");
  version["const"] = "1.0";
  json::object id = Text(
      "Identifies the event: it is the same however often the event is delivered, so a consumer "
      "that "
      "remembers it handles an event once.");
  json::object time = Text("When it was written, in UTC.");
  time["format"] = "date-time";
  json::object content = Text("What the value is.");
  content["const"] = "application/json";
  return {{"type", "object"},
          {"required", json::array{"ce_specversion", "ce_id", "ce_type", "ce_source", "ce_subject",
                                   "ce_time", "content-type"}},
          {"properties",
           json::object{
               {"ce_specversion", std::move(version)},
               {"ce_id", std::move(id)},
               {"ce_type", Text("The name of the event.")},
               {"ce_source", Text("The service that published it, such as /orders.")},
               {"ce_subject", Text("The same as the record's key.")},
               {"ce_time", std::move(time)},
               {"content-type", std::move(content)},
               {"traceparent",
                Text("The trace that it belongs to: https://www.w3.org/TR/trace-context/")},
               {"x-request-id",
                Text("The id of the request that it comes from, where the client gave one.")}}}};
}

std::string Publisher(const Descriptor& event) {
  const api::v1::Event& option = event.options().GetExtension(api::v1::event);
  return option.publisher().empty() ? option.topic() : option.publisher();
}

class EventsDocument {
 public:
  explicit EventsDocument(const std::vector<const Descriptor*>& events) {
    for (const Descriptor* event : events) schemas_.Add(*event, In::kResponse);
    for (const Descriptor* event : events) Add(*event);
  }

  std::string Text() {
    const json::object info{
        {"title", "Shop events"},
        {"version", "1"},
        {"description",
         "What happens in the shop, as CloudEvents 1.0 in Kafka's binary mode: attributes are "
         "headers, the value is JSON. Events with the same key arrive in the order in which they "
         "happened, each at least once. Amounts are decimals with two digits, ids are numbers "
         "below "
         "2^53, times are RFC 3339 in UTC. Read tolerantly: fields and enum values come in "
         "addition, "
         "and an event that an earlier release wrote lacks those that came after it."},
        {"license", json::object{{"name", "Apache-2.0"}}}};
    const json::object kafka{
        {"host", "localhost:9092"},
        {"protocol", "kafka"},
        {"description", "The broker of `make up`; elsewhere KAFKA_BOOTSTRAP_SERVERS says which."}};
    json::object trait{{"contentType", "application/json"}, {"headers", HeaderSchema()}};
    json::object components{{"messages", std::move(messages_)},
                            {"schemas", schemas_.Take()},
                            {"messageTraits", json::object{{"CloudEvent", std::move(trait)}}}};
    return json::serialize(json::object{{"asyncapi", "3.0.0"},
                                        {"info", info},
                                        {"defaultContentType", "application/json"},
                                        {"servers", json::object{{"kafka", kafka}}},
                                        {"channels", std::move(channels_)},
                                        {"operations", std::move(operations_)},
                                        {"components", std::move(components)}});
  }

 private:
  static json::object ReferenceTo(const std::string& pointer) { return {{"$ref", pointer}}; }

  void Add(const Descriptor& event) {
    const api::v1::Event& option = event.options().GetExtension(api::v1::event);
    const std::string name = messaging::TypeName(event);
    if (!channels_.contains(option.topic())) AddChannel(option.topic(), event);
    channels_[option.topic()].as_object()["messages"].as_object()[name] =
        Reference("messages", name);
    operations_["publish-" + option.topic()].as_object()["messages"].as_array().push_back(
        ReferenceTo("#/channels/" + option.topic() + "/messages/" + name));
    messages_[name] = Message(event, option, name);
  }

  void AddChannel(const std::string& topic, const Descriptor& event) {
    channels_[topic] = json::object{
        {"address", topic},
        {"description", Comment(*event.file()) + " Published by " + Publisher(event) + "."},
        {"servers", json::array{ReferenceTo("#/servers/kafka")}},
        {"messages", json::object()},
        {"bindings", json::object{{"kafka", json::object{{"topic", topic}}}}}};
    operations_["publish-" + topic] =
        json::object{{"action", "send"},
                     {"channel", ReferenceTo("#/channels/" + topic)},
                     {"summary", "What the shop publishes on topic " + topic},
                     {"messages", json::array()}};
  }

  json::object Message(const Descriptor& event, const api::v1::Event& option,
                       const std::string& name) {
    const std::string comment = Comment(event);
    const auto* key = event.FindFieldByName(option.key());
    const bool is_text = key->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_STRING;
    json::object key_schema{{"type", "string"}};
    if (!is_text) key_schema["pattern"] = "^[0-9]+$";
    key_schema["description"] = "`" + key->json_name() + (is_text ? "`." : "` in decimal.");
    const json::object payload = ObjectExample(event, In::kResponse, AnyField);
    const json::value& key_example = payload.at(key->json_name());
    const std::string subject =
        is_text ? std::string(key_example.as_string().c_str()) : json::serialize(key_example);
    json::object headers{{"ce_specversion", "1.0"},
                         {"ce_id", kExampleId},
                         {"ce_type", name},
                         {"ce_source", "/" + Publisher(event)},
                         {"ce_subject", subject},
                         {"ce_time", kExampleTime},
                         {"content-type", "application/json"},
                         {"traceparent", kExampleTrace}};
    return {
        {"name", name},
        {"title", name},
        {"summary", comment.substr(0, comment.find(". "))},
        {"description", comment},
        {"traits", json::array{Reference("messageTraits", "CloudEvent")}},
        {"payload", schemas_.MessageSchema(event, In::kResponse)},
        {"bindings", json::object{{"kafka", json::object{{"key", std::move(key_schema)}}}}},
        {"examples", json::array{json::object{
                         {"name", name}, {"headers", std::move(headers)}, {"payload", payload}}}}};
  }

  Schemas schemas_;
  json::object channels_;
  json::object operations_;
  json::object messages_;
};

}  // namespace
}  // namespace openapi

std::string AsyncApiDocument(const std::vector<const Descriptor*>& events) {
  return openapi::EventsDocument(events).Text();
}

std::string EventsPage() {
  return std::string(SHOP_EMBEDDED(shop_events_page));
}

}  // namespace shop::gateway
