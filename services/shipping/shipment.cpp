#include "shipping/shipment.h"

#include <utility>

#include "common/crypto/random.h"
#include "common/json/codec.h"

namespace shop::shipping {
namespace {

// TRK and 60 random bits in Crockford's base 32, which has no letters that look like digits. If two
// numbers are ever the same, the unique index refuses the second and its event is tried again.
std::string NewTrackingNumber() {
  constexpr char kAlphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
  std::string number = "TRK";
  for (const unsigned char byte : RandomBytes<12>()) number += kAlphabet[byte % 32];
  return number;
}

}  // namespace

Result<NewShipment> MakeShipment(const events::v1::OrderCreated& order,
                                 std::optional<std::string> address) {
  if (order.order_id() <= 0 || order.order_uuid().empty() || order.user_id() <= 0) {
    return Refusal{Code::kInvalidArgument, "the event names no order or no user"};
  }
  NewShipment shipment;
  shipment.order_uuid = order.order_uuid();
  shipment.order_id = order.order_id();
  shipment.user_id = order.user_id();
  shipment.tracking_number = NewTrackingNumber();
  shipment.address = std::move(address);
  return shipment;
}

std::string StatusText(v1::ShipmentStatus status) {
  return std::string(json::BareName(v1::ShipmentStatus_descriptor()->FindValueByNumber(status)));
}

v1::ShipmentStatus ParseStatus(const std::string& text) {
  v1::ShipmentStatus status;
  if (!v1::ShipmentStatus_Parse("SHIPMENT_STATUS_" + text, &status)) {
    throw std::runtime_error("a shipment has the unknown status " + text);
  }
  return status;
}

}  // namespace shop::shipping
