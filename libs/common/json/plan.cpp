#include "common/json/plan.h"

#include <algorithm>
#include <deque>
#include <limits>
#include <memory>
#include <mutex>
#include <stdexcept>

#include "common/json/codec.h"
#include "shop/api/v1/options.pb.h"

namespace shop::json {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;

std::string Upper(std::string_view text) {
  std::string upper(text);
  std::transform(upper.begin(), upper.end(), upper.begin(),
                 [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
  return upper;
}

// OrderStatus is ORDER_STATUS_, and SKUKind is SKU_KIND_.
std::string PrefixOf(std::string_view enum_name) {
  std::string prefix;
  for (size_t i = 0; i < enum_name.size(); ++i) {
    const auto is_upper = [&](size_t at) {
      return at < enum_name.size() && enum_name[at] >= 'A' && enum_name[at] <= 'Z';
    };
    const bool starts_word = i > 0 && is_upper(i) &&
                             (!is_upper(i - 1) || (i + 1 < enum_name.size() && !is_upper(i + 1)));
    if (starts_word) prefix += '_';
    prefix += enum_name[i];
  }
  return Upper(prefix) + '_';
}

Kind KindOf(const FieldDescriptor& field) {
  const bool money = field.options().GetExtension(api::v1::money);
  if (money && field.cpp_type() != FieldDescriptor::CPPTYPE_INT64) {
    throw std::logic_error(field.full_name() + " is money and not an int64");
  }
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return Kind::kInt32;
    case FieldDescriptor::CPPTYPE_INT64:
      return money ? Kind::kMoney : Kind::kInt64;
    case FieldDescriptor::CPPTYPE_UINT32:
      return Kind::kUint32;
    case FieldDescriptor::CPPTYPE_UINT64:
      return Kind::kUint64;
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return Kind::kDouble;
    case FieldDescriptor::CPPTYPE_FLOAT:
      return Kind::kFloat;
    case FieldDescriptor::CPPTYPE_BOOL:
      return Kind::kBool;
    case FieldDescriptor::CPPTYPE_ENUM:
      return Kind::kEnum;
    case FieldDescriptor::CPPTYPE_STRING:
      return field.type() == FieldDescriptor::TYPE_BYTES ? Kind::kBytes : Kind::kString;
    case FieldDescriptor::CPPTYPE_MESSAGE:
      break;
  }
  return field.message_type()->full_name() == "google.protobuf.Timestamp" ? Kind::kTimestamp
                                                                          : Kind::kMessage;
}

class Plans {
 public:
  const MessagePlan& Of(const Descriptor* descriptor) {
    const std::lock_guard lock(mutex_);
    unfinished_.clear();
    try {
      return Make(descriptor);
    } catch (...) {
      for (const Descriptor* made : unfinished_) messages_.erase(made);  // they refer to each other
      throw;
    }
  }

 private:
  // A type can contain itself, so the plan is in the map before it is filled. No other thread sees it
  // half made: the lock lasts until all that it refers to is complete.
  const MessagePlan& Make(const Descriptor* descriptor) {
    if (const auto found = messages_.find(descriptor); found != messages_.end()) {
      return *found->second;
    }
    if (descriptor->field_count() > static_cast<int>(kMaxFields)) {
      throw std::logic_error(descriptor->full_name() + " has too many fields for JSON");
    }
    MessagePlan& plan = *(messages_[descriptor] = std::make_unique<MessagePlan>());
    unfinished_.push_back(descriptor);
    Fill(*descriptor, &plan);
    return plan;
  }

  void Fill(const Descriptor& descriptor, MessagePlan* plan) {
    plan->fields.resize(static_cast<size_t>(descriptor.field_count()));
    for (int i = 0; i < descriptor.field_count(); ++i) {
      const FieldDescriptor& field = *descriptor.field(i);
      FieldPlan& made = plan->fields[static_cast<size_t>(i)];
      made.field = &field;
      made.kind = KindOf(field);
      made.repeated = field.is_repeated();
      made.map = field.is_map();
      made.has_presence = field.has_presence();
      made.name = field.json_name();
      WriteString(made.name, &made.key);
      made.key += ':';
      if (made.map &&
          field.message_type()->map_key()->cpp_type() != FieldDescriptor::CPPTYPE_STRING) {
        throw std::logic_error(field.full_name() + " is a map whose keys are not strings");
      }
      if (made.kind == Kind::kMessage) made.message = &Make(field.message_type());
      if (made.kind == Kind::kEnum) made.enumeration = &Make(field.enum_type());

      const google::protobuf::FieldOptions& options = field.options();
      if (options.HasExtension(api::v1::cleared_by)) {
        made.cleared_by = descriptor.FindFieldByName(options.GetExtension(api::v1::cleared_by));
        if (made.cleared_by == nullptr || !made.cleared_by->is_repeated() ||
            made.cleared_by->type() != FieldDescriptor::TYPE_STRING) {
          throw std::logic_error(field.full_name() + " is cleared by no repeated string");
        }
      }
      made.from_header = options.HasExtension(api::v1::header);
      if (made.from_header) continue;
      plan->by_name.emplace(made.name, &made);
      plan->by_name.emplace(field.name(), &made);
      if (options.HasExtension(api::v1::alias)) {
        plan->by_name.emplace(options.GetExtension(api::v1::alias), &made);
      }
    }
  }

  const EnumPlan& Make(const EnumDescriptor* descriptor) {
    std::unique_ptr<EnumPlan>& plan = enums_[descriptor];
    if (plan) return *plan;
    plan = std::make_unique<EnumPlan>();
    for (int i = 0; i < descriptor->value_count(); ++i) {
      const EnumValueDescriptor* value = descriptor->value(i);
      const std::string_view bare = BareName(value);
      plan->numbers.emplace(Upper(bare), value->number());
      plan->numbers.emplace(Upper(value->name()), value->number());
      if (plan->Find(value->number()) != nullptr)
        continue;  // allow_alias: the first name is written
      std::string quoted;
      WriteString(bare, &quoted);
      plan->names.emplace_back(value->number(), std::move(quoted));
      if (value->number() == 0) continue;
      if (!plan->choices.empty()) plan->choices += ", ";
      plan->choices += bare;
    }
    return *plan;
  }

  std::mutex mutex_;
  std::unordered_map<const Descriptor*, std::unique_ptr<MessagePlan>> messages_;
  std::vector<const Descriptor*> unfinished_;  // made by the call of Of that is running
  std::unordered_map<const EnumDescriptor*, std::unique_ptr<EnumPlan>> enums_;
};

// The texts of unknown enum values, each at the place that its number says.
class UnknownValues {
 public:
  std::optional<int> NumberOf(std::string_view text) {
    const std::lock_guard lock(mutex_);
    for (size_t i = 0; i < texts_.size(); ++i) {
      if (texts_[i] == text) return kFirst + static_cast<int>(i);
    }
    // Texts come from outside and are never forgotten.
    if (text.size() > kLongest || texts_.size() == kMost) return std::nullopt;
    texts_.emplace_back(text);
    return kFirst + static_cast<int>(texts_.size() - 1);
  }

  const std::string* TextOf(int number) {
    const std::lock_guard lock(mutex_);
    if (number >= kFirst + static_cast<int>(texts_.size())) return nullptr;
    return &texts_[static_cast<size_t>(number - kFirst)];
  }

 private:
  static constexpr int kFirst = std::numeric_limits<int>::min();
  static constexpr size_t kMost = 1'000;
  static constexpr size_t kLongest = 100;

  std::mutex mutex_;
  std::deque<std::string> texts_;  // references to them stay good
};

UnknownValues& Unknown() {
  static UnknownValues& values = *new UnknownValues;  // used until the last thread ends
  return values;
}

}  // namespace

std::optional<int> NumberOfUnknown(std::string_view text) {
  return Unknown().NumberOf(text);
}

const std::string* TextOfUnknown(int number) {
  return Unknown().TextOf(number);
}

const std::string* EnumPlan::Find(int number) const {
  for (const auto& [known, name] : names) {
    if (known == number) return &name;
  }
  return nullptr;
}

const MessagePlan& PlanOf(const Descriptor* descriptor) {
  static Plans& plans = *new Plans;  // used until the last thread ends
  thread_local std::unordered_map<const Descriptor*, const MessagePlan*> known;
  const MessagePlan*& plan = known[descriptor];
  if (plan == nullptr) plan = &plans.Of(descriptor);
  return *plan;
}

const FieldDescriptor* FindField(const Descriptor* message, std::string_view name) {
  const FieldPlan* plan = PlanOf(message).Find(name);
  return plan == nullptr ? nullptr : plan->field;
}

std::string_view BareName(const EnumValueDescriptor* value) {
  const std::string prefix = PrefixOf(value->type()->name());
  std::string_view name = value->name();
  if (name.size() > prefix.size() && name.starts_with(prefix)) name.remove_prefix(prefix.size());
  return name;
}

}  // namespace shop::json
