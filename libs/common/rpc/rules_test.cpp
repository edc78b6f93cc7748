#include "common/rpc/rules.h"

#include <gmock/gmock.h>
#include <google/protobuf/compiler/parser.h>
#include <google/protobuf/dynamic_message.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/text_format.h>
#include <google/protobuf/timestamp.pb.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <thread>

#include "shop/api/v1/options.pb.h"
#include "shop/orders/v1/orders.pb.h"

namespace shop::rpc {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::Message;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr char kProto[] = R"pb(
  syntax = "proto3"
  ;
  package rules.test;
  import "google/protobuf/timestamp.proto";
  import "shop/api/v1/options.proto";
  enum Colour {
    COLOUR_UNSPECIFIED = 0;
    COLOUR_RED = 1;
    COLOUR_BLUE = 2;
  }
  message Inner { int64 big_number = 1 [(shop.api.v1.rules) = { required: true, max: 9 }]; }
  message Required {
    string text = 1 [(shop.api.v1.rules).required = true];
    int64 number = 2 [(shop.api.v1.rules).required = true];
    Colour colour = 3 [(shop.api.v1.rules).required = true];
    Inner inner = 4 [(shop.api.v1.rules).required = true];
    repeated string list = 5 [(shop.api.v1.rules).required = true];
    optional string maybe_text = 6 [(shop.api.v1.rules).required = true];
    optional int64 maybe_number = 7 [(shop.api.v1.rules).required = true];
  }
  message Lengths {
    string text = 1 [(shop.api.v1.rules) = { min_length: 2, max_length: 4 }];
    optional string maybe = 2 [(shop.api.v1.rules) = { min_length: 1 }];
    string one = 3 [(shop.api.v1.rules).max_length = 1];
  }
  message Forms {
    string pattern = 1 [(shop.api.v1.rules).pattern = "a|ab+"];
    string email = 2 [(shop.api.v1.rules).email = true];
    string date = 3 [(shop.api.v1.rules).date = true];
    string url = 4 [(shop.api.v1.rules).url = true];
    string name = 5 [(shop.api.v1.rules).name = true];
  }
  message Numbers {
    int64 number = 1 [(shop.api.v1.rules) = { min: -5, max: 5 }];
    optional int32 small = 2 [(shop.api.v1.rules) = { min: 1 }];
    uint64 huge = 3 [(shop.api.v1.rules) = { max: 5 }];
    int64 price = 4 [(shop.api.v1.money) = true, (shop.api.v1.rules) = { min: 1, max: 99999 }];
    uint32 small_unsigned = 5 [(shop.api.v1.rules) = { min: 2 }];
  }
  message Lists {
    repeated string texts = 1 [(shop.api.v1.rules) = { max_items: 2, max_length: 3 }];
    repeated int64 numbers = 2 [(shop.api.v1.rules) = { min: 1 }];
    repeated Inner inners = 3;
    repeated Colour colours = 4;
    repeated string none = 5 [(shop.api.v1.rules) = { max_items: 1 }];
  }
  message AtLeast {
    repeated int64 one = 1 [(shop.api.v1.rules).min_items = 1];
    repeated int64 two = 2 [(shop.api.v1.rules).min_items = 2];
  }
  message Plain {
    string text = 1;
    Colour colour = 2;
    bytes raw = 3;
    repeated string texts = 4;
  }
  message Tree {
    string leaf_name = 1 [(shop.api.v1.rules).max_length = 1];
    repeated Tree branches = 2;
    Tree trunk = 3;
  }
  message Times {
    google.protobuf.Timestamp at = 1;
    repeated google.protobuf.Timestamp times = 2;
    map<string, google.protobuf.Timestamp> named = 3;
  }
  message EnumBounds { Colour colour = 1 [(shop.api.v1.rules) = { required: true, min: 2 }]; }
  message MinOfString { string text = 1 [(shop.api.v1.rules) = { min: 1 }]; }
  message LengthOfNumber { int64 number = 1 [(shop.api.v1.rules).max_length = 1]; }
  message ItemsOfSingle { string text = 1 [(shop.api.v1.rules).max_items = 1]; }
  message BadPattern { string text = 1 [(shop.api.v1.rules).pattern = "("]; }
)pb";

