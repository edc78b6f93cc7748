#include "common/json/scalars.h"

#include <simdjson.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <limits>
#include <optional>

#include "common/core/timestamp.h"
#include "common/crypto/base64.h"
#include "common/json/codec.h"

namespace shop::json {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// The greatest number that every JSON reader keeps exactly.
constexpr int64_t kMaxSafe = (int64_t{1} << 53) - 1;

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
  return text.empty() && IsTimestamp(*seconds, *nanos);
}

}  // namespace

bool IsNumber(std::string_view text) {
  NumberText number;
  return ParseNumber(text, &number);
}

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

Complaint StoreEnumNumber(const FieldPlan& plan, std::string_view text, Target target) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return WrongType(plan);
  target.Enum(number);
  return {};
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
