#include "orders/order_service.h"

#include <google/protobuf/util/time_util.h>

#include "common/core/sha256.h"
#include "orders/order_events.h"

namespace shop::orders {
namespace {

using google::protobuf::util::TimeUtil;

// What makes two requests the same: all of them but the key itself.
std::string Fingerprint(const v1::CreateOrderRequest& request) {
  v1::CreateOrderRequest content = request;
  content.clear_idempotency_key();
  return Sha256Hex(content.SerializeAsString());
}

// Whose orders a caller may see: 0 is everybody's.
int64_t OwnerFor(const Call& call) {
  return call.caller.is_admin() ? 0 : call.caller.user_id;
}

Refusal NoOrder(int64_t id) {
  return {Code::kNotFound, "there is no order " + std::to_string(id)};
}

}  // namespace

OrderService::OrderService(postgres::Pool& db, const rpc::Channel& products,
                           const rpc::Channel& cart, std::string currency,
                           std::function<void()> committed)
    : db_(db),
      quote_(products, "shop.products.v1.ProductsService", "QuoteProducts"),
      get_cart_(cart, "shop.cart.v1.CartService", "GetCart"),
      currency_(std::move(currency)),
      committed_(std::move(committed)) {}

rpc::Service OrderService::Methods() {
  return rpc::Service("shop.orders.v1.OrdersService")
      .On("CreateOrder", this, &OrderService::CreateOrder)
      .On("ListOrders", this, &OrderService::ListOrders)
      .On("GetOrder", this, &OrderService::GetOrder)
      .On("GetOrderStatus", this, &OrderService::GetOrderStatus)
      .On("UpdateOrderStatus", this, &OrderService::UpdateOrderStatus);
}

// Places an order for the caller. A repeated idempotency key gets the order it made the first time.
Result<v1::Order> OrderService::CreateOrder(const Call& call,
                                            const v1::CreateOrderRequest& request) {
  const std::string& key = request.idempotency_key();
  const std::string fingerprint = key.empty() ? std::string() : Fingerprint(request);
  if (!key.empty()) {
    Result<v1::Order> earlier =
        postgres::Read(db_, [&](postgres::Tx& tx) { return Replay(tx, call, key, fingerprint); });
    if (earlier || earlier.refusal().code != Code::kNotFound) return earlier;
  }

  // Other services are asked outside the transaction.
  const Result<Wanted> wanted = WhatIsWanted(call, request);
  if (!wanted) return wanted.refusal();
  Result<PricedLines> lines = PriceNow(call, wanted->lines);
  if (!lines) return lines.refusal();

  NewOrder order{.user_id = call.caller.user_id,
                 .lines = *std::move(lines),
                 .currency = currency_,
                 .payment_method = request.payment_method() == v1::PAYMENT_METHOD_UNSPECIFIED
                                       ? v1::PAYMENT_METHOD_CREDIT_CARD
                                       : request.payment_method(),
                 .payment_token = request.payment_token(),
                 .shipping_address = std::nullopt,
                 .cart_version = wanted->cart_version};
  if (request.has_shipping_address()) order.shipping_address = request.shipping_address();

  Result<v1::Order> placed =
      postgres::InTransaction(db_, [&](postgres::Tx& tx) -> Result<v1::Order> {
        if (!key.empty()) {
          const Result<bool> claimed = ClaimKey(tx, order.user_id, key, fingerprint);
          if (!claimed) return claimed.refusal();
          if (!*claimed) return Replay(tx, call, key, fingerprint);
        }
        std::optional<v1::Order> inserted = Insert(tx, order);
        if (!inserted) {
          // The button was pressed twice: this version of the cart has its order already.
          inserted = FindByCart(tx, order.user_id, *order.cart_version);
          if (!inserted) return Refusal{Code::kAborted, "the cart is being ordered, try again"};
        } else {
          kafka::Announce(tx, OrderCreated(*inserted, order.cart_version), EventOrigin(call.trace));
        }
        if (!key.empty()) SettleKey(tx, order.user_id, key, inserted->id());
        return *std::move(inserted);
      });
  if (placed) committed_();
  return placed;
}

// The order that this key made before; NOT_FOUND when the key is new.
Result<v1::Order> OrderService::Replay(postgres::Tx& tx, const Call& call, const std::string& key,
                                       const std::string& fingerprint) {
  const std::optional<KeyUse> use = FindKey(tx, call.caller.user_id, key);
  if (!use) return Refusal{Code::kNotFound, "the Idempotency-Key is new"};
  if (use->fingerprint != fingerprint) {
    return Refusal{.code = Code::kInvalidArgument,
                   .message = "this Idempotency-Key was used with another request",
                   .reason = "IDEMPOTENCY_KEY_REUSED"};
  }
  std::optional<v1::Order> order = Find(tx, use->order_id, call.caller.user_id);
  if (!order) return NoOrder(use->order_id);
  return *std::move(order);
}

Result<OrderService::Wanted> OrderService::WhatIsWanted(
    const Call& call, const v1::CreateOrderRequest& request) const {
  if (!request.from_cart()) {
    Result<std::vector<Line>> lines = MergeLines(request.items());
    if (!lines) return lines.refusal();
    return Wanted{*std::move(lines), std::nullopt};
  }
  if (!request.items().empty()) {
    return InvalidField("fromCart", "cannot be true when items are sent");
  }
  cart::v1::GetCartRequest whose;
  whose.set_user_id(call.caller.user_id);
  const Result<cart::v1::Cart> cart = get_cart_(call, whose);
  if (!cart) return cart.refusal();
  if (cart->items().empty()) {
    return Refusal{
        .code = Code::kFailedPrecondition, .message = "the cart is empty", .reason = "CART_EMPTY"};
  }
  Wanted wanted{{}, cart->version()};
  for (const cart::v1::CartItem& item : cart->items()) {
    wanted.lines.push_back({item.product_id(), item.quantity()});
  }
  return wanted;
}

Result<PricedLines> OrderService::PriceNow(const Call& call, const std::vector<Line>& lines) const {
  products::v1::QuoteProductsRequest request;
  for (const Line& line : lines) request.add_ids(line.product_id);
  const Result<products::v1::QuoteProductsResponse> quotes = quote_(call, request);
  if (!quotes) return quotes.refusal();
  return Price(lines, quotes->items());
}

Result<v1::ListOrdersResponse> OrderService::ListOrders(const Call& call,
                                                        const v1::ListOrdersRequest& request) {
  Listing listing{.owner = OwnerFor(call)};
  listing.status = request.status();
  if (call.caller.is_admin() && request.has_user_id()) listing.owner = request.user_id();
  if (request.has_created_from()) {
    listing.from_us = TimeUtil::TimestampToMicroseconds(request.created_from());
  }
  if (request.has_created_before()) {
    listing.before_us = TimeUtil::TimestampToMicroseconds(request.created_before());
  }
  Result<Page> page = PageOf(request, 1);
  if (!page) return page.refusal();
  if (page->by_cursor()) {
    const std::optional<int64_t> before = CursorNumber(page->after[0]);
    if (!before) return InvalidCursor();
    listing.before_id = *before;
  }
  listing.page = *std::move(page);
  return postgres::Read(db_, [&](postgres::Tx& tx) { return List(tx, listing); });
}

Result<v1::Order> OrderService::GetOrder(const Call& call, const v1::GetOrderRequest& request) {
  std::optional<v1::Order> order =
      postgres::Read(db_, [&](postgres::Tx& tx) { return Find(tx, request.id(), OwnerFor(call)); });
  if (!order) return NoOrder(request.id());
  return *std::move(order);
}

Result<v1::OrderState> OrderService::GetOrderStatus(const Call& call,
                                                    const v1::GetOrderStatusRequest& request) {
  std::optional<v1::OrderState> state = postgres::Read(
      db_, [&](postgres::Tx& tx) { return FindState(tx, request.id(), OwnerFor(call)); });
  if (!state) return NoOrder(request.id());
  return *std::move(state);
}

// Moves an order by hand; the state it is in already is answered as it is.
Result<v1::OrderState> OrderService::UpdateOrderStatus(
    const Call& call, const v1::UpdateOrderStatusRequest& request) {
  Result<v1::OrderState> moved =
      postgres::InTransaction(db_, [&](postgres::Tx& tx) -> Result<v1::OrderState> {
        std::map<int64_t, Standing> found = FindForUpdate(tx, {request.id()});
        if (found.empty()) return NoOrder(request.id());
        Standing& order = found.begin()->second;
        if (StatusOf(order.facts) != request.status()) {
          if (Result<void> move = Move(&order.facts, request.status()); !move) {
            return move.refusal();
          }
          if (request.status() == v1::ORDER_STATUS_CANCELLED) {
            order.reason = request.reason().empty() ? "cancelled by the shop" : request.reason();
          }
          Update(tx, {order});
          AnnounceMove(tx, order, EventOrigin(call.trace));
        }
        return *FindState(tx, request.id(), 0);
      });
  if (moved) committed_();
  return moved;
}

}  // namespace shop::orders
