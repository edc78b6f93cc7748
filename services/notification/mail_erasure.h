// What becomes of a deleted user's mails.
#pragma once

#include <cstdint>

#include "common/messaging/erasure.h"
#include "common/postgres/pool.h"

namespace shop::notification {

// Erases addresses and their hashes, reasons and what mail servers answered from the mails that are finished. One that waits
// will be soon, as GONE: its sender asks users where it goes. A messaging::EraseUser.
messaging::Left EraseUser(postgres::Tx& tx, int64_t user_id);

}  // namespace shop::notification