std::unique_ptr<Message> Make(const std::string& type, const std::string& text) {
  static const google::protobuf::FileDescriptor* file = [] {
    api::v1::FieldRules::descriptor();  // links the imports in
    google::protobuf::Timestamp::descriptor();
    google::protobuf::io::ArrayInputStream input(kProto, sizeof kProto - 1);
    google::protobuf::io::Tokenizer tokenizer(&input, nullptr);
    google::protobuf::FileDescriptorProto proto;
    proto.set_name("rules_test.proto");
    if (!google::protobuf::compiler::Parser().Parse(&tokenizer, &proto)) std::abort();
    static google::protobuf::DescriptorPool pool(
        google::protobuf::DescriptorPool::generated_pool());
    return pool.BuildFile(proto);
  }();
  static google::protobuf::DynamicMessageFactory factory;
  const Descriptor* descriptor = file->FindMessageTypeByName(type);
  if (descriptor == nullptr) throw std::out_of_range(type);
  std::unique_ptr<Message> message(factory.GetPrototype(descriptor)->New());
  if (!google::protobuf::TextFormat::ParseFromString(text, message.get())) {
    throw std::invalid_argument(text);
  }
  return message;
}

// What is wrong with the message: "path message" each.
std::vector<std::string> Violations(const Message& message) {
  const Result<void> result = CheckRules(message);
  std::vector<std::string> violations;
  if (result) return violations;
  EXPECT_EQ(result.refusal().code, Code::kInvalidArgument);
  for (const FieldViolation& violation : result.refusal().details) {
    violations.push_back(violation.field + " " + violation.message);
  }
  EXPECT_FALSE(violations.empty());
  return violations;
}

std::vector<std::string> Violations(const std::string& type, const std::string& text) {
  return Violations(*Make(type, text));
}

TEST(Rules, RequiredFieldsMustBeThere) {
  EXPECT_THAT(Violations("Required", ""),
              ElementsAre("text must not be empty", "number is required", "colour is required",
                          "inner is required", "list must not be empty", "maybeText is required",
                          "maybeNumber is required"));
  EXPECT_THAT(Violations("Required", R"(text: "x" number: 1 colour: COLOUR_RED
                                        inner { big_number: 1 } list: "x"
                                        maybe_text: "" maybe_number: 0)"),
              IsEmpty());
}

TEST(Rules, ViolationsInsideAreNamedByTheirPath) {
  EXPECT_THAT(Violations("Required", R"(text: "x" number: 1 colour: COLOUR_RED
                                        inner { big_number: 10 } list: "x"
                                        maybe_text: "" maybe_number: 0)"),
              ElementsAre("inner.bigNumber must be at most 9"));
}

TEST(Rules, LengthIsCountedInCodePoints) {
  EXPECT_THAT(Violations("Lengths", R"(text: "äöü€")"), IsEmpty());
  EXPECT_THAT(Violations("Lengths", R"(text: "😀😀😀😀")"), IsEmpty());
  EXPECT_THAT(Violations("Lengths", R"(text: "äöü€x")"),
              ElementsAre("text must be at most 4 characters"));
  EXPECT_THAT(Violations("Lengths", R"(text: "😀")"),
              ElementsAre("text must be at least 2 characters"));
  EXPECT_THAT(Violations("Lengths", R"(one: "ab")"),
              ElementsAre("one must be at most 1 character"));
}

TEST(Rules, WhatIsNotSentIsNotLookedAt) {
  EXPECT_THAT(Violations("Lengths", ""), IsEmpty());
  EXPECT_THAT(Violations("Forms", ""), IsEmpty());
  EXPECT_THAT(Violations("Numbers", ""), IsEmpty());
}

TEST(Rules, AnEmptyStringThatWasSentIsLookedAt) {
  EXPECT_THAT(Violations("Lengths", R"(maybe: "")"), ElementsAre("maybe must not be empty"));
}

TEST(Rules, ThePatternHoldsForTheWholeString) {
  EXPECT_THAT(Violations("Forms", R"(pattern: "abbb")"), IsEmpty());
  for (const char* text : {"xa", "ax", "abx", "a\\n"}) {
    EXPECT_THAT(Violations("Forms", std::string("pattern: \"") + text + "\""),
                ElementsAre("pattern does not have the required form"))
        << text;
  }
}

