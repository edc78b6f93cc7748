#include "orders/returns_service.h"

#include <algorithm>

#include "common/idempotency/idempotency.h"
#include "common/messaging/outbox.h"
#include "orders/order_events.h"
#include "shop/events/v1/orders.pb.h"

namespace shop::orders {
namespace {

using idempotency::Attempt;

Refusal NoReturn(int64_t id) {
  return {Code::kNotFound, "there is no return " + std::to_string(id)};
}

events::v1::OrderReturned OrderReturned(const StoredReturn& accepted, const ReturnedOrder& order,
                                        int64_t seq) {
  events::v1::OrderReturned event;
  event.set_order_id(accepted.shown.order_id());
  event.set_order_uuid(order.uuid);
  event.set_user_id(order.user_id);
  event.set_order_number(OrderNumber(accepted.shown.order_id()));
  event.set_seq(seq);
  event.set_return_uuid(accepted.uuid);
  *event.mutable_items() = accepted.shown.items();
  event.set_reason(accepted.shown.reason());
  return event;
}

}  // namespace

ReturnsService::ReturnsService(postgres::Pool& db, const rpc::Channel& products,
                               const Deadlines& deadlines)
    : db_(db),
      deadlines_(deadlines),
      quote_(products, "shop.products.v1.ProductsService", "QuoteProducts") {}

rpc::Service ReturnsService::Methods() {
  return rpc::Service("shop.orders.v1.ReturnsService")
      .On("RequestReturn", this, &ReturnsService::RequestReturn)
      .On("ListReturns", this, &ReturnsService::ListReturns)
      .On("AcceptReturn", this, &ReturnsService::AcceptReturn)
      .On("RejectReturn", this, &ReturnsService::RejectReturn);
}

Result<v1::Return> ReturnsService::RequestReturn(const Call& call,
                                                 const v1::RequestReturnRequest& request) {
  return idempotency::Once(db_, call, request, [&](Attempt& attempt) {
    return attempt.InTransaction([&](postgres::Tx& tx) -> Result<v1::Return> {
      const int64_t order_id = request.order_id();
      const auto order = LockReturnedOrder(tx, order_id, call.caller.user_id);
      if (!order) return NoOrder(order_id);
      const Result<OrderItems> items =
          CheckReturn(order->status, order->items, FindAskedLines(tx, order_id), request.items());
      if (!items) return items.refusal();
      const int64_t id = InsertReturn(tx, order_id, *items, request.reason());
      const Result<void> noted =
          Note(tx, call, order_id, {"RETURN_REQUESTED", request.reason()}, CancelledBy::kCustomer);
      if (!noted) return noted.refusal();
      return FindReturns(tx, order_id, 0, id).at(0).shown;
    });
  });
}

Result<v1::ListReturnsResponse> ReturnsService::ListReturns(const Call& call,
                                                            const v1::ListReturnsRequest& request) {
  const int64_t owner = call.caller.is_admin() ? 0 : call.caller.user_id;
  return postgres::Read(db_, [&](postgres::Tx& tx) -> Result<v1::ListReturnsResponse> {
    v1::ListReturnsResponse response;
    for (StoredReturn& found : FindReturns(tx, request.order_id(), owner)) {
      *response.add_items() = std::move(found.shown);
    }
    if (response.items().empty() && !OrderExists(tx, request.order_id(), owner)) {
      return NoOrder(request.order_id());
    }
    return response;
  });
}

Result<v1::Return> ReturnsService::AcceptReturn(const Call& call,
                                                const v1::AcceptReturnRequest& request) {
  return Decide(call, request.order_id(), request.return_id(), {v1::RETURN_STATUS_ACCEPTED});
}

Result<v1::Return> ReturnsService::RejectReturn(const Call& call,
                                                const v1::RejectReturnRequest& request) {
  return Decide(call, request.order_id(), request.return_id(),
                {v1::RETURN_STATUS_REJECTED, request.reason()});
}

// Asks products whose the lines are, which a return never changes, and then decides under the order's
// lock. A return that was decided so before is answered as it is.
Result<v1::Return> ReturnsService::Decide(const Call& call, int64_t order_id, int64_t return_id,
                                          const Decision& decision) {
  const std::vector<StoredReturn> asked = postgres::Read(
      db_, [&](postgres::Tx& tx) { return FindReturns(tx, order_id, 0, return_id); });
  if (asked.empty()) return NoReturn(return_id);
  const Result<bool> may = MayDecide(call, asked[0].shown);
  if (!may) return may.refusal();
  if (!*may) return NoReturn(return_id);

  return postgres::InTransaction(db_, [&](postgres::Tx& tx) -> Result<v1::Return> {
    const auto order = LockReturnedOrder(tx, order_id, 0);
    const StoredReturn current = FindReturns(tx, order_id, 0, return_id).at(0);
    const Result<bool> moves = CheckDecision(current.shown.status(), decision.status);
    if (!moves) return moves.refusal();
    if (!*moves) return current.shown;
    UpdateReturn(tx, return_id, decision.status, call.caller.user_id, decision.rejection);
    const bool accepted = decision.status == v1::RETURN_STATUS_ACCEPTED;
    const Result<void> noted = Note(
        tx, call, order_id, {accepted ? "RETURN_ACCEPTED" : "RETURN_REJECTED", decision.rejection},
        CancelledBy::kShop);
    if (!noted) return noted.refusal();
    if (accepted) {
      messaging::Publish(tx, OrderReturned(current, *order, NextSeq(tx, order_id)),
                         {.source = "orders", .trace = call.trace});
    }
    return FindReturns(tx, order_id, 0, return_id).at(0).shown;
  });
}

// Writes down in the order's timeline what has become of a return, and whose doing it was.
Result<void> ReturnsService::Note(postgres::Tx& tx, const Call& call, int64_t order_id,
                                  const Noted& noted, CancelledBy by) const {
  return ApplyFacts(tx, {{order_id, noted, {.source = "orders", .trace = call.trace}, by}},
                    deadlines_);
}

// An ADMIN may, and the SELLER of every product of it.
Result<bool> ReturnsService::MayDecide(const Call& call, const v1::Return& asked) const {
  if (call.caller.is_admin()) return true;
  products::v1::QuoteProductsRequest request;
  for (const v1::OrderItem& item : asked.items()) request.add_ids(item.product_id());
  const Result<products::v1::QuoteProductsResponse> quotes = quote_(call, request);
  if (!quotes) return quotes.refusal();
  return quotes->items_size() == asked.items_size() &&
         std::ranges::all_of(quotes->items(), [&](const products::v1::Quote& quote) {
           return quote.seller_id() == call.caller.user_id;
         });
}

}  // namespace shop::orders
