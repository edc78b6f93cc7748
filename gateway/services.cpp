#include "gateway/services.h"

#include <google/protobuf/descriptor_database.h>

#include <algorithm>
#include <string_view>

namespace shop::gateway {

using google::protobuf::DescriptorPool;

Services DeclaredServices() {
  Services services;
  std::vector<std::string> files;
  DescriptorPool::internal_generated_database()->FindAllFileNames(&files);
  std::sort(files.begin(), files.end());
  for (const std::string& name : files) {
    const auto* file = DescriptorPool::generated_pool()->FindFileByName(name);
    if (file == nullptr || !std::string_view(file->package()).starts_with("shop.")) continue;
    for (int i = 0; i < file->service_count(); ++i) services.push_back(file->service(i));
  }
  return services;
}

std::string ProcessOf(const google::protobuf::ServiceDescriptor& service) {
  const std::string_view package = service.file()->package();
  const size_t start = std::min(package.find('.'), package.size() - 1) + 1;
  return std::string(package.substr(start, package.find('.', start) - start));
}

}  // namespace shop::gateway
