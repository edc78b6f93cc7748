#include <google/protobuf/reflection.h>
#include <simdjson.h>

#include <algorithm>
#include <bitset>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>

#include "common/crypto/base64.h"
#include "common/json/codec.h"
#include "common/json/plan.h"

namespace shop::json {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::OneofDescriptor;
using google::protobuf::Reflection;
namespace ondemand = simdjson::ondemand;

constexpr int kMaxDepth = 32;
// The greatest number that every JSON reader keeps exactly.
constexpr int64_t kMaxSafe = (int64_t{1} << 53) - 1;

// Why a value does not fit its field; empty when it does.
using Complaint = std::string;

bool IsDigit(char c) {
  return c >= '0' && c <= '9';
}

// A number as JSON's grammar has it, in its parts.
struct NumberText {
  bool negative = false;
  std::string_view whole;
  std::string_view fraction;
  bool has_exponent = false;
  int exponent = 0;  // beyond ±1,000,000 no longer exact
};

std::string_view TakeDigits(std::string_view* text) {
  size_t count = 0;
  while (count < text->size() && IsDigit((*text)[count])) ++count;
  const std::string_view digits = text->substr(0, count);
  text->remove_prefix(count);
  return digits;
}

bool Take(std::string_view* text, char c) {
  if (text->empty() || text->front() != c) return false;
  text->remove_prefix(1);
  return true;
}

bool ParseNumber(std::string_view text, NumberText* number) {
  number->negative = Take(&text, '-');
  number->whole = TakeDigits(&text);
  if (number->whole.empty() || (number->whole.size() > 1 && number->whole[0] == '0')) return false;
  if (Take(&text, '.')) {
    number->fraction = TakeDigits(&text);
    if (number->fraction.empty()) return false;
  }
  if (Take(&text, 'e') || Take(&text, 'E')) {
    number->has_exponent = true;
    const bool negative = Take(&text, '-');
    if (!negative) Take(&text, '+');
    const std::string_view digits = TakeDigits(&text);
    if (digits.empty()) return false;
    for (const char digit : digits) {
      number->exponent = std::min(number->exponent * 10 + (digit - '0'), 1'000'000);
    }
    if (negative) number->exponent = -number->exponent;
  }
  return text.empty();
}

// One field of a message, or one more element of its list, about to be given a value.
class Target {
 public:
  Target(Message* message, const FieldPlan& plan)
      : message_(message),
        reflection_(message->GetReflection()),
        field_(plan.field),
        add_(plan.repeated) {}

  void Integer(Kind kind, int64_t value) {
    switch (kind) {
      case Kind::kInt32:
        return Set(&Reflection::SetInt32, &Reflection::AddInt32, static_cast<int32_t>(value));
      case Kind::kUint32:
        return Set(&Reflection::SetUInt32, &Reflection::AddUInt32, static_cast<uint32_t>(value));
      case Kind::kUint64:
        return Set(&Reflection::SetUInt64, &Reflection::AddUInt64, static_cast<uint64_t>(value));
      default:
        return Set(&Reflection::SetInt64, &Reflection::AddInt64, value);
    }
  }
  void Double(double value) { Set(&Reflection::SetDouble, &Reflection::AddDouble, value); }
  void Float(float value) { Set(&Reflection::SetFloat, &Reflection::AddFloat, value); }
  void Bool(bool value) { Set(&Reflection::SetBool, &Reflection::AddBool, value); }
  void Enum(int number) { Set(&Reflection::SetEnumValue, &Reflection::AddEnumValue, number); }
  void Text(std::string value) {
    if (add_) {
      reflection_->AddString(message_, field_, std::move(value));
    } else {
      reflection_->SetString(message_, field_, std::move(value));
    }
  }
  Message* Child() {
    return add_ ? reflection_->AddMessage(message_, field_)
                : reflection_->MutableMessage(message_, field_);
  }

 private:
  template <typename Setter, typename Adder, typename Value>
  void Set(Setter set, Adder add, Value value) {
    if (add_) {
      (reflection_->*add)(message_, field_, value);
    } else {
      (reflection_->*set)(message_, field_, value);
    }
  }