TEST(Rules, AnEmailHasTheSyntaxOfHtml) {
  for (const std::string& good :
       {std::string("a@b"), std::string("first.last+tag@mail.example.com"),
        std::string("!#$%&*+/=?^_`{|}~-@x.y"), std::string(63, 'a') + "@" + std::string(63, 'b')}) {
    EXPECT_THAT(Violations("Forms", "email: \"" + good + "\""), IsEmpty()) << good;
  }
  for (const std::string& bad :
       {std::string("a"), std::string("@b"), std::string("a@"), std::string("a@b@c"),
        std::string("a b@c"), std::string("a@-b"), std::string("a@b-"), std::string("a@b..c"),
        std::string("a@.b"), std::string("ä@b"), std::string("a@bücher.de"), std::string("a@b\\n"),
        "a@" + std::string(64, 'b'),
        "a@" + std::string(63, 'b') + "." + std::string(63, 'b') + "." + std::string(63, 'b') +
            "." + std::string(63, 'b')}) {
    EXPECT_THAT(Violations("Forms", "email: \"" + bad + "\""),
                ElementsAre("email must be an e-mail address"))
        << bad;
  }
}

TEST(Rules, ADateIsInTheCalendar) {
  for (const char* good : {"1990-12-31", "2024-02-29", "2000-02-29", "0001-01-01", "9999-12-31"}) {
    EXPECT_THAT(Violations("Forms", std::string("date: \"") + good + "\""), IsEmpty()) << good;
  }
  for (const char* bad :
       {"2023-02-29", "1900-02-29", "1990-13-01", "1990-00-01", "1990-01-00", "1990-04-31",
        "0000-01-01", "90-01-01", "1990-1-1", "1990/01/01", "1990-01-01T00:00:00Z", " 1990-01-01",
        "19900101", "-990-01-01", "today"}) {
    EXPECT_THAT(Violations("Forms", std::string("date: \"") + bad + "\""),
                ElementsAre("date must be a date such as 1990-12-31"))
        << bad;
  }
}

TEST(Rules, AUrlIsAbsoluteHttp) {
  for (const char* good : {"http://a", "https://example.com/x.png?size=1#top",
                           "HTTPS://EXAMPLE.COM", "http://localhost:8080/", "http://[::1]:3000/x",
                           "https://bücher.example/ä", "https://a?q=1", "http://127.0.0.1/a%20b"}) {
    EXPECT_THAT(Violations("Forms", std::string("url: \"") + good + "\""), IsEmpty()) << good;
  }
  for (const char* bad :
       {"example.com", "/x.png", "//example.com", "ftp://example.com", "javascript:alert(1)",
        "http://", "http:///x", "http:/x", "https://user:secret@example.com", "http://a b",
        "http://a/ b", "http://a:port", "http://a\\n", " http://a", "data:text/html,x", "http://?x",
        "http://a/<b>"}) {
    EXPECT_THAT(Violations("Forms", std::string("url: \"") + bad + "\""),
                ElementsAre("url must be an absolute http or https URL"))
        << bad;
  }
}

TEST(Rules, ANameIsALineThatShowsAsItIsWritten) {
  for (const char* good :
       {"Grace Hopper", "J.R.R. Tolkien", "Dr.Who", "O'Brien", "李小龍", "Łukasz Żółć", "AC/DC",
        "नेहा", "evil.example", "x", "50% off: 2 for 1", "\U0001F600", "a.b/c", "www"}) {
    EXPECT_THAT(Violations("Forms", std::string("name: \"") + good + "\""), IsEmpty()) << good;
  }
  for (const char* bad :
       {"a\\nb", "a\\tb", "\\001", "a\\177", "a\u0085b", "a\u00adb", "\u200b", "a\u200bb",
        "a\u202eb", "a\u2066b", "a\ufeffb", "a\u2028b", " ", "\u200b\u200b"}) {
    EXPECT_THAT(
        Violations("Forms", std::string("name: \"") + bad + "\""),
        ElementsAre("name must be one line, not blank, and without characters that are not seen"))
        << bad;
  }
  for (const char* link : {"Click http://evil.example/win now", "HTTPS://a", "see WWW.evil.example",
                           "evil.example/win", "bücher.example/", "ftp://x"}) {
    EXPECT_THAT(Violations("Forms", std::string("name: \"") + link + "\""),
                ElementsAre("name must not contain a link"))
        << link;
  }
}

