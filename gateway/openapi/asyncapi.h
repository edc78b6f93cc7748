// The AsyncAPI 3.0 document of everything that is published on Kafka: topics, keys, headers, and the
// events with their schemas and examples. Made from the same descriptors that events are written by,
// with the protos' comments as its prose. https://www.asyncapi.com/docs/reference/specification/v3.0.0
#pragma once

#include <google/protobuf/descriptor.h>

#include <string>
#include <vector>

namespace shop::gateway {

// The document as JSON text. The same descriptors give the same bytes.
std::string AsyncApiDocument(const std::vector<const google::protobuf::Descriptor*>& events);

// A page that shows the document at /asyncapi.json to people. It needs nothing else.
std::string EventsPage();

}  // namespace shop::gateway
