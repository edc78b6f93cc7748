#include "common/json/codec.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <limits>
#include <thread>

#include "common/json/testing/codec.pb.h"
#include "shop/orders/v1/orders.pb.h"

namespace shop::json {
namespace {

using google::protobuf::util::MessageDifferencer;
using shop::testing::json::v1::Everything;
using shop::testing::json::v1::Nested;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
namespace test = shop::testing::json::v1;

// What `text` reads as; fails the test when it is refused.
Everything Reads(std::string_view text) {
  Everything message;
  const Result<void> read = Read(text, &message);
  EXPECT_TRUE(read) << text << ": "
                    << (read.refusal().details.empty() ? read.refusal().message
                                                       : read.refusal().details[0].field + " " +
                                                             read.refusal().details[0].message);
  return message;
}

// The path of the field for which `text` is refused, "" when it is for none, "accepted" otherwise.
std::string RefusedFor(std::string_view text) {
  Everything message;
  const Result<void> read = Read(text, &message);
  if (read) return "accepted";
  EXPECT_EQ(read.refusal().code, Code::kInvalidArgument);
  return read.refusal().details.empty() ? "" : read.refusal().details[0].field;
}

std::string Complaint(std::string_view text) {
  Everything message;
  const Result<void> read = Read(text, &message);
  if (read) return "accepted";
  return read.refusal().details.empty() ? read.refusal().message
                                        : read.refusal().details[0].message;
}

// The JSON of one member of `message`.
std::string Member(const Everything& message, const std::string& name) {
  const std::string json = Write(message);
  const size_t at = json.find("\"" + name + "\":");
  if (at == std::string::npos) return "absent";
  size_t end = at + name.size() + 3;
  const size_t start = end;
  int depth = 0;
  bool quoted = false;
  for (; end < json.size(); ++end) {
    const char c = json[end];
    if (quoted) {
      if (c == '\\') ++end;
      if (c == '"') quoted = false;
      continue;
    }
    if (c == '"') quoted = true;
    if (c == '[' || c == '{') ++depth;
    if (depth == 0 && (c == ',' || c == '}')) break;
    if (c == ']' || c == '}') --depth;
  }
  return json.substr(start, end - start);
}

TEST(Writing, AnEmptyMessageHasEveryFieldWithoutPresenceInTheOrderOfTheDeclaration) {
  EXPECT_EQ(Write(Everything()),
            R"({"int32Value":0,"int64Value":0,"uint32Value":0,"uint64Value":0,"sint64Value":0,)"
            R"("fixed32Value":0,"doubleValue":0,"floatValue":0,"boolValue":false,"stringValue":"",)"
            R"("bytesValue":"","colour":"UNSPECIFIED","plain":"NONE","price":0.00,"numbers":[],)"
            R"("texts":[],"colours":[],"prices":[],"items":[],"times":[],"flags":[],"ratios":[],)"
            R"("counts":{},"things":{},"fromHeader":""})");
}

TEST(Writing, AnOrderReadsAsTheContractShowsIt) {
  orders::v1::Order order;
  order.set_id(7);
  order.set_user_id(3);
  order.set_status(orders::v1::ORDER_STATUS_PENDING);
  auto* item = order.add_items();
  item->set_product_id(12);
  item->set_name("Lamp \"Æ\"");
  item->set_quantity(2);
  item->set_unit_price(4999);
  item->set_total_price(9998);
  order.set_total_price(9998);
  order.set_currency("USD");
  order.set_number("7K3M-9QXD");
  order.mutable_created_at()->set_seconds(1769860800);
  order.mutable_created_at()->set_nanos(12'999'999);
  EXPECT_EQ(Write(order),
            R"({"id":7,"uuid":"","userId":3,"status":"PENDING",)"
            R"("items":[{"productId":12,"name":"Lamp \"Æ\"","quantity":2,"unitPrice":49.99,)"
            R"("totalPrice":99.98}],"totalPrice":99.98,"currency":"USD",)"
            R"("paymentMethod":"UNSPECIFIED","createdAt":"2026-01-31T12:00:00.012Z",)"
            R"("number":"7K3M-9QXD"})");
}

TEST(Writing, FieldsWithPresenceAppearOnceSetEvenToTheirDefault) {
  Everything message;
  message.set_maybe_number(0);
  message.set_maybe_text("");
  message.set_maybe_colour(test::COLOUR_UNSPECIFIED);
  message.set_maybe_price(0);
  message.set_maybe_flag(false);
  message.mutable_nested();
  message.set_by_id(0);
  EXPECT_EQ(Member(message, "maybeNumber"), "0");
  EXPECT_EQ(Member(message, "maybeText"), "\"\"");
  EXPECT_EQ(Member(message, "maybeColour"), "\"UNSPECIFIED\"");
  EXPECT_EQ(Member(message, "maybePrice"), "0.00");
  EXPECT_EQ(Member(message, "maybeFlag"), "false");
  EXPECT_EQ(Member(message, "nested"), R"({"productId":0,"quantity":0})");
  EXPECT_EQ(Member(message, "byId"), "0");
  EXPECT_EQ(Member(message, "byName"), "absent");
}

TEST(Writing, MoneyHasTwoDigitsWhateverItsSize) {
  const auto money = [](int64_t minor) {
    Everything message;
    message.set_price(minor);
    return Member(message, "price");
  };
  EXPECT_EQ(money(1), "0.01");
  EXPECT_EQ(money(10), "0.10");
  EXPECT_EQ(money(4999), "49.99");
  EXPECT_EQ(money(-5), "-0.05");
  EXPECT_EQ(money(-12345), "-123.45");
  EXPECT_EQ(money(std::numeric_limits<int64_t>::max()), "92233720368547758.07");
  EXPECT_EQ(money(std::numeric_limits<int64_t>::min()), "-92233720368547758.08");
}

TEST(Writing, EnumsAreBareAndUnknownNumbersStay) {
  Everything message;
  message.set_colour(test::COLOUR_DARK_BLUE);
  message.set_plain(test::SOME);
  message.add_colours(test::COLOUR_RED);
  message.add_colours(static_cast<test::Colour>(77));
  EXPECT_EQ(Member(message, "colour"), "\"DARK_BLUE\"");
  EXPECT_EQ(Member(message, "plain"), "\"SOME\"");
  EXPECT_EQ(Member(message, "colours"), "[\"RED\",77]");
}

TEST(Writing, TimesAreUtcWithMilliseconds) {
  const auto time = [](int64_t seconds, int32_t nanos) {
    Everything message;
    message.mutable_at()->set_seconds(seconds);
    message.mutable_at()->set_nanos(nanos);
    return Member(message, "at");
  };
  EXPECT_EQ(time(0, 0), "\"1970-01-01T00:00:00.000Z\"");
  EXPECT_EQ(time(951782400, 500'000'000), "\"2000-02-29T00:00:00.500Z\"");
  EXPECT_EQ(time(-1, 999'000'000), "\"1969-12-31T23:59:59.999Z\"");
  EXPECT_EQ(time(-62135596800, 0), "\"0001-01-01T00:00:00.000Z\"");
  EXPECT_EQ(time(253402300799, 0), "\"9999-12-31T23:59:59.000Z\"");
  EXPECT_EQ(time(253402300800, 0), "null");
  EXPECT_EQ(time(0, -1), "null");
}

TEST(Writing, WhatJsonCannotSayIsNull) {
  Everything message;
  message.set_double_value(std::nan(""));
  message.set_float_value(std::numeric_limits<float>::infinity());
  EXPECT_EQ(Member(message, "doubleValue"), "null");
  EXPECT_EQ(Member(message, "floatValue"), "null");
}

TEST(Writing, MapsAreObjectsInTheOrderOfTheirKeys) {
  Everything message;
  (*message.mutable_counts())["b"] = 2;
  (*message.mutable_counts())["a\""] = 1;
  (*message.mutable_things())["x"].set_quantity(5);
  EXPECT_EQ(Member(message, "counts"), R"({"a\"":1,"b":2})");
  EXPECT_EQ(Member(message, "things"), R"({"x":{"productId":0,"quantity":5}})");
}

