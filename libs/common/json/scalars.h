// Values and the fields they are stored in: numbers, amounts, texts, times. Of concern to the codec's
// own files alone.
#pragma once

#include <google/protobuf/message.h>
#include <google/protobuf/reflection.h>

#include <string>
#include <string_view>

#include "common/json/plan.h"

namespace shop::json {

// Why a value does not fit its field; empty when it does.
using Complaint = std::string;

// Whether `text` is a number by JSON's grammar.
bool IsNumber(std::string_view text);

// One field of a message, or one more element of its list, about to be given a value.
class Target {
 public:
  Target(google::protobuf::Message* message, const FieldPlan& plan)
      : message_(message),
        reflection_(message->GetReflection()),
        field_(plan.field),
        add_(plan.repeated) {}

  void Integer(Kind kind, int64_t value) {
    switch (kind) {
      case Kind::kInt32:
        return Set(&google::protobuf::Reflection::SetInt32, &google::protobuf::Reflection::AddInt32,
                   static_cast<int32_t>(value));
      case Kind::kUint32:
        return Set(&google::protobuf::Reflection::SetUInt32,
                   &google::protobuf::Reflection::AddUInt32, static_cast<uint32_t>(value));
      case Kind::kUint64:
        return Set(&google::protobuf::Reflection::SetUInt64,
                   &google::protobuf::Reflection::AddUInt64, static_cast<uint64_t>(value));
      default:
        return Set(&google::protobuf::Reflection::SetInt64, &google::protobuf::Reflection::AddInt64,
                   value);
    }
  }
  void Double(double value) {
    Set(&google::protobuf::Reflection::SetDouble, &google::protobuf::Reflection::AddDouble, value);
  }
  void Float(float value) {
    Set(&google::protobuf::Reflection::SetFloat, &google::protobuf::Reflection::AddFloat, value);
  }
  void Bool(bool value) {
    Set(&google::protobuf::Reflection::SetBool, &google::protobuf::Reflection::AddBool, value);
  }
  void Enum(int number) {
    Set(&google::protobuf::Reflection::SetEnumValue, &google::protobuf::Reflection::AddEnumValue,
        number);
  }
  void Text(std::string value) {
    if (add_) {
      reflection_->AddString(message_, field_, std::move(value));
    } else {
      reflection_->SetString(message_, field_, std::move(value));
    }
  }
  google::protobuf::Message* Child() {
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

  google::protobuf::Message* message_;
  const google::protobuf::Reflection* reflection_;
  const google::protobuf::FieldDescriptor* field_;
  bool add_;
};

// That a value is of another type than its field: what the field takes.
Complaint WrongType(const FieldPlan& plan);

// Store the value that `text`, a token of JSON or the content of a string, stands for.
Complaint StoreNumber(const FieldPlan& plan, std::string_view text, Target target);
Complaint StoreText(const FieldPlan& plan, std::string_view text, Target target);
// An enum value by its number, as a newer version writes one that this binary has no name for.
Complaint StoreEnumNumber(const FieldPlan& plan, std::string_view text, Target target);

}  // namespace shop::json
