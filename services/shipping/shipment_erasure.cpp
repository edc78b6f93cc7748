#include "shipping/shipment_erasure.h"

namespace shop::shipping {
namespace {

using messaging::Left;
using postgres::Statement;
using postgres::Tx;

constexpr Statement kErase{R"sql(
    UPDATE shipments SET address = NULL
    WHERE user_id = $1 AND address IS NOT NULL AND state IN ('DELIVERED', 'CANCELLED'))sql"};
constexpr Statement kAddressed{
    "SELECT FROM shipments WHERE user_id = $1 AND address IS NOT NULL LIMIT 1"};

}  // namespace

Left EraseUser(Tx& tx, int64_t user_id) {
  tx.Exec(kErase, user_id);
  const Left addresses = messaging::LeftOf(tx.Exec(kAddressed, user_id));
  return messaging::EraseEvents(tx, user_id) + addresses;
}

}  // namespace shop::shipping
