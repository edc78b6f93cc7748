// All SQL of shipping.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "common/postgres/pool.h"
#include "shop/shipping/v1/shipping.pb.h"

namespace shop::shipping {

struct NewShipment {
  std::string order_uuid;
  int64_t order_id = 0;
  int64_t user_id = 0;
  std::string tracking_number;
  std::optional<std::string> address;  // JSON
};

// False when the order has a shipment, which stays as it is.
bool InsertOnce(postgres::Tx& tx, const NewShipment& shipment);

// The shipment of an order: of `owner` alone, or of anybody where there is no owner.
std::optional<v1::Shipment> FindShipment(postgres::Pool& db, int64_t order_id,
                                         std::optional<int64_t> owner);

}  // namespace shop::shipping
