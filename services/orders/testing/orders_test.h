// For tests of the orders service: a real database, with products, cart and shipping played by small
// fakes behind real gRPC.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "common/messaging/event.h"
#include "common/messaging/outbox.h"
#include "common/rpc/identity.h"
#include "common/rpc/server.h"
#include "common/testing/callers.h"
#include "common/testing/database.h"
#include "common/testing/deliver.h"
#include "common/testing/fake_service.h"
#include "common/testing/published_events.h"
#include "common/testing/servers.h"
#include "idempotency_migrations.h"
#include "messaging_migrations.h"
#include "orders/order_events.h"
#include "orders/orders_service.h"
#include "orders_migrations.h"
#include "shop/events/v1/payments.pb.h"
#include "shop/events/v1/shipments.pb.h"
#include "shop/events/v1/stock.pb.h"

namespace shop::orders {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

inline std::vector<auth::PublicKey> NoKeys() {
  return {};
}

// Sells product 1 (19.99) and product 2 (5.00).
class FakeProducts {
 public:
  rpc::Service Methods() {
    return rpc::Service("shop.products.v1.ProductsService")
        .On("QuoteProducts", this, &FakeProducts::QuoteProducts);
  }
  Result<products::v1::QuoteProductsResponse> QuoteProducts(
      const Call&, const products::v1::QuoteProductsRequest& request) {
    if (const auto meanwhile = std::exchange(before_answering, nullptr)) meanwhile();
    products::v1::QuoteProductsResponse response;
    for (const int64_t id : request.ids()) {
      if (id > 2) continue;
      products::v1::Quote* quote = response.add_items();
      quote->set_product_id(id);
      quote->set_name(id == 1 ? "Desk lamp \"Ada\", {black}" : "Pencil");
      quote->set_price(id == 1 ? lamp_price.load() : 500);
    }
    ++asked;
    if (after_answering) std::exchange(after_answering, nullptr)();
    return response;
  }
  std::atomic<int> asked = 0;
  std::atomic<int64_t> lamp_price = 1999;
  // Once each: before it reads the prices, and after.
  std::function<void()> before_answering;
  std::function<void()> after_answering;
};

// A cart that remembers which orders it was updated for, as cart does.
class FakeCart {
 public:
  rpc::Service Methods() {
    return rpc::Service("shop.cart.v1.CartService")
        .On("GetCart", this, &FakeCart::GetCart)
        .On("EmptyOrderedCart", this, &FakeCart::EmptyOrderedCart)
        .On("PutBackOrderedCart", this, &FakeCart::PutBackOrderedCart);
  }

  void Put(int64_t product, int64_t quantity) {
    const std::lock_guard lock(mutex_);
    quantities_[product] += quantity;
    Change();
  }
  std::map<int64_t, int64_t> quantities() const {
    const std::lock_guard lock(mutex_);
    return quantities_;
  }
  cart::v1::Cart Now() const {
    const std::lock_guard lock(mutex_);
    return Content();
  }
  // The next answer of GetCart is this one: it was on its way while the cart changed.
  void AnswerOnce(const cart::v1::Cart& stale) {
    const std::lock_guard lock(mutex_);
    stale_ = stale;
  }
  // Back to an earlier day: content, version, and what was known then.
  void Restore(const cart::v1::Cart& backup) {
    const std::lock_guard lock(mutex_);
    quantities_.clear();
    for (const cart::v1::CartItem& item : backup.items()) {
      quantities_[item.product_id()] = item.quantity();
    }
    version_ = backup.version();
    change_id_ = backup.change_id();
    taken_.clear();
  }
  // GetCart answers once this many have asked.
  void AnswerTogether(int callers) { together_ = callers; }
  // As cart does with orders of which there were many since.
  void ForgetOrders() {
    const std::lock_guard lock(mutex_);
    taken_.clear();
  }
  void RefuseAll(bool refuse) { refuse_ = refuse; }
  // Cart's first release: no change_id, and a cart is emptied at the ordered version or not at all.
  void BeOfTheFirstRelease() { first_release_ = true; }