TEST(Writing, BytesAreBase64) {
  const auto bytes = [](const std::string& text) {
    Everything message;
    message.set_bytes_value(text);
    return Member(message, "bytesValue");
  };
  EXPECT_EQ(bytes("f"), "\"Zg==\"");
  EXPECT_EQ(bytes("fo"), "\"Zm8=\"");
  EXPECT_EQ(bytes("foo"), "\"Zm9v\"");
  EXPECT_EQ(bytes("\xff\xfe\xfd"), "\"//79\"");
}

TEST(Writing, StringsAreEscapedAndAlwaysValidUtf8) {
  const auto string = [](std::string_view text) {
    std::string out;
    WriteString(text, &out);
    return out;
  };
  EXPECT_EQ(string(""), "\"\"");
  EXPECT_EQ(string("a\"b\\c/"), R"("a\"b\\c/")");
  EXPECT_EQ(string(std::string_view("\n\r\t\b\0\x1f", 6)), R"("\n\r\t\u0008\u0000\u001f")");
  EXPECT_EQ(string("Grüße 🎉"), "\"Grüße 🎉\"");
  EXPECT_EQ(string("a\"\xff\"ü"), "\"a\\\"\xef\xbf\xbd\\\"ü\"");
  EXPECT_EQ(string("ü\xc3"), "\"ü\xef\xbf\xbd\"");
  EXPECT_EQ(string("\xed\xa0\x80"), "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
}

TEST(Reading, AFieldIsKnownByJsonNameProtoNameAndAlias) {
  EXPECT_EQ(Reads(R"({"int64Value":5})").int64_value(), 5);
  EXPECT_EQ(Reads(R"({"int64_value":5})").int64_value(), 5);
  EXPECT_EQ(Reads(R"({"items":[{"productId":5}]})").items(0).product_id(), 5);
  EXPECT_EQ(Reads(R"({"products":[{"product_id":5}]})").items(0).product_id(), 5);
  EXPECT_EQ(Reads(R"({"int64\u0056alue":5})").int64_value(), 5);
}

TEST(Reading, NullCountsAsNotSent) {
  const Everything message =
      Reads(R"({"int32Value":null,"maybeText":null,"items":null,"nested":null,"counts":null})");
  EXPECT_TRUE(MessageDifferencer::Equals(message, Everything()));
}

TEST(Reading, WhatIsSentEmptyIsNotedWhereItsMessageKeepsThat) {
  const auto cleared = [](std::string_view text) {
    test::Change change;
    EXPECT_TRUE(Read(text, &change)) << text;
    return std::vector<std::string>(change.clear().begin(), change.clear().end());
  };
  EXPECT_THAT(cleared(R"({"label":null,"tags":[]})"), ElementsAre("label", "tags"));
  EXPECT_THAT(cleared(R"({"tags":null,"name":null})"), ElementsAre("tags"));
  EXPECT_THAT(cleared(R"({"label":"","tags":["a"]})"), IsEmpty());
  EXPECT_THAT(cleared(R"({"clear":["tags"]})"), ElementsAre("tags"));
  EXPECT_THAT(cleared("{}"), IsEmpty());
}

TEST(Reading, NullIsNoElement) {
  EXPECT_EQ(RefusedFor(R"({"numbers":[1,null]})"), "numbers[1]");
  EXPECT_EQ(RefusedFor(R"({"items":[null]})"), "items[0]");
  EXPECT_EQ(RefusedFor(R"({"counts":{"a":null}})"), "counts.a");
}

TEST(Reading, PresenceFollowsWhatWasSent) {
  const Everything message = Reads(R"({"maybeNumber":0,"maybeFlag":false})");
  EXPECT_TRUE(message.has_maybe_number());
  EXPECT_TRUE(message.has_maybe_flag());
  EXPECT_FALSE(message.has_maybe_text());
}

TEST(Reading, FieldsOfHeadersAreNotReadFromTheBody) {
  EXPECT_EQ(Reads(R"({"fromHeader":"x","from_header":1})").from_header(), "");
}

TEST(Reading, UnknownFieldsAreIgnored) {
  EXPECT_EQ(Reads(R"({"a":1,"b":"x","c":[1,[2,{"d":[]}],null],"e":{"f":{"g":-1.5e3}},"h":true,)"
                  R"("i":false,"j":"\u0000","int32Value":4})")
                .int32_value(),
            4);
}

TEST(Reading, UnknownFieldsHaveToBeWellFormed) {
  for (const char* text : {R"({"a":tru})",
                           R"({"a":nul})",
                           R"({"a":1x})",
                           R"({"a":01})",
                           R"({"a":+1})",
                           R"({"a":1.})",
                           R"({"a":.5})",
                           R"({"a":1e})",
                           R"({"a":-})",
                           R"({"a":"\q"})",
                           R"({"a":"\ud800"})",
                           R"({"a":[1,]})",
                           R"({"a":[1 2]})",
                           R"({"a":{"b"}})",
                           R"({"a":{"b":}})",
                           R"({"a":{"b":1,}})",
                           R"({"a":{1:2}})",
                           R"({"a":[}])",
                           R"({"a":{]})",
                           R"({"a":})",
                           R"({"a"})",
                           R"({"a":1 "b":2})",
                           R"({"a":"x})",
                           R"({"a":'x'})",
                           R"({"a":[{"b":1x}]})",
                           R"({"a":NaN})",
                           R"({"a":Infinity})",
                           R"({a:1})",
                           R"({"a":truefalse})",
                           R"({"a":"\u12g4"})"}) {
    EXPECT_NE(RefusedFor(text), "accepted") << text;
  }
}

