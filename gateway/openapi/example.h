// Examples of messages and fields, as JSON.
#pragma once

#include <google/protobuf/descriptor.h>

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include "gateway/openapi/schema.h"

namespace shop::gateway::openapi {

inline constexpr char kExampleTime[] = "2026-01-31T12:00:00.000Z";

// The example in the field's comment, or a value that satisfies the field's rules.
boost::json::value Example(const google::protobuf::FieldDescriptor& field, In in);

// In a request: the required fields, and those with an example. In a response: the fields that are
// always there, times and messages.
boost::json::object ObjectExample(const google::protobuf::Descriptor& message, In in,
                                  const FieldFilter& wanted);

}  // namespace shop::gateway::openapi