 private:
  Result<cart::v1::Cart> GetCart(const Call&, const cart::v1::GetCartRequest& request) {
    std::unique_lock lock(mutex_);
    if (together_ > 0) {
      --together_;
      asked_.notify_all();
      asked_.wait_for(lock, std::chrono::seconds(20), [this] { return together_ == 0; });
    }
    cart::v1::Cart cart = stale_ ? *std::exchange(stale_, std::nullopt) : Content();
    cart.set_user_id(request.user_id());
    return cart;
  }
  Result<cart::v1::EmptyOrderedCartResponse> EmptyOrderedCart(
      const Call&, const cart::v1::EmptyOrderedCartRequest& request) {
    const std::lock_guard lock(mutex_);
    if (refuse_) return Refusal{Code::kFailedPrecondition, "not today"};
    cart::v1::EmptyOrderedCartResponse response;
    if (first_release_) {
      response.set_emptied(request.version() == version_);
      if (response.emptied()) quantities_.clear();
      if (response.emptied()) Change();
      return response;
    }
    response.set_settled(true);
    if (taken_.contains(request.order_uuid())) return response;
    response.set_emptied(true);
    auto& taken = taken_[request.order_uuid()];
    for (const cart::v1::OrderedItem& item : request.items()) {
      const auto line = quantities_.find(item.product_id());
      if (line == quantities_.end()) continue;
      taken[item.product_id()] = std::min(line->second, item.quantity());
      if ((line->second -= item.quantity()) <= 0) quantities_.erase(line);
    }
    Change();
    return response;
  }
  Result<cart::v1::PutBackOrderedCartResponse> PutBackOrderedCart(
      const Call&, const cart::v1::PutBackOrderedCartRequest& request) {
    const std::lock_guard lock(mutex_);
    if (refuse_) return Refusal{Code::kFailedPrecondition, "not today"};
    for (const auto& [product, quantity] : taken_[request.order_uuid()]) {
      quantities_[product] += quantity;
    }
    taken_[request.order_uuid()].clear();
    Change();
    return cart::v1::PutBackOrderedCartResponse();
  }

  void Change() {
    ++version_;
    change_id_ = "change " + std::to_string(++changes_);
  }
  cart::v1::Cart Content() const {
    cart::v1::Cart cart;
    cart.set_version(version_);
    if (!first_release_) cart.set_change_id(change_id_);
    for (const auto& [product, quantity] : quantities_) {
      cart::v1::CartItem* item = cart.add_items();
      item->set_product_id(product);
      item->set_quantity(quantity);
    }
    return cart;
  }

  mutable std::mutex mutex_;
  std::condition_variable asked_;
  std::map<int64_t, int64_t> quantities_;
  int64_t version_ = 0;
  std::string change_id_;
  int changes_ = 0;  // never goes back, as chance does not either
  std::map<std::string, std::map<int64_t, int64_t>> taken_;  // by order
  std::optional<cart::v1::Cart> stale_;
  int together_ = 0;
  bool refuse_ = false;
  bool first_release_ = false;
};

// Shipments of orders that it knows to be confirmed, or not to be.
class FakeShipping {
 public:
  rpc::Service Methods() {
    return rpc::Service("shop.shipping.v1.ShippingService")
        .On("DispatchShipment", this, &FakeShipping::Dispatch)
        .On("DeliverShipment", this, &FakeShipping::Deliver)
        .On("CancelShipment", this, &FakeShipping::Cancel);
  }
  std::atomic<bool> away = false;
  std::atomic<bool> dispatched = false;
  std::atomic<bool> cancelled = false;
  std::atomic<int> asked_to_cancel = 0;
  std::function<void()> before_cancelling;  // once
  std::function<void()> after_cancelling;   // once, before the answer

 private:
  static Refusal NotReady() {
    return {.code = Code::kFailedPrecondition, .message = "not ready", .reason = "ILLEGAL_MOVE"};
  }
  Result<shipping::v1::Shipment> Dispatch(const Call&,
                                          const shipping::v1::DispatchShipmentRequest&) {
    if (away) throw Unavailable("shipping is away");
    if (cancelled) return NotReady();
    dispatched = true;
    return Tracked();
  }
  Result<shipping::v1::Shipment> Deliver(const Call&, const shipping::v1::DeliverShipmentRequest&) {
    if (!dispatched) return NotReady();
    return Tracked();
  }
  Result<shipping::v1::Shipment> Cancel(const Call&, const shipping::v1::CancelShipmentRequest&) {
    ++asked_to_cancel;
    if (away) throw Unavailable("shipping is away");
    if (const auto before = std::exchange(before_cancelling, nullptr)) before();
    if (dispatched) {
      return Refusal{.code = Code::kFailedPrecondition,
                     .message = "the shipment is on its way",
                     .reason = "SHIPMENT_DISPATCHED"};
    }
    cancelled = true;
    if (const auto after = std::exchange(after_cancelling, nullptr)) after();
    return shipping::v1::Shipment();
  }
  static shipping::v1::Shipment Tracked() {
    shipping::v1::Shipment shipment;
    shipment.set_tracking_number("TRACK-1");
    return shipment;
  }
};

class OrdersServiceTest : public ::testing::Test {
 protected:
  OrdersServiceTest() {
    postgres::Migrate(db_, {kMessagingMigrations, kIdempotencyMigrations, kOrdersMigrations});
  }

  static Call As(int64_t user, api::v1::Role role = api::v1::ROLE_USER) {
    Call call = rpc::BackgroundCall(TraceContext::New(), std::chrono::seconds(10));
    call.caller.user_id = user;
    call.caller.role = role;
    return call;
  }

  static v1::CreateOrderRequest Of(int64_t product, int64_t quantity, std::string key = "") {
    v1::CreateOrderRequest request;
    v1::OrderLine* line = request.add_items();
    line->set_product_id(product);
    line->set_quantity(quantity);
    request.set_idempotency_key(std::move(key));
    return request;
  }

