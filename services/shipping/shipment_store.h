// All SQL of shipping.
#pragma once

#include <cstdint>
#include <optional>

#include "common/postgres/pool.h"
#include "shipping/shipment.h"
#include "shop/shipping/v1/shipping.pb.h"

namespace shop::shipping {

// False when the order has a shipment already, which stays as it is. A unique_violation when
// another order has its number or the tracking number.
bool InsertOnce(postgres::Tx& tx, const NewShipment& shipment);

// The shipment of an order: of `owner` alone, or of anybody where there is no owner.
std::optional<v1::Shipment> FindShipment(postgres::Pool& db, int64_t order_id,
                                         std::optional<int64_t> owner);

}  // namespace shop::shipping
