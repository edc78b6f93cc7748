// JSON Schemas of messages and fields as the gateway reads and writes them, with the rules of
// shop.api.v1.rules.
#pragma once

#include <google/protobuf/descriptor.h>

#include <boost/json/object.hpp>
#include <functional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "shop/api/v1/options.pb.h"

namespace shop::gateway::openapi {

// Where a message is. The same one has different rules in requests and in responses.
enum class In { kRequest, kResponse };

using FieldFilter = std::function<bool(const google::protobuf::FieldDescriptor&)>;
inline bool AnyField(const google::protobuf::FieldDescriptor&) {
  return true;
}

std::vector<const google::protobuf::FieldDescriptor*> Fields(
    const google::protobuf::Descriptor& message);
const api::v1::FieldRules& RulesOf(const google::protobuf::FieldDescriptor& field);
bool IsTimestamp(const google::protobuf::FieldDescriptor& field);

// {"type": …}
boost::json::object Typed(const char* type);
// What a comment says, where there is one.
void AddDescription(const std::string& comment, boost::json::object* schema);
// {"$ref": "#/components/<kind>/<name>"}
boost::json::object Reference(const char* kind, const std::string& name);

// The schema of the body of every error.
boost::json::object ErrorSchema();

// The schema of an enum's field: the names that it takes.
boost::json::object EnumSchema(const google::protobuf::FieldDescriptor& field);

// The document's schemas, by name. Each method adds what its result refers to.
class Schemas {
 public:
  // Says beforehand which messages requests and responses hold: one that is in both is two schemas.
  void Add(const google::protobuf::Descriptor& message, In in);

  boost::json::object MessageSchema(const google::protobuf::Descriptor& message, In in);
  boost::json::object FieldSchema(const google::protobuf::FieldDescriptor& field, In in);
  // Of a request's body, with these fields of the message.
  boost::json::object BodySchema(const google::protobuf::Descriptor& request,
                                 const FieldFilter& wanted);

  // All of them. The last call.
  boost::json::object Take() { return std::move(schemas_); }

 private:
  std::string NameOf(const google::protobuf::Descriptor& message, In in) const;
  boost::json::object ObjectSchema(const google::protobuf::Descriptor& message, In in,
                                   const FieldFilter& wanted);
  boost::json::object ElementSchema(const google::protobuf::FieldDescriptor& field, In in);

  std::set<const google::protobuf::Descriptor*> of_requests_;
  std::set<const google::protobuf::Descriptor*> of_responses_;
  boost::json::object schemas_;
};

}  // namespace shop::gateway::openapi