  Message* message_;
  const Reflection* reflection_;
  const FieldDescriptor* field_;
  bool add_;
};

Complaint WrongType(const FieldPlan& plan) {
  switch (plan.kind) {
    case Kind::kInt32:
    case Kind::kInt64:
    case Kind::kUint32:
    case Kind::kUint64:
      return "must be a whole number";
    case Kind::kDouble:
    case Kind::kFloat:
      return "must be a number";
    case Kind::kBool:
      return "must be true or false";
    case Kind::kString:
      return "must be a string";
    case Kind::kBytes:
      return "must be a string in base64";
    case Kind::kEnum:
      return "must be one of " + plan.enumeration->choices;
    case Kind::kMoney:
      return "must be a decimal number with at most two digits after the point";
    case Kind::kTimestamp:
      return "must be a time such as 2026-01-31T12:00:00Z";
    case Kind::kMessage:
      return "must be an object";
  }
  return {};
}

Complaint StoreInteger(const FieldPlan& plan, const NumberText& number, std::string_view text,
                       Target target) {
  if (!number.fraction.empty() || number.has_exponent) {
    return "must be a whole number without fraction or exponent";
  }
  int64_t min = -kMaxSafe;
  int64_t max = kMaxSafe;
  if (plan.kind == Kind::kInt32) {
    min = std::numeric_limits<int32_t>::min();
    max = std::numeric_limits<int32_t>::max();
  } else if (plan.kind == Kind::kUint32) {
    min = 0;
    max = std::numeric_limits<uint32_t>::max();
  } else if (plan.kind == Kind::kUint64) {
    min = 0;
  }
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || value < min || value > max) {
    return "must be from " + std::to_string(min) + " to " + std::to_string(max);
  }
  target.Integer(plan.kind, value);
  return {};
}

// The decimal `number` as minor units, hundredths, digit by digit.
Complaint StoreMoney(const FieldPlan& plan, const NumberText& number, Target target) {
  const int64_t places = static_cast<int64_t>(number.fraction.size()) - number.exponent;
  if (places > 2) return WrongType(plan);
  int64_t minor = 0;
  const auto append = [&minor](int digit) {
    minor = minor * 10 + digit;
    return minor <= kMaxSafe;
  };
  bool fits = true;
  for (const std::string_view digits : {number.whole, number.fraction}) {
    for (const char digit : digits) fits = fits && append(digit - '0');
  }
  for (int64_t place = places; fits && minor != 0 && place < 2; ++place) fits = append(0);
  if (!fits) return "is too large an amount";
  target.Integer(plan.kind, number.negative ? -minor : minor);
  return {};
}

Complaint StoreFloating(const FieldPlan& plan, std::string_view text, Target target) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() ||
      (plan.kind == Kind::kFloat && std::abs(value) > std::numeric_limits<float>::max())) {
    return "is out of range";
  }
  if (plan.kind == Kind::kFloat) {
    target.Float(static_cast<float>(value));
  } else {
    target.Double(value);
  }
  return {};
}

Complaint StoreNumber(const FieldPlan& plan, std::string_view text, Target target) {
  NumberText number;
  if (!ParseNumber(text, &number)) return WrongType(plan);
  switch (plan.kind) {
    case Kind::kInt32:
    case Kind::kInt64:
    case Kind::kUint32:
    case Kind::kUint64:
      return StoreInteger(plan, number, text, target);
    case Kind::kMoney:
      return StoreMoney(plan, number, target);
    case Kind::kDouble:
    case Kind::kFloat:
      return StoreFloating(plan, text, target);
    default:
      return WrongType(plan);
  }
}

// A value that whoever wrote it knew by its number alone.
Complaint StoreEnumNumber(const FieldPlan& plan, std::string_view text, Target target) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return WrongType(plan);
  target.Enum(number);
  return {};
}

// Exactly `count` digits.
bool TakeNumber(std::string_view* text, size_t count, unsigned* number) {
  if (text->size() < count) return false;
  *number = 0;
  for (size_t i = 0; i < count; ++i) {
    if (!IsDigit((*text)[i])) return false;
    *number = *number * 10 + static_cast<unsigned>((*text)[i] - '0');
  }
  text->remove_prefix(count);
  return true;
}

