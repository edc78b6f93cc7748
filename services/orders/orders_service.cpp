#include "orders/orders_service.h"

#include <google/protobuf/util/time_util.h>

#include <algorithm>

#include "common/core/sha256.h"
#include "common/messaging/outbox.h"
#include "orders/order_events.h"

namespace shop::orders {
namespace {

using google::protobuf::util::TimeUtil;

// How often the cart is read anew while earlier orders of it are taken out.
constexpr int kCartAttempts = 5;
// The reason of a refusal that stays inside: another order of the user's cart was placed since the
// cart was read.
constexpr char kCartOrderedMeanwhile[] = "CART_ORDERED_MEANWHILE";

// What makes two requests the same: all of them, with the Idempotency-Key if they have one.
std::string Fingerprint(const v1::CreateOrderRequest& request) {
  return Sha256Hex(request.SerializeAsString());
}

// What makes two requests with one Idempotency-Key the same: all of them but the key itself.
std::string ContentFingerprint(v1::CreateOrderRequest request) {
  request.clear_idempotency_key();
  return Fingerprint(request);
}

// Whose orders a caller may see: 0 is everybody's.
int64_t OwnerFor(const Call& call) {
  return call.caller.is_admin() ? 0 : call.caller.user_id;
}

Refusal NoOrder(int64_t id) {
  return {Code::kNotFound, "there is no order " + std::to_string(id)};
}

CartState StateOf(const cart::v1::Cart& cart) {
  return {cart.version(), cart.change_id()};
}

// Whether the order, which has the cart's version, stands for what the cart is now.
bool Stands(const CartOrder& made, const CartState& cart) {
  return made.cart.Is(cart) && made.order.status() != v1::ORDER_STATUS_CANCELLED;
}

// The order that was made of the cart, for the same request again; for another one a refusal that
// names it.
Result<v1::Order> OnlyForTheSame(const CartOrder& made, const std::string& fingerprint) {
  if (made.request_fingerprint == fingerprint) return made.order;
  return Refusal{.code = Code::kFailedPrecondition,
                 .message = "the cart has been ordered, as order " + made.order.number(),
                 .details = {{"orderId", std::to_string(made.order.id())},
                             {"orderNumber", made.order.number()}},
                 .reason = "CART_ORDERED"};
}

const CartOrder* OfVersion(const std::vector<CartOrder>& orders, int64_t cart_version) {
  const auto found = std::ranges::find_if(
      orders, [&](const CartOrder& order) { return order.cart.version == cart_version; });
  return found == orders.end() ? nullptr : &*found;
}

}  // namespace

OrdersService::OrdersService(postgres::Pool& db, const rpc::Channel& products,
                             const rpc::Channel& cart, std::string currency)
    : db_(db),
      quote_(products, "shop.products.v1.ProductsService", "QuoteProducts"),
      get_cart_(cart, "shop.cart.v1.CartService", "GetCart"),
      carts_(cart),
      currency_(std::move(currency)) {}

rpc::Service OrdersService::Methods() {
  return rpc::Service("shop.orders.v1.OrdersService")
      .On("CreateOrder", this, &OrdersService::CreateOrder)
      .On("ListOrders", this, &OrdersService::ListOrders)
      .On("GetOrder", this, &OrdersService::GetOrder)
      .On("GetOrderByNumber", this, &OrdersService::GetOrderByNumber)
      .On("GetOrderByUuid", this, &OrdersService::GetOrderByUuid)
      .On("GetOrderStatus", this, &OrdersService::GetOrderStatus)
      .On("UpdateOrderStatus", this, &OrdersService::UpdateOrderStatus);
}

// Places an order for the caller. A repeated idempotency key gets the order it made the first time.
Result<v1::Order> OrdersService::CreateOrder(const Call& call,
                                             const v1::CreateOrderRequest& request) {
  const std::string& key = request.idempotency_key();
  const std::string fingerprint = key.empty() ? std::string() : ContentFingerprint(request);
  if (!key.empty()) {
    Result<v1::Order> earlier =
        postgres::Read(db_, [&](postgres::Tx& tx) { return Replay(tx, call, key, fingerprint); });
    if (earlier || earlier.refusal().code != Code::kNotFound) return earlier;
  }
  for (int attempt = 0; attempt < kCartAttempts; ++attempt) {
    Result<v1::Order> placed = TryToPlace(call, request, fingerprint);
    if (placed || placed.refusal().reason != kCartOrderedMeanwhile) return placed;
  }
  throw Unavailable("the cart kept being ordered");
}

Result<v1::Order> OrdersService::TryToPlace(const Call& call, const v1::CreateOrderRequest& request,
                                            const std::string& fingerprint) {
  const std::string& key = request.idempotency_key();
  // Other services are asked outside the transaction.
  Result<Wanted> wanted = ResolveLines(call, request);
  if (!wanted) return RefuseUnlessPlaced(call, key, fingerprint, wanted.refusal());
  if (wanted->made) return *wanted->made;

  NewOrder order{.user_id = call.caller.user_id,
                 .lines = std::move(wanted->priced),
                 .currency = currency_,
                 .payment_method = request.payment_method() == v1::PAYMENT_METHOD_UNSPECIFIED
                                       ? v1::PAYMENT_METHOD_CREDIT_CARD
                                       : request.payment_method(),
                 .payment_token = request.payment_token(),
                 .shipping_address = std::nullopt,
                 .cart = wanted->cart};
  std::optional<int64_t> cart_version;
  if (order.cart) {
    order.request_fingerprint = Fingerprint(request);
    cart_version = order.cart->version;
  }
  if (request.has_shipping_address()) order.shipping_address = request.shipping_address();

  Result<v1::Order> placed =
      postgres::InTransaction(db_, [&](postgres::Tx& tx) -> Result<v1::Order> {
        if (!key.empty()) {
          const Result<bool> claimed = ClaimKey(tx, order.user_id, key, fingerprint);
          if (!claimed) return claimed.refusal();
          if (!*claimed) return Replay(tx, call, key, fingerprint);
        }
        // An order of an earlier state of the cart that was placed since may have bought what is
        // wanted here.
        if (order.cart && LockNewestCartOrder(tx, order.user_id) != wanted->newest) {
          return Refusal{.code = Code::kAborted,
                         .message = "the cart is being ordered, try again",
                         .reason = kCartOrderedMeanwhile};
        }
        const std::optional<v1::Order> inserted = Insert(tx, order);
        if (!inserted) {
          // The button was pressed twice at once: somebody has just ordered this cart.
          const auto orders = FindCartOrders(tx, order.user_id, order.cart->version);
          const CartOrder* made = OfVersion(orders, order.cart->version);
          if (made == nullptr || !Stands(*made, *order.cart)) {
            return Refusal{Code::kAborted, "the cart is being ordered, try again"};
          }
          return OnlyForTheSame(*made, order.request_fingerprint);
        }
        messaging::Publish(tx, OrderCreated(*inserted, cart_version), EventOrigin(call.trace));
        if (!key.empty()) CompleteKey(tx, order.user_id, key, inserted->id());
        return *inserted;
      });
  return placed;
}

// The order that this key made before; NOT_FOUND when the key is new.
Result<v1::Order> OrdersService::Replay(postgres::Tx& tx, const Call& call, const std::string& key,
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

// The refusal, unless a request with this key has placed its order since Replay looked for that:
// then that order. The cart may be empty, or prices may have changed, only since then, and a client
// that is told that nothing was placed orders again with another key. Waits for a request that is
// placing its order now.
Result<v1::Order> OrdersService::RefuseUnlessPlaced(const Call& call, const std::string& key,
                                                    const std::string& fingerprint,
                                                    const Refusal& refusal) {
  if (key.empty()) return refusal;
  return postgres::InTransaction(db_, [&](postgres::Tx& tx) -> Result<v1::Order> {
    const Result<bool> free = ClaimKey(tx, call.caller.user_id, key, fingerprint);
    if (!free) return free.refusal();
    if (!*free) return Replay(tx, call, key, fingerprint);
    return refusal;  // which rolls the claim back
  });
}

// The lines with their prices, or the order that stands for them.
Result<OrdersService::Wanted> OrdersService::ResolveLines(const Call& call,
                                                          const v1::CreateOrderRequest& request) {
  Result<Wanted> wanted = WhichLines(call, request);
  if (!wanted || wanted->made) return wanted;
  Result<PricedLines> priced = FetchPrices(call, wanted->lines);
  if (!priced) return priced.refusal();
  if (request.has_expected_total()) {
    const Result<void> same = CheckTotal(request.expected_total(), priced->total_price);
    if (!same) return same.refusal();
  }
  wanted->priced = *std::move(priced);
  return wanted;
}

Result<OrdersService::Wanted> OrdersService::WhichLines(const Call& call,
                                                        const v1::CreateOrderRequest& request) {
  if (!request.from_cart()) {
    Result<std::vector<Line>> lines = MergeLines(request.items());
    if (!lines) return lines.refusal();
    return Wanted{*std::move(lines)};
  }
  if (!request.items().empty()) {
    return InvalidField("fromCart", "cannot be true when items are sent");
  }
  return WhatTheCartHolds(call, request);
}

// What the cart holds beside what earlier orders have bought of it: those are taken out here where
// their events have not been handled yet.
Result<OrdersService::Wanted> OrdersService::WhatTheCartHolds(
    const Call& call, const v1::CreateOrderRequest& request) {
  for (int attempt = 0; attempt < kCartAttempts; ++attempt) {
    const int64_t newest = postgres::Read(
        db_, [&](postgres::Tx& tx) { return NewestCartOrder(tx, call.caller.user_id); });
    const Result<cart::v1::Cart> cart = ReadCart(call);
    if (!cart) return cart.refusal();
    const CartState state = StateOf(*cart);
    std::vector<CartOrder> orders = postgres::Read(db_, [&](postgres::Tx& tx) {
      return FindCartOrders(tx, call.caller.user_id, state.version);
    });
    const CartOrder* made = OfVersion(orders, state.version);
    if (made != nullptr && Stands(*made, state)) {
      // Once its lines are out, the cart is in another state: either it was read before that, or
      // it was restored from a backup.
      bool restored = false;
      if (made->settled) {
        const Result<cart::v1::Cart> again = ReadCart(call);
        if (!again) return again.refusal();
        restored = StateOf(*again).Is(state);
      }
      if (!restored) {
        Result<v1::Order> earlier = OnlyForTheSame(*made, Fingerprint(request));
        if (!earlier) return earlier.refusal();
        return Wanted{.lines = {}, .made = *std::move(earlier)};
      }
    }
    const std::optional<int64_t> over =
        made != nullptr && made->settled ? std::optional(made->order.id()) : std::nullopt;
    std::erase_if(orders, [](const CartOrder& order) { return order.settled; });
    if (!orders.empty()) {
      SettleCarts(call, orders);
      continue;
    }
    if (cart->items().empty()) {
      return Refusal{.code = Code::kFailedPrecondition,
                     .message = "the cart is empty",
                     .reason = "CART_EMPTY"};
    }
    // A cancelled order, or one of the time before a backup was restored: it no longer stands for
    // this cart.
    if (over) {
      postgres::InTransaction(db_, [&](postgres::Tx& tx) { ReleaseCart(tx, *over); });
    }
    Wanted wanted{.lines = {}, .cart = state, .newest = newest};
    for (const cart::v1::CartItem& item : cart->items()) {
      wanted.lines.push_back({item.product_id(), item.quantity()});
    }
    return wanted;
  }
  throw Unavailable("the cart kept changing");
}

Result<cart::v1::Cart> OrdersService::ReadCart(const Call& call) const {
  cart::v1::GetCartRequest whose;
  whose.set_user_id(call.caller.user_id);
  return get_cart_(call, whose);
}

// Does for these orders what their events will do, so that nothing is bought twice while those
// wait.
void OrdersService::SettleCarts(const Call& call, const std::vector<CartOrder>& orders) {
  std::vector<int64_t> settled;
  for (const auto& [order, cart, fingerprint, rejected, known] : orders) {
    const Result<void> told =
        rejected ? carts_.PutBack(call, order.user_id(), order.uuid())
                 : carts_.TakeOut(call, order.user_id(), cart.version, order.uuid(), order.items());
    // Our own request was wrong or cart is of another release; not the caller's fault.
    if (!told) throw Unavailable("cart: " + told.refusal().message);
    settled.push_back(order.id());
  }
  postgres::InTransaction(db_, [&](postgres::Tx& tx) { SettleCart(tx, settled); });
}

Result<PricedLines> OrdersService::FetchPrices(const Call& call,
                                               const std::vector<Line>& lines) const {
  products::v1::QuoteProductsRequest request;
  for (const Line& line : lines) request.add_ids(line.product_id);
  const Result<products::v1::QuoteProductsResponse> quotes = quote_(call, request);
  if (!quotes) return quotes.refusal();
  return Price(lines, quotes->items());
}

Result<v1::ListOrdersResponse> OrdersService::ListOrders(const Call& call,
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

Result<v1::Order> OrdersService::GetOrder(const Call& call, const v1::GetOrderRequest& request) {
  std::optional<v1::Order> order =
      postgres::Read(db_, [&](postgres::Tx& tx) { return Find(tx, request.id(), OwnerFor(call)); });
  if (!order) return NoOrder(request.id());
  return *std::move(order);
}

Result<v1::Order> OrdersService::GetOrderByNumber(const Call& call,
                                                  const v1::GetOrderByNumberRequest& request) {
  const std::optional<int64_t> id = OrderOfNumber(request.number());
  std::optional<v1::Order> order;
  if (id) {
    order = postgres::Read(db_, [&](postgres::Tx& tx) { return Find(tx, *id, OwnerFor(call)); });
  }
  if (!order) return Refusal{Code::kNotFound, "there is no order " + request.number()};
  return *std::move(order);
}

Result<v1::Order> OrdersService::GetOrderByUuid(const Call& call,
                                                const v1::GetOrderByUuidRequest& request) {
  std::optional<v1::Order> order = postgres::Read(
      db_, [&](postgres::Tx& tx) { return FindByUuid(tx, request.uuid(), OwnerFor(call)); });
  if (!order) return Refusal{Code::kNotFound, "there is no order " + request.uuid()};
  return *std::move(order);
}

Result<v1::OrderState> OrdersService::GetOrderStatus(const Call& call,
                                                     const v1::GetOrderStatusRequest& request) {
  std::optional<v1::OrderState> state = postgres::Read(
      db_, [&](postgres::Tx& tx) { return FindState(tx, request.id(), OwnerFor(call)); });
  if (!state) return NoOrder(request.id());
  return *std::move(state);
}

// Moves an order by hand; the state it is in already is answered as it is.
Result<v1::OrderState> OrdersService::UpdateOrderStatus(
    const Call& call, const v1::UpdateOrderStatusRequest& request) {
  Result<v1::OrderState> moved =
      postgres::InTransaction(db_, [&](postgres::Tx& tx) -> Result<v1::OrderState> {
        std::map<int64_t, LockedOrder> found = FindForUpdate(tx, {request.id()});
        if (found.empty()) return NoOrder(request.id());
        LockedOrder& order = found.begin()->second;
        if (StatusOf(order.facts) != request.status()) {
          if (Result<void> move = Move(&order.facts, request.status()); !move) {
            return move.refusal();
          }
          if (request.status() == v1::ORDER_STATUS_CANCELLED) {
            order.reason = request.reason().empty() ? "cancelled by the shop" : request.reason();
          }
          Update(tx, {order});
          PublishMove(tx, order, EventOrigin(call.trace));
        }
        return *FindState(tx, request.id(), 0);
      });
  return moved;
}

}  // namespace shop::orders
