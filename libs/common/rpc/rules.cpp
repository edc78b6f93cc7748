#include "common/rpc/rules.h"

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>
#include <re2/re2.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <stdexcept>
#include <unordered_map>
#include <utility>
#include <vector>

#include "common/core/amount.h"
#include "common/core/timestamp.h"
#include "shop/api/v1/options.pb.h"

namespace shop::rpc {
namespace {

using api::v1::FieldRules;
using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr int kMostViolations = 32;

struct Plan;

// The rules of one field.
struct FieldPlan {
  const FieldDescriptor* field;
  FieldRules rules;
  bool money = false;
  std::unique_ptr<re2::RE2> pattern;
  const Plan* message = nullptr;  // of a message field
  bool time = false;              // whether that is a google.protobuf.Timestamp
};

struct Plan {
  std::vector<FieldPlan> fields;
};

bool IsInteger(const FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
    case FieldDescriptor::CPPTYPE_INT64:
    case FieldDescriptor::CPPTYPE_UINT32:
    case FieldDescriptor::CPPTYPE_UINT64:
      return true;
    default:
      return false;
  }
}

void RequireFitting(const FieldDescriptor& field, const FieldRules& rules) {
  const bool for_strings = rules.min_length() != 0 || rules.max_length() != 0 ||
                           !rules.pattern().empty() || rules.email() || rules.date() ||
                           rules.url() || rules.name();
  const bool for_integers = rules.has_min() || rules.has_max();
  const bool for_lists = rules.min_items() != 0 || rules.max_items() != 0;
  if ((for_strings && field.type() != FieldDescriptor::TYPE_STRING) ||
      (for_integers && !IsInteger(field) && field.cpp_type() != FieldDescriptor::CPPTYPE_ENUM) ||
      (for_lists && !field.is_repeated())) {
    throw std::logic_error(field.full_name() + " has a rule that does not fit its type");
  }
}

// The plans of all message types seen, each made once.
class Plans {
 public:
  const Plan& Of(const Descriptor* type) {
    {
      const std::shared_lock lock(mutex_);
      const auto found = plans_.find(type);
      if (found != plans_.end()) return *found->second;
    }
    const std::unique_lock lock(mutex_);
    // Others see complete plans only: a rule that throws leaves nothing behind.
    std::unordered_map<const Descriptor*, std::unique_ptr<Plan>> made;
    Make(type, made);
    plans_.merge(made);
    return *plans_.at(type);
  }

 private:
  using Map = std::unordered_map<const Descriptor*, std::unique_ptr<Plan>>;

  const Plan* Make(const Descriptor* type, Map& made) {
    if (const auto found = plans_.find(type); found != plans_.end()) return found->second.get();
    if (const auto found = made.find(type); found != made.end()) return found->second.get();
    // Entered before its fields are read, as a message may contain its own type.
    Plan* plan = made.emplace(type, std::make_unique<Plan>()).first->second.get();
    for (int i = 0; i < type->field_count(); ++i) {
      const FieldDescriptor& field = *type->field(i);
      const bool has_rules = field.options().HasExtension(api::v1::rules);
      FieldPlan field_plan{&field, field.options().GetExtension(api::v1::rules)};
      RequireFitting(field, field_plan.rules);
      field_plan.money = field.options().GetExtension(api::v1::money);
      if (!field_plan.rules.pattern().empty()) {
        field_plan.pattern =
            std::make_unique<re2::RE2>(field_plan.rules.pattern(), re2::RE2::Quiet);
        if (!field_plan.pattern->ok()) {
          throw std::logic_error(field.full_name() +
                                 " has a pattern that is not RE2: " + field_plan.pattern->error());
        }
      }
      if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        field_plan.message = Make(field.message_type(), made);
        field_plan.time = field.message_type()->full_name() == "google.protobuf.Timestamp";
      }
      if (has_rules || field_plan.message != nullptr ||
          field.type() == FieldDescriptor::TYPE_STRING ||
          field.cpp_type() == FieldDescriptor::CPPTYPE_ENUM) {
        plan->fields.push_back(std::move(field_plan));
      }
    }
    return plan;
  }

  std::shared_mutex mutex_;
  Map plans_;
};