TEST(Rules, NumbersStayInTheirBounds) {
  EXPECT_THAT(Violations("Numbers", "number: -5 small: 1 huge: 5"), IsEmpty());
  EXPECT_THAT(Violations("Numbers", "number: 5"), IsEmpty());
  EXPECT_THAT(Violations("Numbers", "number: -6"), ElementsAre("number must be at least -5"));
  EXPECT_THAT(Violations("Numbers", "number: 6"), ElementsAre("number must be at most 5"));
  EXPECT_THAT(Violations("Numbers", "small: 0"), ElementsAre("small must be at least 1"));
  EXPECT_THAT(Violations("Numbers", "small: -1"), ElementsAre("small must be at least 1"));
  EXPECT_THAT(Violations("Numbers", "huge: 18446744073709551615"),
              ElementsAre("huge must be at most 5"));
  EXPECT_THAT(Violations("Numbers", "small_unsigned: 1"),
              ElementsAre("smallUnsigned must be at least 2"));
}

TEST(Rules, BoundsOfMoneyAreWrittenAsAmounts) {
  EXPECT_THAT(Violations("Numbers", "price: -1"), ElementsAre("price must be at least 0.01"));
  EXPECT_THAT(Violations("Numbers", "price: 100000"), ElementsAre("price must be at most 999.99"));
}

TEST(Rules, ListsAreBoundedAndTheirElementsChecked) {
  EXPECT_THAT(Violations("Lists", R"(texts: "a" texts: "b" texts: "c")"),
              ElementsAre("texts must have at most 2 items"));
  EXPECT_THAT(
      Violations("Lists", R"(texts: "abc" texts: "abcd" none: ["a", "b"])"),
      ElementsAre("texts[1] must be at most 3 characters", "none must have at most 1 item"));
  EXPECT_THAT(Violations("Lists", "numbers: [1, 0, 2]"),
              ElementsAre("numbers[1] must be at least 1"));
  EXPECT_THAT(
      Violations("Lists", "inners { big_number: 1 } inners {} inners { big_number: 10 }"),
      ElementsAre("inners[1].bigNumber is required", "inners[2].bigNumber must be at most 9"));
}

TEST(Rules, TheFirstElementOfAListIsCheckedToo) {
  EXPECT_THAT(Violations("Lists", R"(texts: "abcd")"),
              ElementsAre("texts[0] must be at most 3 characters"));
  EXPECT_THAT(Violations("Lists", "numbers: [0]"), ElementsAre("numbers[0] must be at least 1"));
  EXPECT_THAT(Violations("Lists", "inners {}"), ElementsAre("inners[0].bigNumber is required"));
}

TEST(Rules, AnEmptyListHasTooFewItems) {
  EXPECT_THAT(Violations("AtLeast", ""),
              ElementsAre("one must not be empty", "two must have at least 2 items"));
  EXPECT_THAT(Violations("AtLeast", "one: 0 two: [0, 0]"), IsEmpty());
}

TEST(Rules, AnUnknownEnumNumberIsRefused) {
  for (const char* text : {"colour: COLOUR_UNSPECIFIED", "colour: COLOUR_BLUE"}) {
    EXPECT_THAT(Violations("Plain", text), IsEmpty());
  }
  const auto with = [](const char* type, const char* field, int number) {
    std::unique_ptr<Message> message = Make(type, "");
    const auto* descriptor = message->GetDescriptor()->FindFieldByName(field);
    if (descriptor->is_repeated()) {
      message->GetReflection()->AddEnumValue(message.get(), descriptor, number);
    } else {
      message->GetReflection()->SetEnumValue(message.get(), descriptor, number);
    }
    return message;
  };
  EXPECT_THAT(Violations(*with("Plain", "colour", 3)),
              ElementsAre("colour is not one of the values it can have"));
  EXPECT_THAT(Violations(*with("Plain", "colour", -1)),
              ElementsAre("colour is not one of the values it can have"));
  EXPECT_THAT(Violations(*with("Lists", "colours", 99)),
              ElementsAre("colours[0] is not one of the values it can have"));
  EXPECT_THAT(Violations(*with("EnumBounds", "colour", 1)),
              ElementsAre("colour is not one of the values it can have"));
  EXPECT_THAT(Violations(*with("EnumBounds", "colour", 2)), IsEmpty());
}

