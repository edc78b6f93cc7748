// What becomes of a deleted user's orders.
#pragma once

#include <cstdint>

#include "common/messaging/erasure.h"
#include "common/postgres/pool.h"
#include "orders/order_store.h"

namespace shop::orders {

// Why the orders of a deleted user are cancelled; of all reasons the one that is kept.
inline constexpr char kAccountDeleted[] = "the account was deleted";

// Cancels what can be cancelled: what is PENDING at once, what is PROCESSING if shipping agrees, as after
// any other request. Of orders that have ended it keeps lines, totals and the country, and erases the rest of the
// address, reasons, and what customers wrote about returns; of all of them the answers that are kept
// under the user's Idempotency-Keys, and what is personal in events (messaging::EraseEvents). Something is left while an
// order has not ended. A messaging::EraseUser.
messaging::Left EraseUser(postgres::Tx& tx, int64_t user_id, const Deadlines& deadlines);

}  // namespace shop::orders