bool ParseTimestamp(std::string_view text, int64_t* seconds, int32_t* nanos) {
  unsigned year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0;
  const bool shaped =
      TakeNumber(&text, 4, &year) && Take(&text, '-') && TakeNumber(&text, 2, &month) &&
      Take(&text, '-') && TakeNumber(&text, 2, &day) && (Take(&text, 'T') || Take(&text, 't')) &&
      TakeNumber(&text, 2, &hour) && Take(&text, ':') && TakeNumber(&text, 2, &minute) &&
      Take(&text, ':') && TakeNumber(&text, 2, &second);
  const std::chrono::year_month_day date{std::chrono::year(static_cast<int>(year)),
                                         std::chrono::month(month), std::chrono::day(day)};
  if (!shaped || year == 0 || !date.ok() || hour > 23 || minute > 59 || second > 59) return false;
  *nanos = 0;
  if (Take(&text, '.')) {
    const std::string_view fraction = TakeDigits(&text);
    if (fraction.empty() || fraction.size() > 9) return false;
    for (size_t i = 0; i < 9; ++i) {
      *nanos = *nanos * 10 + (i < fraction.size() ? fraction[i] - '0' : 0);
    }
  }
  int64_t offset = 0;
  if (!Take(&text, 'Z') && !Take(&text, 'z')) {
    const bool behind = Take(&text, '-');
    unsigned hours = 0, minutes = 0;
    if (!behind && !Take(&text, '+')) return false;
    if (!TakeNumber(&text, 2, &hours) || !Take(&text, ':') || !TakeNumber(&text, 2, &minutes) ||
        hours > 23 || minutes > 59) {
      return false;
    }
    offset = static_cast<int64_t>(hours * 3600 + minutes * 60) * (behind ? -1 : 1);
  }
  const int64_t days = std::chrono::sys_days(date).time_since_epoch().count();
  *seconds = days * 86400 + hour * 3600 + minute * 60 + second - offset;
  constexpr int64_t kYear1 = -62135596800;
  constexpr int64_t kYear10000 = 253402300800;
  return text.empty() && *seconds >= kYear1 && *seconds < kYear10000;
}

Complaint StoreText(const FieldPlan& plan, std::string_view text, Target target) {
  switch (plan.kind) {
    case Kind::kString:
      if (text.find('\0') != std::string_view::npos) return "must not hold the character NUL";
      target.Text(std::string(text));
      return {};
    case Kind::kBytes: {
      std::optional<std::string> bytes = DecodeBase64(text);
      if (!bytes) return WrongType(plan);
      target.Text(*std::move(bytes));
      return {};
    }
    case Kind::kEnum: {
      std::string name(text);
      for (char& c : name) {
        if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 32);
      }
      const auto found = plan.enumeration->numbers.find(name);
      if (found == plan.enumeration->numbers.end()) return WrongType(plan);
      target.Enum(found->second);
      return {};
    }
    case Kind::kTimestamp: {
      int64_t seconds = 0;
      int32_t nanos = 0;
      if (!ParseTimestamp(text, &seconds, &nanos)) return WrongType(plan);
      Message* time = target.Child();
      const google::protobuf::Descriptor* type = time->GetDescriptor();
      time->GetReflection()->SetInt64(time, type->FindFieldByNumber(1), seconds);
      time->GetReflection()->SetInt32(time, type->FindFieldByNumber(2), nanos);
      return {};
    }
    default:
      return WrongType(plan);
  }
}

// Reads one document. Functions answer false once they have noted a refusal.
class Reader {
 public:
  enum class Manner { kStrict, kTolerant };

  Reader(std::string_view text, std::string_view at, Manner manner)
      : tolerant_(manner == Manner::kTolerant), length_(text.size()) {
    // Bodies are small and come all the time: the buffers are kept.
    thread_local ondemand::parser parser;
    thread_local std::string padded;
    padded.resize(text.size() + simdjson::SIMDJSON_PADDING);
    std::memcpy(padded.data(), text.data(), text.size());
    std::memset(padded.data() + text.size(), 0, simdjson::SIMDJSON_PADDING);
    start_ = padded.data();
    error_ = parser.iterate(padded.data(), text.size(), padded.size()).get(document_);
    tokenized_ = error_ == simdjson::SUCCESS;
    if (!at.empty()) path_.push_back({at});
  }