size_t CodePoints(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

std::string Characters(uint32_t count) {
  return std::to_string(count) + (count == 1 ? " character" : " characters");
}

bool IsEmail(const std::string& text) {
  static const re2::RE2 kSyntax(kEmailPattern);
  return text.size() <= kLongestEmail && re2::RE2::FullMatch(text, kSyntax);
}

// A full-date of RFC 3339 that is in the calendar, from the year 1 on.
bool IsDate(const std::string& text) {
  static const re2::RE2 kSyntax(R"re(([0-9]{4})-([0-9]{2})-([0-9]{2}))re");
  int year = 0;
  unsigned month = 0;
  unsigned day = 0;
  return re2::RE2::FullMatch(text, kSyntax, &year, &month, &day) && year >= 1 &&
         std::chrono::year_month_day(std::chrono::year(year), std::chrono::month(month),
                                     std::chrono::day(day))
             .ok();
}

bool IsUrl(const std::string& text) {
  static const re2::RE2 kSyntax(kUrlPattern);
  return re2::RE2::FullMatch(text, kSyntax);
}

bool IsName(const std::string& text) {
  static const re2::RE2 kSyntax(kNamePattern);
  return re2::RE2::FullMatch(text, kSyntax);
}

// What mail programs make a link of, except the bare name of a host, which could be somebody's initials.
bool HasLink(const std::string& text) {
  static const re2::RE2 kLink(R"re((?i)://|\bwww\.|[\pL\pN-]{2,}\.\pL{2,}/)re");
  return re2::RE2::PartialMatch(text, kLink);
}

std::string Amount(int64_t value, bool money) {
  return money ? AmountText(value) : std::to_string(value);
}

// One walk through one message.
class Check {
 public:
  void Walk(const Message& message, const Plan& plan, const std::string& prefix) {
    const Reflection& reflection = *message.GetReflection();
    for (const FieldPlan& plan_of_field : plan.fields) {
      if (Full()) return;
      if (plan_of_field.field->is_repeated()) {
        List(message, reflection, plan_of_field, prefix);
      } else {
        Single(message, reflection, plan_of_field, prefix);
      }
    }
  }

  std::vector<FieldViolation> TakeViolations() { return std::move(violations_); }

 private:
  // Where a value is; its text is made only when needed.
  struct Place {
    const std::string& prefix;
    const FieldDescriptor* field;
    int index = -1;

    std::string Path() const {
      std::string path = prefix + field->json_name();
      if (index >= 0) path += "[" + std::to_string(index) + "]";
      return path;
    }
  };

  bool Full() const { return violations_.size() >= kMostViolations; }

  void Add(const Place& place, std::string message) {
    if (!Full()) violations_.push_back({place.Path(), std::move(message)});
  }

  void List(const Message& message, const Reflection& reflection, const FieldPlan& plan,
            const std::string& prefix) {
    const Place place{prefix, plan.field};
    const int size = reflection.FieldSize(message, plan.field);
    const uint32_t most = plan.rules.max_items();
    if (size == 0 && (plan.rules.required() || plan.rules.min_items() == 1)) {
      return Add(place, "must not be empty");
    }
    if (static_cast<uint32_t>(size) < plan.rules.min_items()) {
      return Add(place, fmt::format("must have at least {} items", plan.rules.min_items()));
    }
    if (most != 0 && static_cast<uint32_t>(size) > most) {
      return Add(place, fmt::format("must have at most {} {}", most, most == 1 ? "item" : "items"));
    }
    std::string scratch;
    for (int i = 0; i < size && !Full(); ++i) {
      const Place element{prefix, plan.field, i};
      switch (plan.field->cpp_type()) {
        case FieldDescriptor::CPPTYPE_MESSAGE:
          Inner(reflection.GetRepeatedMessage(message, plan.field, i), plan, element);
          break;
        case FieldDescriptor::CPPTYPE_STRING:
          Text(reflection.GetRepeatedStringReference(message, plan.field, i, &scratch), plan,
               element);
          break;
        case FieldDescriptor::CPPTYPE_ENUM:
          Enum(reflection.GetRepeatedEnumValue(message, plan.field, i), plan, element);
          break;
        case FieldDescriptor::CPPTYPE_INT32:
          Integer(reflection.GetRepeatedInt32(message, plan.field, i), plan, element);
          break;
        case FieldDescriptor::CPPTYPE_INT64:
          Integer(reflection.GetRepeatedInt64(message, plan.field, i), plan, element);
          break;
        case FieldDescriptor::CPPTYPE_UINT32:
          Integer(reflection.GetRepeatedUInt32(message, plan.field, i), plan, element);
          break;
        case FieldDescriptor::CPPTYPE_UINT64:
          Integer(reflection.GetRepeatedUInt64(message, plan.field, i), plan, element);
          break;
        default:
          break;
      }
    }
  }

  void Single(const Message& message, const Reflection& reflection, const FieldPlan& plan,
              const std::string& prefix) {
    const Place place{prefix, plan.field};
    // Without presence this is: not the default value.
    if (!reflection.HasField(message, plan.field)) {
      if (plan.rules.required()) {
        Add(place,
            plan.field->cpp_type() == FieldDescriptor::CPPTYPE_STRING && !plan.field->has_presence()
                ? "must not be empty"
                : "is required");
      }
      return;
    }
    std::string scratch;
    switch (plan.field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_MESSAGE:
        Inner(reflection.GetMessage(message, plan.field), plan, place);
        break;
      case FieldDescriptor::CPPTYPE_STRING:
        Text(reflection.GetStringReference(message, plan.field, &scratch), plan, place);
        break;
      case FieldDescriptor::CPPTYPE_ENUM:
        Enum(reflection.GetEnumValue(message, plan.field), plan, place);
        break;
      case FieldDescriptor::CPPTYPE_INT32:
        Integer(reflection.GetInt32(message, plan.field), plan, place);
        break;
      case FieldDescriptor::CPPTYPE_INT64:
        Integer(reflection.GetInt64(message, plan.field), plan, place);
        break;
      case FieldDescriptor::CPPTYPE_UINT32:
        Integer(reflection.GetUInt32(message, plan.field), plan, place);
        break;
      case FieldDescriptor::CPPTYPE_UINT64:
        Integer(reflection.GetUInt64(message, plan.field), plan, place);
        break;
      default:
        break;
    }
  }

  void Inner(const Message& message, const FieldPlan& plan, const Place& place) {
    if (plan.time) return Time(message, place);
    if (!plan.message->fields.empty()) Walk(message, *plan.message, place.Path() + ".");
  }

  void Time(const Message& time, const Place& place) {
    const Descriptor& type = *time.GetDescriptor();
    const int64_t seconds = time.GetReflection()->GetInt64(time, type.FindFieldByName("seconds"));
    const int32_t nanos = time.GetReflection()->GetInt32(time, type.FindFieldByName("nanos"));
    if (!IsTimestamp(seconds, nanos)) {
      Add(place, "must be from 0001-01-01T00:00:00Z to 9999-12-31T23:59:59.999999999Z");
    }
  }

  void Text(const std::string& text, const FieldPlan& plan, const Place& place) {
    if (plan.field->type() != FieldDescriptor::TYPE_STRING) return;  // bytes
    if (text.find('\0') != std::string::npos) {
      return Add(place, "must not contain the character NUL");
    }
    const FieldRules& rules = plan.rules;
    if (rules.min_length() != 0 || rules.max_length() != 0) {
      const size_t length = CodePoints(text);
      if (length < rules.min_length()) {
        Add(place, text.empty() ? "must not be empty"
                                : "must be at least " + Characters(rules.min_length()));
      } else if (rules.max_length() != 0 && length > rules.max_length()) {
        // A text far beyond its limit is not worth matching.
        return Add(place, "must be at most " + Characters(rules.max_length()));
      }
    }
    if (plan.pattern != nullptr && !re2::RE2::FullMatch(text, *plan.pattern)) {
      Add(place, "does not have the required form");
    }
    if (rules.email() && !IsEmail(text)) Add(place, "must be an e-mail address");
    if (rules.date() && !IsDate(text)) Add(place, "must be a date such as 1990-12-31");
    if (rules.url() && !IsUrl(text)) Add(place, "must be an absolute http or https URL");
    if (rules.name() && !text.empty() && !IsName(text)) {
      Add(place, "must be one line, not blank, and without characters that are not seen");
    } else if (rules.name() && HasLink(text)) {
      Add(place, "must not contain a link");
    }
  }

  void Enum(int number, const FieldPlan& plan, const Place& place) {
    if (plan.field->enum_type()->FindValueByNumber(number) == nullptr ||
        (plan.rules.has_min() && number < plan.rules.min()) ||
        (plan.rules.has_max() && number > plan.rules.max())) {
      Add(place, "is not one of the values it can have");
    }
  }

  template <typename Number>
  void Integer(Number value, const FieldPlan& plan, const Place& place) {
    const FieldRules& rules = plan.rules;
    if (rules.has_min() && std::cmp_less(value, rules.min())) {
      Add(place, "must be at least " + Amount(rules.min(), plan.money));
    }
    if (rules.has_max() && std::cmp_greater(value, rules.max())) {
      Add(place, "must be at most " + Amount(rules.max(), plan.money));
    }
  }

  std::vector<FieldViolation> violations_;
};

}  // namespace

Result<void> CheckRules(const Message& message) {
  static Plans& plans = *new Plans;  // outlives every thread that still answers at exit
  Check check;
  check.Walk(message, plans.Of(message.GetDescriptor()), "");
  std::vector<FieldViolation> violations = check.TakeViolations();
  if (violations.empty()) return kDone;
  return Refusal{Code::kInvalidArgument, "the request is not valid", std::move(violations)};
}

}  // namespace shop::rpc
