#include "shipping/shipping_events.h"

#include <openssl/rand.h>

#include <array>
#include <stdexcept>
#include <string>

#include "common/json/codec.h"
#include "common/messaging/handlers.h"
#include "common/telemetry/log.h"
#include "shipping/shipment_store.h"
#include "shop/events/v1/orders.pb.h"

namespace shop::shipping {
namespace {

// TRK and 60 random bits in Crockford's base 32, which has no letters that look like digits. Should
// two ever meet, the unique index refuses the second and its event is tried again.
std::string NewTrackingNumber() {
  constexpr char kAlphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
  std::array<unsigned char, 12> bytes;
  if (RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1) {
    throw std::runtime_error("no random bytes");
  }
  std::string number = "TRK";
  for (const unsigned char byte : bytes) number += kAlphabet[byte % 32];
  return number;
}

Result<void> OnOrderCreated(postgres::Tx& tx, const events::v1::OrderCreated& order,
                            const messaging::Envelope& event) {
  if (order.order_id() <= 0 || order.order_uuid().empty() || order.user_id() <= 0) {
    return Refusal{Code::kInvalidArgument, "the event names no order or no user"};
  }
  NewShipment shipment;
  shipment.order_uuid = order.order_uuid();
  shipment.order_id = order.order_id();
  shipment.user_id = order.user_id();
  shipment.tracking_number = NewTrackingNumber();
  // As it was written: a newer version's address may have more than this one knows.
  shipment.address = json::ObjectMember(event.value, "shippingAddress");
  if (!InsertOnce(tx, shipment)) {
    log::Info("the order has a shipment already", {{"orderId", order.order_id()}});
  }
  return kDone;
}

}  // namespace

messaging::Handlers OrderHandlers() {
  return messaging::Handlers()
      .On<events::v1::OrderCreated>(OnOrderCreated)
      .Ignore("ORDER_CONFIRMED")
      .Ignore("ORDER_CANCELLED")
      .Ignore("ORDER_SHIPPED")
      .Ignore("ORDER_DELIVERED");
}

}  // namespace shop::shipping
