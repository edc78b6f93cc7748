#include "gateway/openapi/comments.h"

#include <absl/strings/str_join.h>
#include <absl/strings/str_split.h>
#include <google/protobuf/descriptor.pb.h>

#include <string_view>
#include <vector>

#include "gateway/openapi/descriptors.h"

namespace shop::gateway::openapi {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;
using google::protobuf::MethodDescriptor;
using google::protobuf::ServiceDescriptor;

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

// The comment's lines as one.
std::string OneLine(const std::string& comment) {
  return absl::StrJoin(absl::StrSplit(comment, absl::ByAnyChar(" \n"), absl::SkipEmpty()), " ");
}

template <typename Element>
std::string CommentOf(const Element* element) {
  google::protobuf::SourceLocation location;
  if (element == nullptr || !element->GetSourceLocation(&location)) return {};
  return OneLine(location.leading_comments);
}

// A comment may end with what the thing looks like, as JSON: `Example: "Silent Mouse"`.
constexpr std::string_view kExampleMark = "Example: ";

}  // namespace

std::string Comment(const MethodDescriptor& method) {
  return CommentOf(CommentedPool().FindMethodByName(method.full_name()));
}

std::string Comment(const Descriptor& message) {
  return CommentOf(CommentedPool().FindMessageTypeByName(message.full_name()));
}

std::string Comment(const FieldDescriptor& field) {
  const std::string comment = CommentOf(CommentedPool().FindFieldByName(field.full_name()));
  return OneLine(comment.substr(0, comment.find(kExampleMark)));
}

std::string Comment(const FileDescriptor& file) {
  const FileDescriptor* found = CommentedPool().FindFileByName(file.name());
  google::protobuf::SourceLocation location;
  const std::vector<int> package{google::protobuf::FileDescriptorProto::kPackageFieldNumber};
  if (found == nullptr || !found->GetSourceLocation(package, &location)) return {};
  return OneLine(location.leading_comments);
}

std::string Comment(const ServiceDescriptor& service) {
  const std::string comment = CommentOf(CommentedPool().FindServiceByName(service.full_name()));
  return comment.empty() ? Comment(*service.file()) : comment;
}

std::string ExampleText(const FieldDescriptor& field) {
  const std::string comment = CommentOf(CommentedPool().FindFieldByName(field.full_name()));
  const size_t mark = comment.find(kExampleMark);
  return mark == std::string::npos ? "" : comment.substr(mark + kExampleMark.size());
}

}  // namespace shop::gateway::openapi
