#include "gateway/services.h"

#include <google/protobuf/descriptor_database.h>

#include <algorithm>
#include <string_view>

#include "shop/api/v1/options.pb.h"

namespace shop::gateway {

using google::protobuf::Descriptor;
using google::protobuf::DescriptorPool;
using google::protobuf::FileDescriptor;

namespace {

// The files of the platform's packages that start with `prefix`, by name.
std::vector<const FileDescriptor*> DeclaredFiles(std::string_view prefix) {
  std::vector<std::string> names;
  DescriptorPool::internal_generated_database()->FindAllFileNames(&names);
  std::sort(names.begin(), names.end());
  std::vector<const FileDescriptor*> files;
  for (const std::string& name : names) {
    const FileDescriptor* file = DescriptorPool::generated_pool()->FindFileByName(name);
    if (file != nullptr && std::string_view(file->package()).starts_with(prefix)) {
      files.push_back(file);
    }
  }
  return files;
}

}  // namespace

Services DeclaredServices() {
  Services services;
  for (const FileDescriptor* file : DeclaredFiles("shop.")) {
    for (int i = 0; i < file->service_count(); ++i) services.push_back(file->service(i));
  }
  return services;
}

std::vector<const Descriptor*> DeclaredEvents() {
  std::vector<const Descriptor*> events;
  for (const FileDescriptor* file : DeclaredFiles("shop.events.v1")) {
    for (int i = 0; i < file->message_type_count(); ++i) {
      const Descriptor* message = file->message_type(i);
      if (message->options().HasExtension(api::v1::event)) events.push_back(message);
    }
  }
  return events;
}

std::string ProcessOf(const google::protobuf::ServiceDescriptor& service) {
  const std::string_view package = service.file()->package();
  const size_t start = std::min(package.find('.'), package.size() - 1) + 1;
  return std::string(package.substr(start, package.find('.', start) - start));
}

}  // namespace shop::gateway