  Result<void> ReadInto(Message* message) {
    ondemand::object object;
    if (error_ == simdjson::SUCCESS) error_ = document_.get_object().get(object);
    if (error_ == simdjson::INCORRECT_TYPE) {
      return Refusal{Code::kInvalidArgument, "the JSON is not an object"};
    }
    if (error_ != simdjson::SUCCESS) {
      Malformed(error_);
    } else if (Object(object, PlanOf(message->GetDescriptor()), message, 1)) {
      const char* trailing = nullptr;
      if (document_.current_location().get(trailing) == simdjson::SUCCESS) {
        return Refusal{Code::kInvalidArgument,
                       "the JSON goes on after its end, at byte " + Offset(trailing)};
      }
      return kDone;
    }
    return *refusal_;
  }

 private:
  struct Step {
    std::string_view name;
    int64_t index = -1;
  };

  bool Fail(Complaint complaint) {
    std::string path;
    for (const Step& step : path_) {
      if (!path.empty()) path += '.';
      path += step.name.empty() && step.index < 0 ? R"("")" : step.name;
      if (step.index >= 0) path += '[' + std::to_string(step.index) + ']';
    }
    refusal_ = InvalidField(std::move(path), std::move(complaint));
    return false;
  }

  bool Malformed(simdjson::error_code error) {
    std::string message = "the JSON is malformed";
    const char* where = nullptr;
    if (error == simdjson::UTF8_ERROR) {
      message = "the JSON is not valid UTF-8";
    } else if (error == simdjson::EMPTY) {
      message = "the JSON is empty";
    } else if (tokenized_ && document_.current_location().get(where) == simdjson::SUCCESS) {
      message += " near byte " + Offset(where);
    } else {
      message += std::string(": ") + simdjson::error_message(error);
    }
    refusal_ = Refusal{Code::kInvalidArgument, std::move(message)};
    return false;
  }

  std::string Offset(const char* where) const {
    const ptrdiff_t offset = where - start_;
    return std::to_string(std::clamp<ptrdiff_t>(offset, 0, static_cast<ptrdiff_t>(length_)));
  }

  // The token of a number, `true`, `false` or `null`.
  static std::string_view Token(ondemand::value& value) {
    const std::string_view token = value.raw_json_token();
    return token.substr(0, token.find_last_not_of(" \t\r\n") + 1);
  }

  bool String(ondemand::value& value, std::string_view* text) {
    const simdjson::error_code error = value.get_string().get(*text);
    if (error == simdjson::STRING_ERROR) return Fail("has an escape that stands for nothing");
    if (error != simdjson::SUCCESS) return Malformed(error);
    return true;
  }

  // Calls member(name, value) for each member of the object.
  template <typename Member>
  bool Members(ondemand::object& object, int depth, Member member) {
    if (depth > kMaxDepth) return Fail("is nested deeper than " + std::to_string(kMaxDepth));
    for (auto next : object) {
      ondemand::field field;
      if (const auto error = std::move(next).get(field); error != simdjson::SUCCESS)
        return Malformed(error);
      std::string_view name;
      if (const auto error = field.unescaped_key().get(name); error != simdjson::SUCCESS) {
        return Malformed(error);
      }
      path_.push_back({name});
      if (!member(name, field.value())) return false;
      path_.pop_back();
    }
    return true;
  }

  // Calls element(value) for each element of the list.
  template <typename Element>
  bool Elements(ondemand::value& list, int depth, Element element) {
    if (depth > kMaxDepth) return Fail("is nested deeper than " + std::to_string(kMaxDepth));
    ondemand::array array;
    if (const auto error = list.get_array().get(array); error != simdjson::SUCCESS) {
      return Malformed(error);
    }
    Step* step = &path_.back();
    const bool nested = step->index >= 0;  // a list in a list, which only unknown fields can hold
    if (nested) path_.push_back({});
    const size_t at = path_.size() - 1;
    path_[at].index = 0;
    for (auto next : array) {
      ondemand::value value;
      if (const auto error = std::move(next).get(value); error != simdjson::SUCCESS)
        return Malformed(error);
      if (!element(value)) return false;
      ++path_[at].index;
    }
    if (nested) {
      path_.pop_back();
    } else {
      path_[at].index = -1;
    }
    return true;
  }

  bool Distinct(std::vector<std::string_view>* names) {
    if (names->size() < 2) return true;
    std::sort(names->begin(), names->end());
    const auto twice = std::adjacent_find(names->begin(), names->end());
    if (twice == names->end()) return true;
    path_.push_back({*twice});
    return Fail("is given twice");
  }

