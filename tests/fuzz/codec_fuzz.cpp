// Any bytes as JSON: common/json/codec.h, both ways.
#include <google/protobuf/util/message_differencer.h>

#include <boost/json/src.hpp>
#include <cstdint>
#include <optional>

#include "common/json/codec.h"
#include "common/json/testing/codec.pb.h"
#include "property.h"
#include "shop/orders/v1/orders.pb.h"

namespace {

using google::protobuf::Message;
using google::protobuf::util::MessageDifferencer;
using shop::fuzz::Require;
using shop::fuzz::RequireClear;
using shop::testing::json::v1::Everything;

// What another reader thinks of the text; nothing where it gives up, at an exponent beyond an int.
std::optional<bool> IsJson(std::string_view text) {
  boost::json::parse_options options;
  options.max_depth = 2048;
  boost::system::error_code error;
  boost::json::parse({text.data(), text.size()}, error, {}, options);
  if (error == boost::json::error::exponent_overflow) return std::nullopt;
  return !error;
}

// Times are written with milliseconds.
void CutToMilliseconds(Everything* message) {
  const auto cut = [](google::protobuf::Timestamp* time) {
    time->set_nanos(time->nanos() / 1'000'000 * 1'000'000);
  };
  if (message->has_at()) cut(message->mutable_at());
  for (auto& time : *message->mutable_times()) cut(&time);
}

void CutToMilliseconds(shop::orders::v1::CreateOrderRequest*) {}

template <typename Type>
void RoundTrip(std::string_view text, std::optional<bool> is_json) {
  Type message;
  if (const auto read = shop::json::Read(text, &message); !read) {
    RequireClear(read.refusal());
    if (read.refusal().message.starts_with("the JSON is malformed")) {
      Require(is_json != true, "only what is no JSON is called malformed", read.refusal().message);
    }
    return;
  }
  Require(is_json != false, "what is read is JSON");
  CutToMilliseconds(&message);
  const std::string written = shop::json::Write(message);
  Require(IsJson(written) == true, "what is written is JSON", written);
  Type again;
  const auto read = shop::json::Read(written, &again);
  Require(static_cast<bool>(read), "what is written is read", written);
  Require(MessageDifferencer::Equals(message, again), "what is written reads the same", written);
  Require(shop::json::Write(again) == written, "the same message is the same text", written);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::optional<bool> is_json = IsJson(text);
  RoundTrip<Everything>(text, is_json);
  RoundTrip<shop::orders::v1::CreateOrderRequest>(text, is_json);
  std::string quoted;
  shop::json::WriteString(text, &quoted);
  Require(IsJson(quoted) == true, "any bytes become a JSON string", quoted);
  return 0;
}