TEST(Reading, WhatIsNotAnObjectIsRefused) {
  for (const char* text : {"", " ", "null", "1", "\"x\"", "[]", "[{}]", "true", "{", "}", "{}}",
                           "{]", "{\"a\":1", "{\"int32Value\":1]", "\xef\xbf\xbd", "{,}"}) {
    EXPECT_EQ(RefusedFor(text), "") << text;
  }
  EXPECT_EQ(Complaint("[1]"), "the JSON is not an object");
  EXPECT_EQ(Complaint(""), "the JSON is empty");
}

TEST(Reading, WhatFollowsTheObjectIsRefused) {
  for (const char* text : {"{} {}", "{}{}", "{}x", "{} 1", "{},", "{}null", "{\"a\":1} {}"}) {
    EXPECT_EQ(RefusedFor(text), "") << text;
  }
  EXPECT_THAT(Complaint("{} {}"), HasSubstr("byte 3"));
  Reads(" \t\r\n{ } \n");
}

TEST(Reading, ASyntaxErrorSaysWhere) {
  EXPECT_THAT(Complaint(R"({"int32Value" 1})"), HasSubstr("byte"));
  EXPECT_THAT(Complaint(R"({"stringValue":"never clos)"), HasSubstr("never closed"));
}

TEST(Reading, InvalidUtf8IsRefused) {
  EXPECT_THAT(Complaint("{\"stringValue\":\"\xff\"}"), HasSubstr("UTF-8"));
  EXPECT_THAT(Complaint("{\"unknown\":\"\xc3\x28\"}"), HasSubstr("UTF-8"));
  EXPECT_THAT(Complaint("{\"\xed\xa0\x80\":1}"), HasSubstr("UTF-8"));
}

TEST(Reading, RawControlCharactersAreRefused) {
  EXPECT_NE(RefusedFor("{\"stringValue\":\"a\nb\"}"), "accepted");
  EXPECT_NE(RefusedFor(std::string_view("{\"stringValue\":\"a\0b\"}", 21)), "accepted");
}

TEST(Reading, NulIsNoWhiteSpace) {
  for (const char* value : {"1", "true", "null", "1.5"}) {
    const std::string json = std::string(R"({"unknown":)") + value + std::string(2, '\0') + "}";
    EXPECT_NE(RefusedFor(json), "accepted") << value;
  }
  EXPECT_NE(RefusedFor(std::string_view("{\"int32Value\":1\0}", 17)), "accepted");
}

TEST(Reading, EscapesAreUnderstood) {
  EXPECT_EQ(Reads(R"({"stringValue":"\"\\\/\b\f\n\r\t\u00fc\ud83c\udf89"})").string_value(),
            "\"\\/\b\f\n\r\tü🎉");
}

TEST(Reading, HalfASurrogatePairIsRefused) {
  EXPECT_EQ(RefusedFor(R"({"stringValue":"\ud83c"})"), "stringValue");
  EXPECT_EQ(RefusedFor(R"({"stringValue":"\ud83cx"})"), "stringValue");
  EXPECT_EQ(RefusedFor(R"({"stringValue":"\udf89"})"), "stringValue");
  EXPECT_EQ(RefusedFor(R"({"texts":["a","\udf89\ud83c"]})"), "texts[1]");
}

