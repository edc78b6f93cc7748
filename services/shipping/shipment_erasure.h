// What becomes of a deleted user's shipments.
#pragma once

#include <cstdint>

#include "common/messaging/erasure.h"
#include "common/postgres/pool.h"

namespace shop::shipping {

// Erases the address of each shipment that has come to its end: until then the carrier needs it. A
// messaging::EraseUser.
messaging::Left EraseUser(postgres::Tx& tx, int64_t user_id);

}  // namespace shop::shipping
