// What the protos say in comments. The descriptors that are compiled into a process have none: these
// are read from the descriptor set. Thread-safe.
#pragma once

#include <google/protobuf/descriptor.h>

#include <string>

namespace shop::gateway::openapi {

// The comment before the declaration, its lines as one; "" without one. That of a field goes
// without its example.
std::string Comment(const google::protobuf::MethodDescriptor& method);
std::string Comment(const google::protobuf::Descriptor& message);
std::string Comment(const google::protobuf::FieldDescriptor& field);
// That of the package: what the file is about.
std::string Comment(const google::protobuf::FileDescriptor& file);
// Without one of its own, a service has that of its package.
std::string Comment(const google::protobuf::ServiceDescriptor& service);

// The example at the end of the field's comment, as JSON; "" without one.
std::string ExampleText(const google::protobuf::FieldDescriptor& field);

}  // namespace shop::gateway::openapi