  bool Object(ondemand::object& object, const MessagePlan& plan, Message* message, int depth) {
    std::bitset<kMaxFields> seen;
    std::vector<std::string_view> unknown;
    const bool read = Members(object, depth, [&](std::string_view name, ondemand::value& value) {
      const FieldPlan* field = plan.Find(name);
      if (field == nullptr) {
        unknown.push_back(name);
        return Skip(value, depth);
      }
      path_.back().name = field->name;
      const auto index = static_cast<size_t>(field->field->index());
      if (seen[index]) return Fail("is given twice");
      seen[index] = true;
      return Field(value, *field, message, depth);
    });
    return read && Distinct(&unknown);
  }

  bool Field(ondemand::value& value, const FieldPlan& plan, Message* message, int depth) {
    ondemand::json_type type{};
    if (const auto error = value.type().get(type); error != simdjson::SUCCESS) {
      return Malformed(error);
    }
    if (type == ondemand::json_type::null) {
      if (Token(value) != "null") return Malformed(simdjson::N_ATOM_ERROR);
      Clear(plan, message);
      return true;
    }
    const OneofDescriptor* choice = plan.field->real_containing_oneof();
    if (choice != nullptr && message->GetReflection()->HasOneof(*message, choice)) {
      return Fail("cannot be given together with another of its kind");
    }
    if (plan.map) {
      if (type != ondemand::json_type::object) return Fail("must be an object");
      return Map(value, plan, message, depth + 1);
    }
    if (plan.repeated) {
      if (type != ondemand::json_type::array) return Fail("must be a list");
      const bool read = Elements(value, depth + 1, [&](ondemand::value& element) {
        return Value(element, plan, message, depth + 1);
      });
      if (read && message->GetReflection()->FieldSize(*message, plan.field) == 0) {
        Clear(plan, message);
      }
      return read;
    }
    return Value(value, plan, message, depth);
  }

  // Notes that the field was sent empty, where its message keeps that.
  static void Clear(const FieldPlan& plan, Message* message) {
    if (plan.cleared_by == nullptr) return;
    message->GetReflection()->AddString(message, plan.cleared_by, plan.field->name());
  }

  bool Map(ondemand::value& value, const FieldPlan& plan, Message* message, int depth) {
    ondemand::object object;
    if (const auto error = value.get_object().get(object); error != simdjson::SUCCESS) {
      return Malformed(error);
    }
    const FieldPlan& key_plan = plan.message->fields[0];
    const FieldPlan& value_plan = plan.message->fields[1];
    std::vector<std::string_view> keys;
    const bool read = Members(object, depth, [&](std::string_view name, ondemand::value& element) {
      keys.push_back(name);
      Message* entry = message->GetReflection()->AddMessage(message, plan.field);
      Complaint complaint = StoreText(key_plan, name, Target(entry, key_plan));
      if (!complaint.empty()) return Fail(std::move(complaint));
      return Value(element, value_plan, entry, depth);
    });
    return read && Distinct(&keys);
  }

  // A value that has to be there: of a field, or an element of a list or map.
  bool Value(ondemand::value& value, const FieldPlan& plan, Message* message, int depth) {
    ondemand::json_type type{};
    if (const auto error = value.type().get(type); error != simdjson::SUCCESS) {
      return Malformed(error);
    }
    Complaint complaint;
    switch (type) {
      case ondemand::json_type::object: {
        if (plan.kind != Kind::kMessage) return Fail(WrongType(plan));
        ondemand::object object;
        if (const auto error = value.get_object().get(object); error != simdjson::SUCCESS) {
          return Malformed(error);
        }
        return Object(object, *plan.message, Target(message, plan).Child(), depth + 1);
      }
      case ondemand::json_type::string: {
        std::string_view text;
        if (!String(value, &text)) return false;
        complaint = StoreText(plan, text, Target(message, plan));
        if (!complaint.empty() && tolerant_ && plan.kind == Kind::kEnum && !text.empty()) {
          Target(message, plan).Enum(NumberOfUnknown(text).value_or(0));
          return true;
        }
        break;
      }
      case ondemand::json_type::number:
        complaint = tolerant_ && plan.kind == Kind::kEnum
                        ? StoreEnumNumber(plan, Token(value), Target(message, plan))
                        : StoreNumber(plan, Token(value), Target(message, plan));
        break;
      case ondemand::json_type::boolean: {
        const std::string_view token = Token(value);
        if (token != "true" && token != "false") return Malformed(simdjson::T_ATOM_ERROR);
        if (plan.kind != Kind::kBool) return Fail(WrongType(plan));
        Target(message, plan).Bool(token == "true");
        return true;
      }
      case ondemand::json_type::array:
      case ondemand::json_type::null:
        return Fail(WrongType(plan));
    }
    return complaint.empty() || Fail(std::move(complaint));
  }