TEST(Rules, NoStringHoldsNul) {
  EXPECT_THAT(Violations("Plain", R"(text: "a\0b" texts: "ok" texts: "\0")"),
              ElementsAre("text must not contain the character NUL",
                          "texts[1] must not contain the character NUL"));
  EXPECT_THAT(Violations("Plain", R"(raw: "a\0b")"), IsEmpty());
}

TEST(Rules, AMessageMayHoldItsOwnType) {
  EXPECT_THAT(Violations("Tree", R"(leaf_name: "ab" branches { branches { leaf_name: "cd" } }
                            trunk { trunk { leaf_name: "ef" } })"),
              ElementsAre("leafName must be at most 1 character",
                          "branches[0].branches[0].leafName must be at most 1 character",
                          "trunk.trunk.leafName must be at most 1 character"));
}

TEST(Rules, AFloodOfViolationsIsCutShort) {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "branches { leaf_name: \"ab\" } ";
  EXPECT_EQ(Violations("Tree", text).size(), 32u);
}

TEST(Rules, ARuleThatDoesNotFitItsFieldIsAnError) {
  for (const char* type : {"MinOfString", "LengthOfNumber", "ItemsOfSingle", "BadPattern"}) {
    // A second time too: nothing half-made is kept.
    for (int i = 0; i < 2; ++i) EXPECT_THROW(Violations(type, ""), std::logic_error) << type;
  }
}

TEST(Rules, TheOrdersOwnRulesHold) {
  orders::v1::CreateOrderRequest request;
  orders::v1::OrderLine* line = request.add_items();
  line->set_product_id(3);
  line->set_quantity(-5);
  request.mutable_shipping_address()->set_city("Graz");
  request.set_payment_method(static_cast<orders::v1::PaymentMethod>(77));
  EXPECT_THAT(Violations(request),
              testing::UnorderedElementsAre("items[0].quantity must be at least 1",
                                            "paymentMethod is not one of the values it can have",
                                            "shippingAddress.street must not be empty",
                                            "shippingAddress.country must not be empty"));
}

TEST(Rules, ManyThreadsMayStartAtOnce) {
  const std::unique_ptr<Message> message = Make("Tree", R"(trunk { leaf_name: "ab" })");
  std::atomic<int> refused = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      if (!CheckRules(*message)) ++refused;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(refused, 8);
}

TEST(Rules, ATimeIsOfTheFourDigitYears) {
  constexpr char kRange[] = "must be from 0001-01-01T00:00:00Z to 9999-12-31T23:59:59.999999999Z";
  for (const char* time : {"seconds: -62135596800", "seconds: 253402300799 nanos: 999999999", "",
                           "seconds: -1 nanos: 1"}) {
    EXPECT_THAT(Violations("Times", "at {" + std::string(time) + "}"), IsEmpty()) << time;
  }
  for (const char* time :
       {"seconds: -62135596801", "seconds: 253402300800", "seconds: 9223372036855",
        "seconds: -9223372036854775808", "nanos: -1", "nanos: 1000000000"}) {
    EXPECT_THAT(Violations("Times", "at {" + std::string(time) + "}"),
                ElementsAre("at " + std::string(kRange)))
        << time;
  }
  EXPECT_THAT(Violations("Times", "times {} times { nanos: -1 }"),
              ElementsAre("times[1] " + std::string(kRange)));
  EXPECT_THAT(Violations("Times", R"(named { key: "a" value { nanos: -1 } })"),
              ElementsAre("named[0].value " + std::string(kRange)));
  orders::v1::ListOrdersRequest orders;
  orders.mutable_created_from()->set_seconds(9223372036855);
  EXPECT_THAT(Violations(orders), ElementsAre("createdFrom " + std::string(kRange)));
}

}  // namespace
}  // namespace shop::rpc
