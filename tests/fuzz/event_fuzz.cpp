// Records of any kind as events: common/messaging/event.h and headers.h.
//
// The first line of an input is the record's headers as JSON, all else its value.
#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "common/json/codec.h"
#include "common/messaging/event.h"
#include "common/messaging/headers.h"
#include "property.h"
#include "shop/events/v1/orders.pb.h"
#include "shop/events/v1/payments.pb.h"
#include "shop/events/v1/sessions.pb.h"
#include "shop/events/v1/stock.pb.h"

namespace {

using google::protobuf::util::MessageDifferencer;
using namespace shop;
using fuzz::Require;

template <typename Event>
void Read(std::string_view value) {
  Event event;
  if (!messaging::ReadValue(value, &event)) return;
  const std::string written = json::Write(event);
  Event again;
  Require(static_cast<bool>(messaging::ReadValue(written, &again)),
          "what was read can be published", written);
  Require(json::Write(again) == written, "and reads the same", written);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t line = std::min(input.find('\n'), input.size());
  const std::string value(input.substr(std::min(line + 1, input.size())));
  messaging::Headers headers;
  try {
    headers = messaging::HeadersFromJson(std::string(input.substr(0, line)));
  } catch (const std::exception&) {
    headers = {{"ce_type", std::string(input.substr(0, line))}};
  }
  const messaging::Envelope event = messaging::FromRecord("orders", "7", headers, value);
  const messaging::Headers again = messaging::ToHeaders(event);
  const messaging::Envelope twice = messaging::FromRecord("orders", "7", again, value);
  Require(messaging::ToHeaders(twice) == again, "an event that is passed on keeps its headers");
  const std::string text = messaging::AsText(value);
  Require(text.find('\0') == text.npos, "what is kept as text has no NUL");
  Read<events::v1::OrderCreated>(value);
  Read<events::v1::OrderCancelled>(value);
  Read<events::v1::StockReserved>(value);
  Read<events::v1::PaymentCompleted>(value);
  Read<events::v1::SessionRevoked>(value);
  return 0;
}