  // Checks what nobody reads: a lazy parser would pass over it unseen.
  bool Skip(ondemand::value& value, int depth) {
    ondemand::json_type type{};
    if (const auto error = value.type().get(type); error != simdjson::SUCCESS) {
      return Malformed(error);
    }
    switch (type) {
      case ondemand::json_type::object: {
        ondemand::object object;
        if (const auto error = value.get_object().get(object); error != simdjson::SUCCESS) {
          return Malformed(error);
        }
        std::vector<std::string_view> names;
        const bool read =
            Members(object, depth + 1, [&](std::string_view name, ondemand::value& member) {
              names.push_back(name);
              return Skip(member, depth + 1);
            });
        return read && Distinct(&names);
      }
      case ondemand::json_type::array:
        return Elements(value, depth + 1,
                        [&](ondemand::value& element) { return Skip(element, depth + 1); });
      case ondemand::json_type::string: {
        std::string_view text;
        return String(value, &text);
      }
      case ondemand::json_type::number: {
        NumberText number;
        return ParseNumber(Token(value), &number) || Malformed(simdjson::NUMBER_ERROR);
      }
      case ondemand::json_type::boolean: {
        const std::string_view token = Token(value);
        return token == "true" || token == "false" || Malformed(simdjson::T_ATOM_ERROR);
      }
      case ondemand::json_type::null:
        return Token(value) == "null" || Malformed(simdjson::N_ATOM_ERROR);
    }
    return true;
  }

  bool tolerant_;
  size_t length_;
  const char* start_ = nullptr;
  ondemand::document document_;
  simdjson::error_code error_ = simdjson::SUCCESS;
  bool tokenized_ = false;
  std::vector<Step> path_;
  std::optional<Refusal> refusal_;
};

}  // namespace

Result<void> Read(std::string_view text, Message* message, std::string_view at) {
  return Reader(text, at, Reader::Manner::kStrict).ReadInto(message);
}

Result<void> ReadTolerantly(std::string_view text, Message* message) {
  return Reader(text, {}, Reader::Manner::kTolerant).ReadInto(message);
}

std::optional<std::string> ObjectMember(std::string_view text, std::string_view name) {
  const simdjson::padded_string padded(text);
  ondemand::parser parser;
  ondemand::document document;
  ondemand::object object;
  std::string_view raw;
  if (parser.iterate(padded).get(document) != simdjson::SUCCESS ||
      document.find_field_unordered(name).get_object().get(object) != simdjson::SUCCESS ||
      object.raw_json().get(raw) != simdjson::SUCCESS) {
    return std::nullopt;
  }
  return std::string(raw.substr(0, raw.find_last_of('}') + 1));  // white space may follow
}

Result<void> ReadScalar(std::string_view text, const FieldDescriptor* field,
                        const std::string& path, Message* message) {
  const MessagePlan& plans = PlanOf(field->containing_type());
  const FieldPlan& plan = plans.fields[static_cast<size_t>(field->index())];
  const Target target(message, plan);
  Complaint complaint;
  switch (plan.kind) {
    case Kind::kString:
    case Kind::kBytes:
    case Kind::kEnum:
    case Kind::kTimestamp:
      complaint = simdjson::validate_utf8(text) ? StoreText(plan, text, target)
                                                : Complaint("must be valid UTF-8");
      break;
    case Kind::kBool:
      if (text == "true" || text == "false") {
        Target(target).Bool(text == "true");
      } else {
        complaint = WrongType(plan);
      }
      break;
    default:
      complaint = StoreNumber(plan, text, target);
  }
  if (!complaint.empty()) return InvalidField(path, std::move(complaint));
  return kDone;
}

}  // namespace shop::json
