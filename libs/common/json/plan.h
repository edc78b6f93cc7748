// What the codec needs to know of a message type, derived once from its descriptor. For the codec's
// own files alone.
#pragma once

#include <google/protobuf/descriptor.h>

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace shop::json {

inline constexpr size_t kMaxFields = 256;

enum class Kind {
  kInt32,
  kInt64,
  kUint32,
  kUint64,
  kDouble,
  kFloat,
  kBool,
  kString,
  kBytes,
  kEnum,
  kMoney,
  kTimestamp,
  kMessage,
};

struct EnumPlan {
  // Number and quoted bare name, by number.
  std::vector<std::pair<int, std::string>> names;
  // Bare and full names in upper case.
  std::unordered_map<std::string, int> numbers;
  // "RED, DARK_BLUE", without the zero value: what a refusal offers.
  std::string choices;

  const std::string* Find(int number) const;
};

struct MessagePlan;

struct FieldPlan {
  const google::protobuf::FieldDescriptor* field = nullptr;
  Kind kind = Kind::kMessage;
  bool repeated = false;  // a list or a map
  bool map = false;
  bool has_presence = false;
  bool from_header = false;
  std::string name;                      // unitPrice
  std::string key;                       // "unitPrice":
  const MessagePlan* message = nullptr;  // of the field's type, or of the map's entries
  const EnumPlan* enumeration = nullptr;
  const google::protobuf::FieldDescriptor* cleared_by = nullptr;
};

struct MessagePlan {
  std::vector<FieldPlan> fields;  // in the order of the declaration: by FieldDescriptor::index()
  std::unordered_map<std::string_view, const FieldPlan*>
      by_name;  // all the names a field is read by

  const FieldPlan* Find(std::string_view name) const {
    const auto found = by_name.find(name);
    return found == by_name.end() ? nullptr : found->second;
  }
};

// Numbers for the enum values of newer versions, so that messages can carry what has a name and no
// number here: the same text has the same number for as long as the process, and no enum declares
// one of these. Thread-safe. The number for a text; nothing for one that is too long, or when too
// many are known.
std::optional<int> NumberOfUnknown(std::string_view text);
// The text of such a number, or nullptr; it lives as long as the process.
const std::string* TextOfUnknown(int number);

// The plan of a message type. Made at the first call, kept for good; later calls take no lock.
const MessagePlan& PlanOf(const google::protobuf::Descriptor* descriptor);

}  // namespace shop::json
