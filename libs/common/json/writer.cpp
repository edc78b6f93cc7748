#include <google/protobuf/reflection.h>
#include <simdjson.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cmath>

#include "common/core/amount.h"
#include "common/core/timestamp.h"
#include "common/crypto/base64.h"
#include "common/json/codec.h"
#include "common/json/plan.h"

namespace shop::json {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

template <typename Number>
void WriteNumber(Number number, std::string* out) {
  char digits[32];
  const auto result = std::to_chars(digits, digits + sizeof digits, number);
  out->append(digits, result.ptr);
}

template <typename Float>
void WriteFloat(Float number, std::string* out) {
  if (!std::isfinite(number)) {
    out->append("null");
    return;
  }
  WriteNumber(number, out);
}

void WriteDigits(unsigned number, int width, std::string* out) {
  char digits[8];
  for (int i = width - 1; i >= 0; --i) {
    digits[i] = static_cast<char>('0' + number % 10);
    number /= 10;
  }
  out->append(digits, static_cast<size_t>(width));
}

void WriteTime(int64_t seconds, int32_t nanos, std::string* out) {
  if (!IsTimestamp(seconds, nanos)) {
    out->append("null");
    return;
  }
  const std::chrono::sys_seconds at{std::chrono::seconds(seconds)};
  const auto day = std::chrono::floor<std::chrono::days>(at);
  const std::chrono::year_month_day date{day};
  const auto second_of_day = static_cast<unsigned>((at - day).count());
  *out += '"';
  WriteDigits(static_cast<unsigned>(static_cast<int>(date.year())), 4, out);
  *out += '-';
  WriteDigits(static_cast<unsigned>(date.month()), 2, out);
  *out += '-';
  WriteDigits(static_cast<unsigned>(date.day()), 2, out);
  *out += 'T';
  WriteDigits(second_of_day / 3600, 2, out);
  *out += ':';
  WriteDigits(second_of_day / 60 % 60, 2, out);
  *out += ':';
  WriteDigits(second_of_day % 60, 2, out);
  *out += '.';
  WriteDigits(static_cast<unsigned>(nanos) / 1'000'000, 3, out);
  out->append("Z\"");
}

void WriteTimestamp(const Message& time, std::string* out) {
  const Reflection& reflection = *time.GetReflection();
  WriteTime(reflection.GetInt64(time, time.GetDescriptor()->FindFieldByNumber(1)),
            reflection.GetInt32(time, time.GetDescriptor()->FindFieldByNumber(2)), out);
}

// How many bytes of well-formed UTF-8 `text`, which is not empty, begins with: 0 to 4.
size_t SequenceLength(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const size_t length = byte(0) < 0x80   ? 1
                        : byte(0) < 0xc2 ? 0
                        : byte(0) < 0xe0 ? 2
                        : byte(0) < 0xf0 ? 3
                        : byte(0) < 0xf5 ? 4
                                         : 0;
  if (length == 0 || length > text.size()) return 0;
  return simdjson::validate_utf8(text.data(), length) ? length : 0;
}

std::string WithoutInvalidUtf8(std::string_view text) {
  std::string valid;
  while (!text.empty()) {
    const size_t length = SequenceLength(text);
    if (length == 0) {
      valid += "\xef\xbf\xbd";
    } else {
      valid += text.substr(0, length);
    }
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return valid;
}

// What a byte needs in a JSON string: 0 nothing, 1 a backslash, 2 a look at its UTF-8.
constexpr std::array<unsigned char, 256> kByteNeeds = [] {
  std::array<unsigned char, 256> needs{};
  for (size_t i = 0; i < 0x20; ++i) needs[i] = 1;
  for (size_t i = 0x80; i < 0x100; ++i) needs[i] = 2;
  needs['"'] = needs['\\'] = 1;
  return needs;
}();

void WriteEscaped(char c, std::string* out) {
  static constexpr char kHex[] = "0123456789abcdef";
  switch (c) {
    case '"':
      out->append("\\\"");
      return;
    case '\\':
      out->append("\\\\");
      return;
    case '\n':
      out->append("\\n");
      return;
    case '\r':
      out->append("\\r");
      return;
    case '\t':
      out->append("\\t");
      return;
    default:
      out->append("\\u00");
      *out += kHex[c >> 4 & 15];
      *out += kHex[c & 15];
  }
}

void WriteMessage(const Message& message, const MessagePlan& plan, std::string* out);

// Writes a field's value, or the element `index` of a list.
void WriteValue(const Message& message, const Reflection& reflection, const FieldPlan& plan,
                int index, std::string* out) {
  const FieldDescriptor* field = plan.field;
  const bool element = plan.repeated;
  const auto child = [&]() -> const Message& {
    return element ? reflection.GetRepeatedMessage(message, field, index)
                   : reflection.GetMessage(message, field);
  };
  const auto int64 = [&] {
    return element ? reflection.GetRepeatedInt64(message, field, index)
                   : reflection.GetInt64(message, field);
  };
  const auto text = [&](std::string* scratch) -> const std::string& {
    return element ? reflection.GetRepeatedStringReference(message, field, index, scratch)
                   : reflection.GetStringReference(message, field, scratch);
  };
  switch (plan.kind) {
    case Kind::kInt32:
      return WriteNumber(element ? reflection.GetRepeatedInt32(message, field, index)
                                 : reflection.GetInt32(message, field),
                         out);
    case Kind::kInt64:
      return WriteNumber(int64(), out);
    case Kind::kUint32:
      return WriteNumber(element ? reflection.GetRepeatedUInt32(message, field, index)
                                 : reflection.GetUInt32(message, field),
                         out);
    case Kind::kUint64:
      return WriteNumber(element ? reflection.GetRepeatedUInt64(message, field, index)
                                 : reflection.GetUInt64(message, field),
                         out);
    case Kind::kDouble:
      return WriteFloat(element ? reflection.GetRepeatedDouble(message, field, index)
                                : reflection.GetDouble(message, field),
                        out);
    case Kind::kFloat:
      return WriteFloat(element ? reflection.GetRepeatedFloat(message, field, index)
                                : reflection.GetFloat(message, field),
                        out);
    case Kind::kBool: {
      const bool value = element ? reflection.GetRepeatedBool(message, field, index)
                                 : reflection.GetBool(message, field);
      out->append(value ? "true" : "false");
      return;
    }
    case Kind::kString: {
      std::string scratch;
      return WriteString(text(&scratch), out);
    }
    case Kind::kBytes: {
      std::string scratch;
      *out += '"';
      *out += EncodeBase64(text(&scratch));
      *out += '"';
      return;
    }
    case Kind::kEnum: {
      const int number = element ? reflection.GetRepeatedEnumValue(message, field, index)
                                 : reflection.GetEnumValue(message, field);
      if (const std::string* name = plan.enumeration->Find(number); name != nullptr) {
        out->append(*name);
      } else if (const std::string* text = TextOfUnknown(number); text != nullptr) {
        WriteString(*text, out);
      } else {
        WriteNumber(number, out);
      }
      return;
    }
    case Kind::kMoney:
      return AppendAmount(int64(), out);
    case Kind::kTimestamp:
      return WriteTimestamp(child(), out);
    case Kind::kMessage:
      return WriteMessage(child(), *plan.message, out);
  }
}

void WriteList(const Message& message, const Reflection& reflection, const FieldPlan& plan,
               std::string* out) {
  *out += '[';
  const int size = reflection.FieldSize(message, plan.field);
  for (int i = 0; i < size; ++i) {
    if (i > 0) *out += ',';
    WriteValue(message, reflection, plan, i, out);
  }
  *out += ']';
}

void WriteMap(const Message& message, const Reflection& reflection, const FieldPlan& plan,
              std::string* out) {
  const FieldPlan& key = plan.message->fields[0];
  const FieldPlan& value = plan.message->fields[1];
  std::vector<std::pair<std::string, const Message*>> entries;
  const int size = reflection.FieldSize(message, plan.field);
  entries.reserve(static_cast<size_t>(size));
  for (int i = 0; i < size; ++i) {
    const Message& entry = reflection.GetRepeatedMessage(message, plan.field, i);
    entries.emplace_back(entry.GetReflection()->GetString(entry, key.field), &entry);
  }
  std::sort(entries.begin(), entries.end());
  *out += '{';
  bool first = true;
  for (const auto& [name, entry] : entries) {
    if (!first) *out += ',';
    first = false;
    WriteString(name, out);
    *out += ':';
    WriteValue(*entry, *entry->GetReflection(), value, -1, out);
  }
  *out += '}';
}

void WriteMessage(const Message& message, const MessagePlan& plan, std::string* out) {
  const Reflection& reflection = *message.GetReflection();
  *out += '{';
  bool first = true;
  for (const FieldPlan& field : plan.fields) {
    if (field.has_presence && !reflection.HasField(message, field.field)) continue;
    if (!first) *out += ',';
    first = false;
    out->append(field.key);
    if (field.map) {
      WriteMap(message, reflection, field, out);
    } else if (field.repeated) {
      WriteList(message, reflection, field, out);
    } else {
      WriteValue(message, reflection, field, -1, out);
    }
  }
  *out += '}';
}

}  // namespace

void Write(const Message& message, std::string* out) {
  WriteMessage(message, PlanOf(message.GetDescriptor()), out);
}

std::string Write(const Message& message) {
  std::string out;
  Write(message, &out);
  return out;
}

void WriteTime(std::chrono::system_clock::time_point time, std::string* out) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(time);
  const std::chrono::nanoseconds rest = time - seconds;
  WriteTime(seconds.time_since_epoch().count(), static_cast<int32_t>(rest.count()), out);
}

void WriteString(std::string_view text, std::string* out) {
  *out += '"';
  size_t written = 0;
  bool valid = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const unsigned char needs = kByteNeeds[static_cast<unsigned char>(text[i])];
    if (needs == 0 || (needs == 2 && valid)) continue;
    if (needs == 2) {
      if (!simdjson::validate_utf8(text.data() + i, text.size() - i)) {
        out->append(text.substr(written, i - written));
        std::string rest;
        WriteString(WithoutInvalidUtf8(text.substr(i)), &rest);
        out->append(rest, 1);
        return;
      }
      valid = true;
      continue;
    }
    out->append(text.substr(written, i - written));
    WriteEscaped(text[i], out);
    written = i + 1;
  }
  out->append(text.substr(written));
  *out += '"';
}

}  // namespace shop::json
