#include "orders/order_erasure.h"

#include <map>
#include <stdexcept>
#include <utility>
#include <vector>

#include "common/postgres/columns.h"
#include "orders/order_events.h"

namespace shop::orders {
namespace {

using messaging::Left;
using postgres::Statement;
using postgres::Tx;

constexpr Statement kOpen{R"sql(
    SELECT id FROM orders WHERE user_id = $1 AND status IN ('PENDING', 'PROCESSING'))sql"};

#define ENDED "user_id = $1 AND status IN ('DELIVERED', 'CANCELLED')"
// The fingerprint is one of a request with the address in it.
constexpr Statement kEraseOrders{R"sql(
    UPDATE orders
    SET shipping_address = CASE WHEN shipping_address ? 'country'
          THEN jsonb_build_object('country', shipping_address -> 'country') END,
        reason = CASE WHEN reason = $2 THEN reason END,
        cancel_reason = CASE WHEN cancel_reason = $2 THEN cancel_reason END,
        request_fingerprint = CASE WHEN request_fingerprint IS NOT NULL THEN '' END
    WHERE )sql" ENDED R"sql(
      AND (shipping_address - 'country' <> '{}' OR reason <> $2 OR cancel_reason <> $2
           OR request_fingerprint <> ''))sql"};
// What people have typed.
constexpr Statement kEraseTimelines{R"sql(
    UPDATE order_timeline SET detail = ''
    WHERE order_id IN (SELECT id FROM orders WHERE )sql" ENDED R"sql()
      AND what IN ('CANCEL_REQUESTED', 'RETURN_REQUESTED', 'RETURN_REJECTED')
      AND detail NOT IN ('', $2))sql"};
constexpr Statement kEraseReturns{R"sql(
    UPDATE returns SET reason = '', rejection = ''
    WHERE order_id IN (SELECT id FROM orders WHERE )sql" ENDED R"sql()
      AND (reason <> '' OR rejection <> ''))sql"};
constexpr Statement kForgetAnswers{"DELETE FROM idempotent_requests WHERE user_id = $1"};
constexpr Statement kNotEnded{R"sql(
    SELECT FROM orders WHERE user_id = $1 AND status NOT IN ('DELIVERED', 'CANCELLED') LIMIT 1)sql"};

// Neither requested before, nor with the carrier.
bool CanBeCancelled(const LockedOrder& order) {
  switch (WaitingFor(order.facts)) {
    case Waiting::kStock:
    case Waiting::kPayment:
    case Waiting::kDispatch:
      return true;
    default:
      return false;
  }
}

void CancelOpenOrders(Tx& tx, int64_t user_id, const Deadlines& deadlines) {
  const auto open = postgres::FirstColumn<std::vector<int64_t>>(tx.Exec(kOpen, user_id));
  std::map<int64_t, LockedOrder> orders = FindForUpdate(tx, open);
  std::vector<OrderFact> facts;
  for (const auto& [id, order] : orders) {
    if (!CanBeCancelled(order)) continue;
    facts.push_back({id,
                     CancelRequested{CancelledBy::kShop, kAccountDeleted},
                     {.source = "orders", .trace = TraceContext::New()},
                     CancelledBy::kShop});
  }
  const Result<void> applied = ApplyFacts(tx, std::move(orders), facts, deadlines);
  if (!applied) throw std::runtime_error(applied.refusal().message);
}

}  // namespace

Left EraseUser(Tx& tx, int64_t user_id, const Deadlines& deadlines) {
  CancelOpenOrders(tx, user_id, deadlines);
  tx.Exec(kEraseOrders, user_id, kAccountDeleted);
  tx.Exec(kEraseTimelines, user_id, kAccountDeleted);
  tx.Exec(kEraseReturns, user_id);
  tx.Exec(kForgetAnswers, user_id);
  const Left orders = messaging::LeftOf(tx.Exec(kNotEnded, user_id));
  return messaging::EraseEvents(tx, user_id) + orders;
}

}  // namespace shop::orders