TEST(Reading, TheCharacterNulIsRefused) {
  EXPECT_EQ(RefusedFor(R"({"stringValue":"a\u0000b"})"), "stringValue");
  EXPECT_EQ(RefusedFor(R"({"counts":{"a\u0000":1}})"), std::string("counts.a\0", 9));
}

TEST(Reading, AKeyGivenTwiceIsRefused) {
  EXPECT_EQ(RefusedFor(R"({"int32Value":1,"int32Value":1})"), "int32Value");
  EXPECT_EQ(RefusedFor(R"({"int32Value":1,"int32_value":1})"), "int32Value");
  EXPECT_EQ(RefusedFor(R"({"int32Value":null,"int32Value":1})"), "int32Value");
  EXPECT_EQ(RefusedFor(R"({"items":[],"products":[]})"), "items");
  EXPECT_EQ(RefusedFor(R"({"items":[{},{"quantity":1,"quantity":2}]})"), "items[1].quantity");
  EXPECT_EQ(RefusedFor(R"({"counts":{"a":1,"b":2,"a":3}})"), "counts.a");
  EXPECT_EQ(RefusedFor(R"({"x":1,"y":2,"x":3})"), "x");
  EXPECT_EQ(RefusedFor(R"({"x":{"y":[{"z":1,"\u007a":1}]}})"), "x.y[0].z");
  EXPECT_EQ(RefusedFor(R"({"":1,"":1})"), R"("")");
}

TEST(Reading, AWrongTypeIsRefusedNamingTheField) {
  for (const char* value : {"\"5\"", "true", "[]", "{}", "[5]"}) {
    for (const char* name : {"int32Value", "int64Value", "uint32Value", "uint64Value",
                             "sint64Value", "fixed32Value", "doubleValue", "floatValue", "price"}) {
      const std::string text = std::string("{\"") + name + "\":" + value + "}";
      EXPECT_EQ(RefusedFor(text), name) << text;
    }
  }
  EXPECT_EQ(RefusedFor(R"({"stringValue":5})"), "stringValue");
  EXPECT_EQ(RefusedFor(R"({"stringValue":{}})"), "stringValue");
  EXPECT_EQ(RefusedFor(R"({"stringValue":["a"]})"), "stringValue");
  EXPECT_EQ(RefusedFor(R"({"boolValue":"true"})"), "boolValue");
  EXPECT_EQ(RefusedFor(R"({"boolValue":1})"), "boolValue");
  EXPECT_EQ(RefusedFor(R"({"colour":1})"), "colour");
  EXPECT_EQ(RefusedFor(R"({"at":1})"), "at");
  EXPECT_EQ(RefusedFor(R"({"at":{"seconds":1}})"), "at");
  EXPECT_EQ(RefusedFor(R"({"nested":[]})"), "nested");
  EXPECT_EQ(RefusedFor(R"({"nested":"x"})"), "nested");
  EXPECT_EQ(RefusedFor(R"({"numbers":5})"), "numbers");
  EXPECT_EQ(RefusedFor(R"({"numbers":{"0":5}})"), "numbers");
  EXPECT_EQ(RefusedFor(R"({"numbers":[1,"2"]})"), "numbers[1]");
  EXPECT_EQ(RefusedFor(R"({"counts":[]})"), "counts");
  EXPECT_EQ(RefusedFor(R"({"counts":{"a":"1"}})"), "counts.a");
  EXPECT_EQ(RefusedFor(R"({"items":[{"quantity":"x"}]})"), "items[0].quantity");
  EXPECT_EQ(RefusedFor(R"({"products":[{},{"quantity":"x"}]})"), "items[1].quantity");
  EXPECT_EQ(RefusedFor(R"({"nested":{"inner":{"productId":"x"}}})"), "nested.inner.productId");
  EXPECT_EQ(RefusedFor(R"({"things":{"k":{"quantity":[]}}})"), "things.k.quantity");
}

TEST(Reading, IntegersHaveNeitherFractionNorExponent) {
  for (const char* number : {"5.0", "5.5", "5e0", "5E2", "0.0", "1e-1"}) {
    EXPECT_EQ(RefusedFor(std::string("{\"int64Value\":") + number + "}"), "int64Value") << number;
  }
  EXPECT_EQ(Reads(R"({"int64Value":-0})").int64_value(), 0);
}

TEST(Reading, IntegersStayInTheRangeOfTheirFieldAndOfJson) {
  EXPECT_EQ(Reads(R"({"int32Value":2147483647})").int32_value(), 2147483647);
  EXPECT_EQ(Reads(R"({"int32Value":-2147483648})").int32_value(), -2147483647 - 1);
  EXPECT_EQ(RefusedFor(R"({"int32Value":2147483648})"), "int32Value");
  EXPECT_EQ(RefusedFor(R"({"int32Value":-2147483649})"), "int32Value");
  EXPECT_EQ(Reads(R"({"uint32Value":4294967295})").uint32_value(), 4294967295u);
  EXPECT_EQ(RefusedFor(R"({"uint32Value":4294967296})"), "uint32Value");
  EXPECT_EQ(RefusedFor(R"({"uint32Value":-1})"), "uint32Value");
  EXPECT_EQ(RefusedFor(R"({"uint64Value":-1})"), "uint64Value");
  EXPECT_EQ(Reads(R"({"int64Value":9007199254740991})").int64_value(), 9007199254740991);
  EXPECT_EQ(Reads(R"({"int64Value":-9007199254740991})").int64_value(), -9007199254740991);
  for (const char* name : {"int64Value", "uint64Value", "sint64Value"}) {
    for (const char* number :
         {"9007199254740992", "9223372036854775808", "99999999999999999999999999"}) {
      const std::string text = std::string("{\"") + name + "\":" + number + "}";
      EXPECT_EQ(RefusedFor(text), name) << text;
    }
  }
}

