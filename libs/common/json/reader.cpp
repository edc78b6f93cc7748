#include <google/protobuf/reflection.h>
#include <simdjson.h>

#include <algorithm>
#include <bitset>
#include <cstring>
#include <optional>
#include <vector>

#include "common/json/codec.h"
#include "common/json/plan.h"
#include "common/json/scalars.h"

namespace shop::json {
namespace {

using google::protobuf::Message;
using google::protobuf::OneofDescriptor;
namespace ondemand = simdjson::ondemand;

constexpr int kMaxDepth = 32;
constexpr int kMaxValues = 10'000;

// Reads one document. Functions return false once they have set refusal_.
class Reader {
 public:
  enum class Mode { kStrict, kTolerant };

  Reader(std::string_view text, std::string_view at, Mode mode)
      : tolerant_(mode == Mode::kTolerant), length_(text.size()) {
    // Bodies are small and frequent: the buffers are reused.
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

  // Counts a member or an element. A value costs far more to read than to send.
  bool Count() {
    if (tolerant_ || ++values_ <= kMaxValues) return true;
    return Fail("comes after " + std::to_string(kMaxValues) + " others, the most that is read");
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
      if (!Count() || !member(name, field.value())) return false;
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
      if (!Count() || !element(value)) return false;
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

  // Records that the field was sent empty, if its message has a field for that.
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

  // A value that must not be null: a field's, or an element of a list or map.
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

  // Checks the value of an unknown field: the lazy parser alone would not look at it.
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
      case ondemand::json_type::number:
        return IsNumber(Token(value)) || Malformed(simdjson::NUMBER_ERROR);
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
  int values_ = 0;
  std::vector<Step> path_;
  std::optional<Refusal> refusal_;
};

}  // namespace

Result<void> Read(std::string_view text, Message* message, std::string_view at) {
  return Reader(text, at, Reader::Mode::kStrict).ReadInto(message);
}

Result<void> ReadTolerantly(std::string_view text, Message* message) {
  return Reader(text, {}, Reader::Mode::kTolerant).ReadInto(message);
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

}  // namespace shop::json