  static v1::CreateOrderRequest OfTheCart(std::string key = "") {
    v1::CreateOrderRequest request;
    request.set_from_cart(true);
    request.set_idempotency_key(std::move(key));
    return request;
  }

  v1::Order Place(int64_t user) {
    Result<v1::Order> order = service_.CreateOrder(As(user), Of(1, 2));
    EXPECT_TRUE(order);
    return *std::move(order);
  }

  v1::Order Get(int64_t id) {
    v1::GetOrderRequest request;
    request.set_id(id);
    return *service_.GetOrder(As(1, api::v1::ROLE_ADMIN), request);
  }

  Result<v1::OrderState> MoveTo(const v1::Order& order, v1::OrderStatus status,
                                const std::string& reason = "") {
    v1::UpdateOrderStatusRequest request;
    request.set_id(order.id());
    request.set_status(status);
    request.set_reason(reason);
    return service_.UpdateOrderStatus(As(1, api::v1::ROLE_ADMIN), request);
  }

  std::vector<std::string> Published() { return testing::PublishedTypes(db_); }

  // A message about an order, as an event with this id.
  template <typename Message>
  static messaging::Envelope EventOf(const v1::Order& order, const std::string& event_id) {
    Message message;
    message.set_order_id(order.id());
    message.set_order_uuid(order.uuid());
    messaging::Envelope event =
        messaging::MakeEvent(message, {.source = "stock", .trace = TraceContext::New()});
    event.id = event_id;
    return event;
  }
  Result<void> Deliver(const std::vector<messaging::Envelope>& events) {
    return testing::Deliver(db_, EventHandlers(), "orders", events);
  }
  template <typename Message>
  Result<void> Receive(const v1::Order& order, const std::string& event_id) {
    return Deliver({EventOf<Message>(order, event_id)});
  }

  // What makes an order PROCESSING.
  void Confirm(const v1::Order& order) {
    ASSERT_TRUE(Receive<events::v1::StockReserved>(order, "reserved " + order.uuid()));
    ASSERT_TRUE(Receive<events::v1::PaymentCompleted>(order, "paid " + order.uuid()));
  }
  Result<v1::OrderState> Cancel(const v1::Order& order, const Call& call,
                                const std::string& reason = "", const std::string& key = "") {
    v1::CancelOrderRequest request;
    request.set_id(order.id());
    request.set_reason(reason);
    request.set_idempotency_key(key);
    return service_.CancelOrder(call, request);
  }
  std::string StatusNow(const v1::Order& order) { return StatusText(Get(order.id()).status()); }
  Facts FactsOf(const v1::Order& order) {
    return postgres::InTransaction(db_, [&](postgres::Tx& tx) {
      return FindForUpdate(tx, {order.id()}).at(order.id()).facts;
    });
  }
  v1::OrderTimeline Timeline(const v1::Order& order) {
    v1::GetTimelineRequest request;
    request.set_id(order.id());
    return *service_.GetTimeline(As(order.user_id()), request);
  }
  std::vector<std::string> Told(const v1::Order& order) {
    std::vector<std::string> told;
    const v1::OrderTimeline timeline = Timeline(order);
    for (const v1::TimelineEntry& entry : timeline.items()) told.push_back(entry.what());
    return told;
  }

  // Hands the cart consumer all events that were published, in their sequence.
  Result<void> DeliverToCart(const std::string& group = "cart") {
    return testing::Deliver(db_, CartHandlers(cart_, db_), group, testing::PublishedEvents(db_));
  }

  testing::TestDatabase database_;
  postgres::Pool db_{database_.settings()};
  FakeProducts fake_products_;
  FakeCart fake_cart_;
  rpc::Identity products_identity_{testing::IdentityOf("products"), NoKeys};
  rpc::Server products_server_{
      {.host = "127.0.0.1"}, products_identity_, {testing::FakeService(fake_products_.Methods())}};
  rpc::Identity cart_identity_{testing::IdentityOf("cart"), NoKeys};
  rpc::Server cart_server_{
      {.host = "127.0.0.1"}, cart_identity_, {testing::FakeService(fake_cart_.Methods())}};
  FakeShipping fake_shipping_;
  rpc::Identity shipping_identity_{testing::IdentityOf("shipping"), NoKeys};
  rpc::Server shipping_server_{
      {.host = "127.0.0.1"}, shipping_identity_, {testing::FakeService(fake_shipping_.Methods())}};
  rpc::Identity identity_{testing::IdentityOf("orders"), NoKeys};
  rpc::Channel products_{"products", products_server_.address(), identity_};
  rpc::Channel cart_{"cart", cart_server_.address(), identity_};
  rpc::Channel shipping_{"shipping", shipping_server_.address(), identity_};
  std::atomic<int> wakes_ = 0;
  const std::shared_ptr<const void> woken_ =
      db_.Subscribe(messaging::kOutboxSignal, [this] { ++wakes_; });
  OrdersService service_{db_, products_, cart_, shipping_, "USD"};
};

}  // namespace shop::orders