TEST(Reading, AmountsAreReadExactlyFromTheirText) {
  const auto price = [](const std::string& number) {
    return Reads("{\"price\":" + number + "}").price();
  };
  EXPECT_EQ(price("49.99"), 4999);
  EXPECT_EQ(price("49.9"), 4990);
  EXPECT_EQ(price("49"), 4900);
  EXPECT_EQ(price("0.07"), 7);
  EXPECT_EQ(price("-0.01"), -1);
  EXPECT_EQ(price("-0"), 0);
  EXPECT_EQ(price("1.15"), 115);  // as a double it is 1.1499999…
  EXPECT_EQ(price("4.35"), 435);
  EXPECT_EQ(price("90071992547409.91"), 9007199254740991);
  EXPECT_EQ(price("4.999e1"), 4999);
  EXPECT_EQ(price("4999E-2"), 4999);
  EXPECT_EQ(price("1e+2"), 10000);
  EXPECT_EQ(price("0e999999999999"), 0);
}

TEST(Reading, AmountsOutsideTheirBoundsAreRefused) {
  for (const char* number :
       {"49.999", "0.001", "49.990", "4999e-3", "1e-3", "90071992547409.92", "1e400",
        "1e99999999999999", "-1e400", "123456789012345678901234567890", "1e-99999999999"}) {
    EXPECT_EQ(RefusedFor(std::string("{\"price\":") + number + "}"), "price") << number;
  }
}

TEST(Reading, FloatingNumbersStayFinite) {
  EXPECT_EQ(Reads(R"({"doubleValue":-1.5e3})").double_value(), -1500);
  EXPECT_EQ(RefusedFor(R"({"doubleValue":1e999})"), "doubleValue");
  EXPECT_EQ(RefusedFor(R"({"floatValue":1e39})"), "floatValue");
}

TEST(Reading, EnumsAreReadInAnyCaseWithAndWithoutPrefix) {
  for (const char* name :
       {"DARK_BLUE", "dark_blue", "Dark_Blue", "COLOUR_DARK_BLUE", "colour_dark_blue"}) {
    EXPECT_EQ(Reads(std::string("{\"colour\":\"") + name + "\"}").colour(), test::COLOUR_DARK_BLUE)
        << name;
  }
  EXPECT_EQ(RefusedFor(R"({"colour":"GREEN"})"), "colour");
  EXPECT_EQ(RefusedFor(R"({"colour":""})"), "colour");
  EXPECT_EQ(RefusedFor(R"({"colours":["RED","2"]})"), "colours[1]");
  EXPECT_EQ(Complaint(R"({"colour":"GREEN"})"), "must be one of RED, DARK_BLUE");
}

TEST(Reading, TimesAreRfc3339) {
  const auto at = [](const std::string& time) { return Reads("{\"at\":\"" + time + "\"}").at(); };
  EXPECT_EQ(at("2026-01-31T12:00:00Z").seconds(), 1769860800);
  EXPECT_EQ(at("2026-01-31t12:00:00.5z").nanos(), 500'000'000);
  EXPECT_EQ(at("2026-01-31T12:00:00.123456789Z").nanos(), 123'456'789);
  EXPECT_EQ(at("2026-01-31T13:30:00+01:30").seconds(), 1769860800);
  EXPECT_EQ(at("2026-01-31T11:00:00-01:00").seconds(), 1769860800);
  EXPECT_EQ(at("0001-01-01T00:00:00Z").seconds(), -62135596800);
  EXPECT_EQ(at("2024-02-29T00:00:00Z").seconds(), 1709164800);
  for (const char* time : {"",
                           "2026-01-31",
                           "2026-01-31 12:00:00Z",
                           "2026-01-31T12:00:00",
                           "2026-02-29T00:00:00Z",
                           "2026-13-01T00:00:00Z",
                           "2026-00-01T00:00:00Z",
                           "2026-01-00T00:00:00Z",
                           "2026-01-31T24:00:00Z",
                           "2026-01-31T12:60:00Z",
                           "2026-01-31T12:00:60Z",
                           "2026-01-31T12:00:00.Z",
                           "2026-01-31T12:00:00.1234567890Z",
                           "2026-01-31T12:00:00+1:00",
                           "2026-01-31T12:00:00+24:00",
                           "2026-01-31T12:00:00Zx",
                           "0000-01-01T00:00:00Z",
                           "0001-01-01T00:00:00+01:00",
                           "9999-12-31T23:59:59-00:01",
                           "1769860800"}) {
    EXPECT_EQ(RefusedFor(std::string("{\"at\":\"") + time + "\"}"), "at") << time;
  }
}

TEST(Reading, BytesAreBase64OfEitherAlphabet) {
  EXPECT_EQ(Reads(R"({"bytesValue":"Zm8="})").bytes_value(), "fo");
  EXPECT_EQ(Reads(R"({"bytesValue":"Zm8"})").bytes_value(), "fo");
  EXPECT_EQ(Reads(R"({"bytesValue":"__79"})").bytes_value(), "\xff\xfe\xfd");
  EXPECT_EQ(RefusedFor(R"({"bytesValue":"Z"})"), "bytesValue");
  EXPECT_EQ(RefusedFor(R"({"bytesValue":"Zm 8"})"), "bytesValue");
}

TEST(Reading, OneMemberOfAOneofAlone) {
  EXPECT_EQ(Reads(R"({"byId":4})").by_id(), 4);
  EXPECT_EQ(Reads(R"({"byId":null,"byName":"x"})").by_name(), "x");
  EXPECT_EQ(RefusedFor(R"({"byId":4,"byName":"x"})"), "byName");
}

