#include "stock/stock_events.h"

#include "shop/events/v1/orders.pb.h"
#include "shop/events/v1/stock.pb.h"
#include "shop/products/v1/products.pb.h"

namespace shop::stock {
namespace {

using events::v1::OrderCreated;
using products::v1::ReserveStockRequest;
using products::v1::ReserveStockResponse;
using Reserve = rpc::Remote<ReserveStockRequest, ReserveStockResponse>;

constexpr std::chrono::seconds kReserveLimit{5};

ReserveStockRequest ReservationOf(const OrderCreated& order) {
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

Result<void> OnOrderCreated(const Reserve& reserve, postgres::Tx& tx, const OrderCreated& order,
                            const kafka::Event& envelope) {
  const Result<ReserveStockResponse> answer =
      reserve(rpc::BackgroundCall(envelope.trace, kReserveLimit), ReservationOf(order));
  if (!answer) return answer.refusal();

  const kafka::Origin origin{.source = "stock", .trace = envelope.trace, .cause_id = envelope.id};
  if (answer->reserved()) {
    kafka::Announce(tx, Reserved(order), origin);
  } else {
    kafka::Announce(tx, Rejected(order, *answer), origin);
  }
  return kDone;
}

}  // namespace

kafka::Handlers EventHandlers(const rpc::Channel& products) {
  const Reserve reserve(products, "shop.products.v1.ProductsService", "ReserveStock");
  return kafka::Handlers()
      .On<OrderCreated>(
          [reserve](postgres::Tx& tx, const OrderCreated& order, const kafka::Event& envelope) {
            return OnOrderCreated(reserve, tx, order, envelope);
          })
      // A confirmed order keeps what it reserved; a cancelled one was rejected and holds nothing.
      .Ignore("ORDER_CONFIRMED")
      .Ignore("ORDER_CANCELLED")
      .Ignore("ORDER_SHIPPED")
      .Ignore("ORDER_DELIVERED");
}

}  // namespace shop::stock
