#include "stock/stock_events.h"

#include <map>
#include <string>
#include <vector>

#include "common/messaging/erasure.h"
#include "common/messaging/handlers.h"
#include "common/messaging/outbox.h"
#include "common/telemetry/log.h"
#include "shop/events/v1/orders.pb.h"
#include "shop/events/v1/stock.pb.h"
#include "shop/products/v1/products.pb.h"

namespace shop::stock {
namespace {

using events::v1::OrderCancelled;
using events::v1::OrderConfirmed;
using events::v1::OrderCreated;
using events::v1::OrderReturned;
using products::v1::BatchCommitStockRequest;
using products::v1::BatchCommitStockResponse;
using products::v1::BatchReserveStockRequest;
using products::v1::BatchReserveStockResponse;
using products::v1::ReleaseStockRequest;
using products::v1::ReleaseStockResponse;
using products::v1::ReserveStockRequest;
using products::v1::ReserveStockResponse;
using products::v1::ReturnStockRequest;
using products::v1::ReturnStockResponse;
using Commit = rpc::ClientMethod<BatchCommitStockRequest, BatchCommitStockResponse>;
using Reserve = rpc::ClientMethod<BatchReserveStockRequest, BatchReserveStockResponse>;
using Release = rpc::ClientMethod<ReleaseStockRequest, ReleaseStockResponse>;
using Return = rpc::ClientMethod<ReturnStockRequest, ReturnStockResponse>;

constexpr std::chrono::seconds kCallLimit{5};

void AddLines(const google::protobuf::RepeatedPtrField<orders::v1::OrderItem>& items,
              google::protobuf::RepeatedPtrField<products::v1::ReserveLine>* lines) {
  for (const orders::v1::OrderItem& item : items) {
    products::v1::ReserveLine* line = lines->Add();
    line->set_product_id(item.product_id());
    line->set_quantity(item.quantity());
  }
}

ReserveStockRequest RequestFor(const OrderCreated& order) {
  ReserveStockRequest request;
  request.set_order_uuid(order.order_uuid());
  request.set_order_id(order.order_id());
  AddLines(order.items(), request.mutable_items());
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
  event.set_payment_token(order.payment_token());
  *event.mutable_items() = order.items();
  event.set_order_number(order.order_number());
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
using Confirmed = std::vector<messaging::Received<OrderConfirmed>>;
using Cancelled = std::vector<messaging::Received<OrderCancelled>>;
using Returned = std::vector<messaging::Received<OrderReturned>>;
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

// Commits for all of the orders by one call. What is released by then was cancelled before its
// confirmation arrived here, and stays so.
Result<Done> CommitFor(const Commit& commit, const Confirmed& received) {
  BatchCommitStockRequest request;
  for (const auto& [order, event] : received) {
    request.add_requests()->set_order_uuid(order.order_uuid());
  }
  const Result<BatchCommitStockResponse> answers =
      commit(rpc::BackgroundCall(received.front().event.trace, kCallLimit), request);
  if (!answers) return answers.refusal();
  if (answers->responses_size() != request.requests_size()) {
    return Refusal{Code::kInternal, "products answered for another number of orders than was sent"};
  }
  for (int i = 0; i < answers->responses_size(); ++i) {
    if (answers->responses(i).committed()) continue;
    log::Warning("a confirmed order holds no stock",
                 {{"orderId", received[static_cast<size_t>(i)].message.order_id()}});
  }
  return kDone;
}

// One call a return: they are rare.
Result<Done> ReturnFor(const Return& take_back, const Returned& received) {
  for (const auto& [order, event] : received) {
    ReturnStockRequest request;
    request.set_order_uuid(order.order_uuid());
    request.set_return_uuid(order.return_uuid());
    AddLines(order.items(), request.mutable_items());
    const Result<ReturnStockResponse> answer =
        take_back(rpc::BackgroundCall(event.trace, kCallLimit), request);
    if (!answer) return answer.refusal();
    log::Info("returned goods are back in stock",
              {{"orderId", order.order_id()}, {"pieces", answer->pieces()}});
  }
  return kDone;
}

// Their charges are decided: nobody needs their payment tokens any more.
template <typename Event>
void ForgetTokens(postgres::Tx& tx, const std::vector<messaging::Received<Event>>& received) {
  std::vector<messaging::DecidedOrder> orders;
  for (const auto& [order, event] : received) {
    orders.push_back({order.order_id(), order.user_id()});
  }
  messaging::ForgetTokens(tx, "STOCK_RESERVED", orders);
}

Result<void> OnCommitted(postgres::Tx& tx, const Confirmed& received, const Done&) {
  ForgetTokens(tx, received);
  return kDone;
}

Result<void> OnTakenBack(postgres::Tx&, const Returned&, const Done&) {
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
  ForgetTokens(tx, received);
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
  constexpr char kService[] = "shop.products.v1.ProductsService";
  const Reserve reserve(products, kService, "BatchReserveStock");
  const Commit commit(products, kService, "BatchCommitStock");
  const Release release(products, kService, "ReleaseStock");
  const Return take_back(products, kService, "ReturnStock");
  return messaging::WithErasure(
      messaging::Handlers()
          .OnAsked<OrderCreated, Reservations>(
              [reserve](const Created& received) { return ReserveFor(reserve, received); },
              PublishDecisions)
          .OnAsked<OrderConfirmed, Done>(
              [commit](const Confirmed& received) { return CommitFor(commit, received); },
              OnCommitted)
          .OnAsked<OrderCancelled, Releases>(
              [release](const Cancelled& received) { return ReleaseFor(release, received); },
              PublishReleases)
          .OnAsked<OrderReturned, Done>(
              [take_back](const Returned& received) { return ReturnFor(take_back, received); },
              OnTakenBack)
          // What was sold stays sold.
          .Ignore<events::v1::OrderShipped, events::v1::OrderDelivered>());
}

}  // namespace shop::stock
