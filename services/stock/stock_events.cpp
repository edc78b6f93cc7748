#include "stock/stock_events.h"

#include <map>
#include <string>
#include <vector>

#include "common/messaging/handlers.h"
#include "common/messaging/outbox.h"
#include "shop/events/v1/orders.pb.h"
#include "shop/events/v1/stock.pb.h"
#include "shop/products/v1/products.pb.h"

namespace shop::stock {
namespace {

using events::v1::OrderCancelled;
using events::v1::OrderCreated;
using products::v1::BatchReserveStockRequest;
using products::v1::BatchReserveStockResponse;
using products::v1::ReleaseStockRequest;
using products::v1::ReleaseStockResponse;
using products::v1::ReserveStockRequest;
using products::v1::ReserveStockResponse;
using Reserve = rpc::ClientMethod<BatchReserveStockRequest, BatchReserveStockResponse>;
using Release = rpc::ClientMethod<ReleaseStockRequest, ReleaseStockResponse>;

constexpr std::chrono::seconds kCallLimit{5};

ReserveStockRequest RequestFor(const OrderCreated& order) {
  ReserveStockRequest request;
  request.set_order_uuid(order.order_uuid());
  request.set_order_id(order.order_id());
  for (const orders::v1::OrderItem& item : order.items()) {
    products::v1::ReserveLine* line = request.add_items();
    line->set_product_id(item.product_id());
    line->set_quantity(item.quantity());
  }
  return request;
}

events::v1::StockReserved Reserved(const OrderCreated& order) {
  events::v1::StockReserved event;
  event.set_order_id(order.order_id());
  event.set_order_uuid(order.order_uuid());
  event.set_user_id(order.user_id());
  event.set_total_price(order.total_price());
  event.set_currency(order.currency());
  event.set_payment_method(order.payment_method());
  return event;
}

events::v1::StockRejected Rejected(const OrderCreated& order, const ReserveStockResponse& answer) {
  events::v1::StockRejected event;
  event.set_order_id(order.order_id());
  event.set_order_uuid(order.order_uuid());
  event.set_user_id(order.user_id());
  *event.mutable_shortages() = answer.shortages();
  return event;
}

events::v1::StockReleased Released(const OrderCancelled& order) {
  events::v1::StockReleased event;
  event.set_order_id(order.order_id());
  event.set_order_uuid(order.order_uuid());
  event.set_user_id(order.user_id());
  return event;
}

using Created = std::vector<messaging::Received<OrderCreated>>;
using Cancelled = std::vector<messaging::Received<OrderCancelled>>;
using Reservations = std::vector<ReserveStockResponse>;  // one an order, in the same sequence
using Releases = std::vector<bool>;                      // whether each order held anything

messaging::EventContext CausedBy(const messaging::Envelope& cause) {
  return {.source = "stock", .trace = cause.trace, .cause_id = cause.id};
}

// Reserves for all of the orders by one call.
Result<Reservations> ReserveFor(const Reserve& reserve, const Created& received) {
  BatchReserveStockRequest request;
  std::map<std::string, int> places;  // in the request, by UUID
  for (const auto& [order, event] : received) {
    const auto [place, inserted] = places.emplace(order.order_uuid(), request.requests_size());
    if (inserted) *request.add_requests() = RequestFor(order);
  }
  const Result<BatchReserveStockResponse> answers =
      reserve(rpc::BackgroundCall(received.front().event.trace, kCallLimit), request);
  if (!answers) return answers.refusal();
  if (answers->responses_size() != request.requests_size()) {
    return Refusal{Code::kInternal, "products answered for another number of orders than was sent"};
  }
  Reservations reservations;
  for (const auto& [order, event] : received) {
    reservations.push_back(answers->responses(places.at(order.order_uuid())));
  }
  return reservations;
}

Result<void> PublishDecisions(postgres::Tx& tx, const Created& received,
                              const Reservations& reservations) {
  std::vector<messaging::Envelope> events;
  for (size_t i = 0; i < received.size(); ++i) {
    const auto& [order, event] = received[i];
    events.push_back(reservations[i].reserved()
                         ? messaging::MakeEvent(Reserved(order), CausedBy(event))
                         : messaging::MakeEvent(Rejected(order, reservations[i]), CausedBy(event)));
  }
  messaging::Publish(tx, events);
  return kDone;
}

// One call an order: cancellations are rare.
Result<Releases> ReleaseFor(const Release& release, const Cancelled& received) {
  Releases releases;
  for (const auto& [order, event] : received) {
    ReleaseStockRequest request;
    request.set_order_uuid(order.order_uuid());
    request.set_order_id(order.order_id());
    const Result<ReleaseStockResponse> answer =
        release(rpc::BackgroundCall(event.trace, kCallLimit), request);
    if (!answer) return answer.refusal();
    releases.push_back(answer->released());
  }
  return releases;
}

Result<void> PublishReleases(postgres::Tx& tx, const Cancelled& received,
                             const Releases& releases) {
  std::vector<messaging::Envelope> events;
  for (size_t i = 0; i < received.size(); ++i) {
    const auto& [order, event] = received[i];
    if (releases[i]) events.push_back(messaging::MakeEvent(Released(order), CausedBy(event)));
  }
  messaging::Publish(tx, events);
  return kDone;
}

}  // namespace

messaging::Handlers EventHandlers(const rpc::Channel& products) {
  const Reserve reserve(products, "shop.products.v1.ProductsService", "BatchReserveStock");
  const Release release(products, "shop.products.v1.ProductsService", "ReleaseStock");
  return messaging::Handlers()
      .OnAsked<OrderCreated, Reservations>(
          [reserve](const Created& received) { return ReserveFor(reserve, received); },
          PublishDecisions)
      .OnAsked<OrderCancelled, Releases>(
          [release](const Cancelled& received) { return ReleaseFor(release, received); },
          PublishReleases)
      // An order that goes on keeps what it holds.
      .Ignore<events::v1::OrderConfirmed, events::v1::OrderShipped, events::v1::OrderDelivered,
              events::v1::OrderReturned>();
}

}  // namespace shop::stock
