#include "common/rpc/stream.h"

#include <google/protobuf/descriptor.h>

#include <stdexcept>

#include "shop/api/v1/options.pb.h"

namespace shop::rpc {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

const FieldDescriptor* StreamIdOf(const Descriptor& message) {
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor* field = message.field(i);
    if (!field->options().GetExtension(api::v1::stream_id)) continue;
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_INT64 && !field->is_repeated()) return field;
  }
  throw std::logic_error(message.full_name() + " is streamed and has no int64 with stream_id");
}

}  // namespace shop::rpc
