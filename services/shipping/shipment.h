// What a shipment is. No SQL, no Kafka.
//
// ORDER_CREATED makes the order's shipment, CREATED; the same order again changes nothing. Nothing
// moves a shipment on yet.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "common/core/result.h"
#include "shop/events/v1/orders.pb.h"
#include "shop/shipping/v1/shipping.pb.h"

namespace shop::shipping {

struct NewShipment {
  std::string order_uuid;
  int64_t order_id = 0;
  int64_t user_id = 0;
  v1::ShipmentStatus status = v1::SHIPMENT_STATUS_CREATED;
  std::string tracking_number;
  std::optional<std::string> address;  // JSON, as the event has it
};

// The shipment of an order that was placed, with a tracking number of its own. INVALID_ARGUMENT when
// the event names no order or no user.
Result<NewShipment> MakeShipment(const events::v1::OrderCreated& order,
                                 std::optional<std::string> address);

// "CREATED" and so on.
std::string StatusText(v1::ShipmentStatus status);
// The reverse. std::runtime_error for another text.
v1::ShipmentStatus ParseStatus(const std::string& text);

}  // namespace shop::shipping