TEST(Reading, NestingEndsAt32) {
  const auto known = [](int depth) {
    std::string text;
    for (int i = 1; i < depth; ++i) text += i == 1 ? "{\"nested\":" : "{\"inner\":";
    text += "{}";
    return text + std::string(static_cast<size_t>(depth - 1), '}');
  };
  const auto unknown = [](int depth) {
    const auto lists = static_cast<size_t>(depth - 1);
    return "{\"x\":" + std::string(lists, '[') + std::string(lists, ']') + "}";
  };
  EXPECT_EQ(RefusedFor(known(32)), "accepted");
  EXPECT_THAT(Complaint(known(33)), HasSubstr("deeper than 32"));
  EXPECT_EQ(RefusedFor(unknown(32)), "accepted");
  EXPECT_THAT(Complaint(unknown(33)), HasSubstr("deeper than 32"));
  EXPECT_THAT(Complaint(unknown(200'000)), Not(HasSubstr("accepted")));
}

TEST(Reading, ValuesEndAtTenThousand) {
  const auto list = [](const char* name, const char* element, int count) {
    std::string text = "{\"" + std::string(name) + "\":[";
    for (int i = 0; i < count; ++i) text += (i > 0 ? "," : "") + std::string(element);
    return text + "]}";
  };
  EXPECT_EQ(RefusedFor(list("numbers", "1", 9'999)), "accepted");
  EXPECT_EQ(RefusedFor(list("numbers", "1", 10'000)), "numbers[9999]");
  EXPECT_EQ(RefusedFor(list("items", "{}", 340'000)), "items[9999]");
  EXPECT_EQ(RefusedFor(list("unknown", "[[]]", 5'000)), "unknown[4999].[0]");
  std::string members = "{";
  for (int i = 0; i < 10'001; ++i) members += (i > 0 ? ",\"" : "\"") + std::to_string(i) + "\":0";
  EXPECT_EQ(RefusedFor(members + "}"), "10000");
  Everything event;
  EXPECT_TRUE(ReadTolerantly(list("numbers", "1", 20'000), &event));
}

TEST(Reading, PathsBeginWhereTheMessageStands) {
  Nested nested;
  const Result<void> read = Read(R"({"quantity":"x"})", &nested, "item");
  ASSERT_FALSE(read);
  EXPECT_EQ(read.refusal().details[0].field, "item.quantity");
}

TEST(Reading, MergesIntoWhatIsThere) {
  Everything message;
  message.set_int32_value(1);
  message.add_numbers(1);
  ASSERT_TRUE(Read(R"({"numbers":[2],"stringValue":"x"})", &message));
  EXPECT_EQ(message.int32_value(), 1);
  EXPECT_THAT(message.numbers(), ElementsAre(1, 2));
}

TEST(Reading, ATruncatedDocumentIsNeverAccepted) {
  const std::string text =
      R"({"items":[{"productId":1,"quantity":2}],"price":49.99,"x":{"y":[true,null,"\u00fc"]}})";
  for (size_t length = 0; length < text.size(); ++length) {
    EXPECT_NE(RefusedFor(text.substr(0, length)), "accepted") << length;
  }
}

TEST(Types, WithoutARuleAreRefusedAtTheFirstUse) {
  EXPECT_THROW(Write(test::WrongMap()), std::logic_error);
  EXPECT_THROW(Write(test::WrongMap()), std::logic_error);
  EXPECT_THROW(Write(test::WrongMoney()), std::logic_error);
  EXPECT_EQ(Write(Nested()), R"({"productId":0,"quantity":0})");
}

class Scalars : public ::testing::Test {
 protected:
  // The field refused, or "".
  std::string Set(const std::string& name, std::string_view text) {
    const auto* field = Everything::descriptor()->FindFieldByName(name);
    const Result<void> set = ReadScalar(text, field, "p." + name, &message_);
    return set ? "" : set.refusal().details.at(0).field;
  }
  Everything message_;
};

TEST_F(Scalars, AreReadFromText) {
  EXPECT_EQ(Set("int32_value", "-5"), "");
  EXPECT_EQ(Set("maybe_price", "9.5"), "");
  EXPECT_EQ(Set("string_value", "5 ü"), "");
  EXPECT_EQ(Set("maybe_colour", "red"), "");
  EXPECT_EQ(Set("bool_value", "true"), "");
  EXPECT_EQ(Set("double_value", "1.5"), "");
  EXPECT_EQ(Set("at", "2026-01-31T12:00:00Z"), "");
  EXPECT_EQ(Set("numbers", "1"), "");
  EXPECT_EQ(Set("numbers", "2"), "");
  EXPECT_EQ(message_.int32_value(), -5);
  EXPECT_EQ(message_.maybe_price(), 950);
  EXPECT_EQ(message_.string_value(), "5 ü");
  EXPECT_EQ(message_.maybe_colour(), test::COLOUR_RED);
  EXPECT_TRUE(message_.bool_value());
  EXPECT_EQ(message_.double_value(), 1.5);
  EXPECT_EQ(message_.at().seconds(), 1769860800);
  EXPECT_THAT(message_.numbers(), ElementsAre(1, 2));
}

TEST_F(Scalars, ThatAreWrongAreRefusedByTheirPath) {
  EXPECT_EQ(Set("int32_value", ""), "p.int32_value");
  EXPECT_EQ(Set("int32_value", "abc"), "p.int32_value");
  EXPECT_EQ(Set("int32_value", "1.5"), "p.int32_value");
  EXPECT_EQ(Set("int32_value", "99999999999"), "p.int32_value");
  EXPECT_EQ(Set("int64_value", "9007199254740992"), "p.int64_value");
  EXPECT_EQ(Set("price", "1.234"), "p.price");
  EXPECT_EQ(Set("string_value", "\xff"), "p.string_value");
  EXPECT_EQ(Set("string_value", std::string_view("\0", 1)), "p.string_value");
  EXPECT_EQ(Set("bool_value", "yes"), "p.bool_value");
  EXPECT_EQ(Set("colour", "1"), "p.colour");
  EXPECT_EQ(Set("at", "yesterday"), "p.at");
  EXPECT_EQ(Set("nested", "{}"), "p.nested");
  EXPECT_TRUE(MessageDifferencer::Equals(message_, Everything()));
}

TEST(Threads, FindTheSamePlansAtTheSameTime) {
  std::vector<std::thread> threads;
  std::vector<std::string> written(8);
  for (std::string& out : written) {
    threads.emplace_back([&out] {
      for (int i = 0; i < 200; ++i) {
        Everything message;
        if (!Read(R"({"items":[{"productId":1}],"counts":{"a":1}})", &message)) return;
        out = Write(message);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& out : written) {
    EXPECT_EQ(out, written[0]);
    EXPECT_THAT(out, HasSubstr("\"counts\":{\"a\":1}"));
  }
}

// Properties: what is written is read back as it was.

std::string AnyText() {
  const auto points = *rc::gen::container<std::vector<uint32_t>>(rc::gen::oneOf(
      rc::gen::inRange<uint32_t>(0x01, 0x80), rc::gen::inRange<uint32_t>(0x80, 0x800),
      rc::gen::inRange<uint32_t>(0x800, 0xd800), rc::gen::inRange<uint32_t>(0xe000, 0x110000)));
  std::string text;
  for (const uint32_t point : points) {
    if (point < 0x80) {
      text += static_cast<char>(point);
    } else if (point < 0x800) {
      text += static_cast<char>(0xc0 | point >> 6);
      text += static_cast<char>(0x80 | (point & 63));
    } else if (point < 0x10000) {
      text += static_cast<char>(0xe0 | point >> 12);
      text += static_cast<char>(0x80 | (point >> 6 & 63));
      text += static_cast<char>(0x80 | (point & 63));
    } else {
      text += static_cast<char>(0xf0 | point >> 18);
      text += static_cast<char>(0x80 | (point >> 12 & 63));
      text += static_cast<char>(0x80 | (point >> 6 & 63));
      text += static_cast<char>(0x80 | (point & 63));
    }
  }
  return text;
}

int64_t AnySafe() {
  constexpr int64_t kLimit = int64_t{1} << 53;
  return *rc::gen::oneOf(rc::gen::inRange<int64_t>(-kLimit + 1, kLimit),
                         rc::gen::inRange<int64_t>(-300, 300));
}

void AnyTime(google::protobuf::Timestamp* time) {
  time->set_seconds(*rc::gen::inRange<int64_t>(-62135596800, 253402300800));
  time->set_nanos(*rc::gen::inRange(0, 1000) * 1'000'000);
}

test::Colour AnyColour() {
  return static_cast<test::Colour>(*rc::gen::inRange(0, 3));
}

bool AnyBool() {
  return *rc::gen::arbitrary<bool>();
}

void AnyNested(Nested* nested, int depth) {
  nested->set_product_id(AnySafe());
  nested->set_quantity(*rc::gen::arbitrary<int32_t>());
  if (depth > 0 && AnyBool()) AnyNested(nested->mutable_inner(), depth - 1);
}

Everything AnyMessage() {
  Everything message;
  message.set_int32_value(*rc::gen::arbitrary<int32_t>());
  message.set_int64_value(AnySafe());
  message.set_uint32_value(*rc::gen::arbitrary<uint32_t>());
  message.set_uint64_value(static_cast<uint64_t>(std::abs(AnySafe())));
  message.set_sint64_value(AnySafe());
  message.set_fixed32_value(*rc::gen::arbitrary<uint32_t>());
  message.set_double_value(*rc::gen::arbitrary<double>());
  message.set_float_value(*rc::gen::arbitrary<float>());
  message.set_bool_value(AnyBool());
  message.set_string_value(AnyText());
  message.set_bytes_value(*rc::gen::arbitrary<std::string>());
  message.set_colour(AnyColour());
  message.set_plain(AnyBool() ? test::SOME : test::NONE);
  message.set_price(AnySafe());
  if (AnyBool()) AnyTime(message.mutable_at());
  if (AnyBool()) AnyNested(message.mutable_nested(), 5);
  if (AnyBool()) message.set_maybe_number(AnySafe());
  if (AnyBool()) message.set_maybe_text(AnyText());
  if (AnyBool()) message.set_maybe_colour(AnyColour());
  if (AnyBool()) message.set_maybe_price(AnySafe());
  if (AnyBool()) message.set_maybe_flag(AnyBool());
  const int count = *rc::gen::inRange(0, 4);
  for (int i = 0; i < count; ++i) {
    message.add_numbers(AnySafe());
    message.add_texts(AnyText());
    message.add_colours(AnyColour());
    message.add_prices(AnySafe());
    AnyNested(message.add_items(), 2);
    AnyTime(message.add_times());
    message.add_flags(AnyBool());
    message.add_ratios(*rc::gen::arbitrary<double>());
    (*message.mutable_counts())[AnyText()] = AnySafe();
    AnyNested(&(*message.mutable_things())[AnyText()], 1);
  }
  switch (*rc::gen::inRange(0, 3)) {
    case 1:
      message.set_by_name(AnyText());
      break;
    case 2:
      message.set_by_id(AnySafe());
      break;
    default:
      break;
  }
  return message;
}

RC_GTEST_PROP(RoundTrip, WhatIsWrittenIsReadBackTheSame, ()) {
  const Everything message = AnyMessage();
  const std::string json = Write(message);
  Everything read;
  const Result<void> outcome = Read(json, &read);
  RC_LOG() << json;
  RC_ASSERT(static_cast<bool>(outcome));
  RC_ASSERT(MessageDifferencer::Equals(read, message));
  RC_ASSERT(Write(read) == json);
}

RC_GTEST_PROP(RoundTrip, AnAmountIsTheSameInEveryWayOfWritingIt, ()) {
  const int64_t minor = AnySafe();
  const std::string digits = std::to_string(minor);
  const int shift = *rc::gen::inRange(0, 6);
  Everything read;
  // minor × 10^shift × 10^-(shift + 2)
  const std::string number = (minor == 0 ? "0" : digits) + "e-2";
  RC_ASSERT(static_cast<bool>(Read("{\"price\":" + number + "}", &read)));
  RC_ASSERT(read.price() == minor);
  const std::string whole = std::to_string(minor / 1'000'000);
  const std::string shifted = whole + "e" + std::to_string(shift);
  int64_t expected = minor / 1'000'000 * 100;
  for (int i = 0; i < shift; ++i) expected *= 10;
  const bool fits = std::abs(expected) < int64_t{1} << 53;
  Everything second;
  RC_ASSERT(static_cast<bool>(Read("{\"price\":" + shifted + "}", &second)) == fits);
  if (fits) RC_ASSERT(second.price() == expected);
}

RC_GTEST_PROP(RoundTrip, DamagedTextIsReadOrRefusedAndNeverMore, ()) {
  std::string json = Write(AnyMessage());
  const size_t at = *rc::gen::inRange<size_t>(0, json.size());
  switch (*rc::gen::inRange(0, 3)) {
    case 0:
      json[at] = static_cast<char>(*rc::gen::inRange(0, 256));
      break;
    case 1:
      json.erase(at, 1);
      break;
    default:
      json.insert(at, 1, *rc::gen::elementOf(std::string("{}[],:\"\\0-+.eE tfn")));
  }
  Everything read;
  const Result<void> outcome = Read(json, &read);
  if (!outcome) {
    RC_ASSERT(outcome.refusal().code == Code::kInvalidArgument);
    return;
  }
  // What it made of the text is a message like any other.
  Everything again;
  RC_ASSERT(static_cast<bool>(Read(Write(read), &again)));
}

RC_GTEST_PROP(RoundTrip, AnyBytesBecomeAStringThatReads, (const std::string& bytes)) {
  std::string text = "{\"unknown\":";
  WriteString(bytes, &text);
  text += '}';
  Everything read;
  RC_ASSERT(static_cast<bool>(Read(text, &read)));
}

TEST(ReadingTolerantly, AnUnknownEnumValueIsWrittenAsItCame) {
  Everything message;
  ASSERT_TRUE(
      ReadTolerantly(R"({"colour":"Ultra-violet","colours":["RED","INFRARED"]})", &message));
  EXPECT_FALSE(test::Colour_IsValid(message.colour()));
  EXPECT_EQ(Member(message, "colour"), "\"Ultra-violet\"");
  EXPECT_EQ(Member(message, "colours"), R"(["RED","INFRARED"])");
  Everything again;
  ASSERT_TRUE(ReadTolerantly(Write(message), &again));
  EXPECT_EQ(again.colour(), message.colour());
  EXPECT_NE(again.colour(), again.colours(1));
}

TEST(ReadingTolerantly, AnEnumMayBeANumberAsItIsWrittenForOneWithoutAName) {
  Everything message;
  message.set_colour(static_cast<test::Colour>(77));
  Everything again;
  ASSERT_TRUE(ReadTolerantly(Write(message), &again));
  EXPECT_EQ(again.colour(), 77);
  EXPECT_EQ(RefusedFor(Write(message)), "colour") << "requests are read strictly";
}

TEST(ReadingTolerantly, KnownValuesAreReadAsEver) {
  Everything message;
  ASSERT_TRUE(ReadTolerantly(R"({"colour":"dark_blue","unknown":[1,{"a":"b"}]})", &message));
  EXPECT_EQ(message.colour(), test::COLOUR_DARK_BLUE);
}

TEST(ReadingTolerantly, RequestsAreNot) {
  Everything message;
  ASSERT_TRUE(ReadTolerantly(R"({"colour":"ULTRAVIOLET"})", &message));
  EXPECT_EQ(RefusedFor(R"({"colour":"ULTRAVIOLET"})"), "colour");
}

TEST(ReadingTolerantly, ALongTextIsNotKept) {
  Everything message;
  ASSERT_TRUE(ReadTolerantly("{\"colour\":\"" + std::string(101, 'x') + "\"}", &message));
  EXPECT_EQ(message.colour(), test::COLOUR_UNSPECIFIED);
}

TEST(ObjectMembers, AreTakenAsTheyStand) {
  constexpr char kText[] = R"({"a":{"x":1},"nested": {"number":1, "more":{"y":"ü"}} ,"n":null})";
  EXPECT_EQ(ObjectMember(kText, "nested"), R"({"number":1, "more":{"y":"ü"}})");
  EXPECT_EQ(ObjectMember(kText, "x"), std::nullopt) << "it is a member of another";
  EXPECT_EQ(ObjectMember(kText, "n"), std::nullopt);
  EXPECT_EQ(ObjectMember(kText, "absent"), std::nullopt);
  EXPECT_EQ(ObjectMember("{", "a"), std::nullopt);
}

}  // namespace
}  // namespace shop::json
