#include "orders/orders_service.h"

#include <google/protobuf/util/time_util.h>

#include <algorithm>

#include "common/crypto/sha256.h"
#include "orders/order_events.h"

namespace shop::orders {
namespace {

using google::protobuf::util::TimeUtil;
using idempotency::Attempt;

// How often the cart is read again after other orders have changed it.
constexpr int kCartAttempts = 5;
// The reason of a refusal that no client sees: another order of the user's cart was placed since
// the cart was read.
constexpr char kCartOrderedMeanwhile[] = "CART_ORDERED_MEANWHILE";
// Of another one: the order is PROCESSING, so that its cancellation takes more than a transaction.
constexpr char kShippingDecides[] = "SHIPPING_DECIDES";
// Of a timeline, for one that watches it.
constexpr int kEntriesAtOnce = 100;

// Equal for equal requests, the Idempotency-Key included.
std::string Fingerprint(const v1::CreateOrderRequest& request) {
  return Sha256Hex(request.SerializeAsString());
}

// Whose orders a caller may see: 0 is everybody's.
int64_t OwnerFor(const Call& call) {
  return call.caller.is_admin() ? 0 : call.caller.user_id;
}

CartState StateOf(const cart::v1::Cart& cart) {
  return {cart.version(), cart.change_id()};
}

const CartOrder* FindVersion(const std::vector<CartOrder>& orders, int64_t cart_version) {
  const auto found = std::ranges::find_if(
      orders, [&](const CartOrder& order) { return order.cart.version == cart_version; });
  return found == orders.end() ? nullptr : &*found;
}

// Whether the order, which has the cart's version, has bought what is in the cart now.
bool HasBought(const CartOrder& placed, const CartState& cart) {
  return placed.cart.Matches(cart) && placed.order.status() != v1::ORDER_STATUS_CANCELLED;
}

// The order that was placed of the cart, for the same request again. Another request is refused,
// and told of that order.
Result<v1::Order> ReplayCartOrder(const CartOrder& placed, const std::string& fingerprint) {
  if (placed.request_fingerprint == fingerprint) return placed.order;
  return Refusal{.code = Code::kFailedPrecondition,
                 .message = "the cart has been ordered, as order " + placed.order.number(),
                 .details = {{"orderId", std::to_string(placed.order.id())},
                             {"orderNumber", placed.order.number()}},
                 .reason = "CART_ORDERED"};
}

Refusal ShippingDecides() {
  return {.code = Code::kAborted,
          .message = "shipping decides on the cancellation",
          .reason = kShippingDecides};
}

Refusal CartBusy(std::string reason = {}) {
  return {.code = Code::kAborted,
          .message = "the cart is being ordered, try again",
          .reason = std::move(reason)};
}

// For an order that was not inserted: the user pressed the button twice at once, and another
// request has just placed an order of the same cart.
Result<v1::Order> ReplayConcurrentOrder(postgres::Tx& tx, const NewOrder& order) {
  const auto orders = FindCartOrders(tx, order.user_id, order.cart->version);
  const CartOrder* placed = FindVersion(orders, order.cart->version);
  if (placed == nullptr || !HasBought(*placed, *order.cart)) return CartBusy();
  return ReplayCartOrder(*placed, order.request_fingerprint);
}

}  // namespace

OrdersService::OrdersService(postgres::Pool& db, const rpc::Channel& products,
                             const rpc::Channel& cart, const rpc::Channel& shipping,
                             std::string currency, const Deadlines& deadlines,
                             const OrderLimits& limits)
    : db_(db),
      quotes_(products),
      get_cart_(cart, "shop.cart.v1.CartService", "GetCart"),
      carts_(cart),
      shipping_(shipping),
      currency_(std::move(currency)),
      deadlines_(deadlines),
      limits_(limits),
      groups_(db, deadlines, limits),
      timelines_([this](const std::vector<int64_t>& orders) {
        return postgres::Read(db_, [&](postgres::Tx& tx) { return NewestEntries(tx, orders); });
      }),
      timeline_signals_(db_.Subscribe(kTimelineSignal, [this] { timelines_.PollSoon(); })) {}

rpc::Service OrdersService::Methods() {
  return rpc::Service("shop.orders.v1.OrdersService")
      .On("CreateOrder", this, &OrdersService::CreateOrder)
      .On("ListOrders", this, &OrdersService::ListOrders)
      .On("GetOrder", this, &OrdersService::GetOrder)
      .On("GetOrderByNumber", this, &OrdersService::GetOrderByNumber)
      .On("GetOrderByUuid", this, &OrdersService::GetOrderByUuid)
      .On("GetOrderStatus", this, &OrdersService::GetOrderStatus)
      .On("UpdateOrderStatus", this, &OrdersService::UpdateOrderStatus)
      .On("CancelOrder", this, &OrdersService::CancelOrder)
      .On("GetTimeline", this, &OrdersService::GetTimeline)
      .OnStream("WatchOrder", this, &OrdersService::WatchOrder);
}

// Places an order for the caller, once for an Idempotency-Key. A refusal gives way to the order that
// another request with the key has placed meanwhile: its reason, such as an empty cart or another
// total, may come from that very order, and a client that reads a refusal orders again with another
// key. Requests that come at the same moment count the same pending orders, and may together go beyond
// their limit by their own number.
Result<v1::Order> OrdersService::CreateOrder(const Call& call,
                                             const v1::CreateOrderRequest& request) {
  return idempotency::Once(db_, call, request, [&](Attempt& attempt) -> Result<v1::Order> {
    for (int i = 0; i < kCartAttempts; ++i) {
      Result<v1::Order> placed = TryToPlace(call, request, attempt);
      if (placed || placed.refusal().reason != kCartOrderedMeanwhile) return placed;
    }
    throw Unavailable("other requests kept ordering the cart");
  });
}

// Decides what is ordered, asking other services, and then places it in one transaction.
Result<v1::Order> OrdersService::TryToPlace(const Call& call, const v1::CreateOrderRequest& request,
                                            Attempt& attempt) {
  const Result<ResolvedLines> resolved = ResolveLines(call, request);
  if (!resolved) return resolved.refusal();
  if (resolved->placed_before) {
    return attempt.InTransaction(
        [&](postgres::Tx&) -> Result<v1::Order> { return *resolved->placed_before; });
  }
  const NewOrder order = MakeOrder(call, request, *resolved);
  if (!order.cart) return groups_.Place(attempt, order);

  // Orders of a cart wait for each other, which nobody else should wait for.
  return attempt.InTransaction([&](postgres::Tx& tx) -> Result<v1::Order> {
    // An order that was placed since the cart was read may have bought the same lines.
    if (LockNewestCartOrder(tx, order.user_id) != resolved->newest_cart_order) {
      return CartBusy(kCartOrderedMeanwhile);
    }
    Inserted inserted = std::move(KeepAndPublish(tx, {&order}, deadlines_, limits_).front());
    if (inserted.order) return *std::move(inserted.order);
    if (inserted.pending >= limits_.pending) return TooManyPending(inserted.pending);
    return ReplayConcurrentOrder(tx, order);
  });
}

NewOrder OrdersService::MakeOrder(const Call& call, const v1::CreateOrderRequest& request,
                                  const ResolvedLines& resolved) const {
  NewOrder order{.user_id = call.caller.user_id,
                 .lines = resolved.priced,
                 .currency = currency_,
                 .payment_method = request.payment_method() == v1::PAYMENT_METHOD_UNSPECIFIED
                                       ? v1::PAYMENT_METHOD_CREDIT_CARD
                                       : request.payment_method(),
                 .shipping_address = std::nullopt,
                 .payment_token = request.payment_token(),
                 .cart = resolved.cart,
                 .trace = call.trace};
  if (order.cart) order.request_fingerprint = Fingerprint(request);
  if (request.has_shipping_address()) order.shipping_address = request.shipping_address();
  return order;
}

// The lines with their prices, of the request or of the cart; or the order that the same request
// has placed of the cart before.
Result<OrdersService::ResolvedLines> OrdersService::ResolveLines(
    const Call& call, const v1::CreateOrderRequest& request) {
  Result<ResolvedLines> resolved = RequestedLines(call, request);
  if (!resolved || resolved->placed_before) return resolved;
  Result<PricedLines> priced = FetchPrices(call, resolved->lines);
  if (!priced) return priced.refusal();
  if (request.has_expected_total()) {
    const Result<void> same = CheckTotal(request.expected_total(), priced->total_price);
    if (!same) return same.refusal();
  }
  if (Result<void> fits = CheckSize(priced->total_price, limits_); !fits) return fits.refusal();
  resolved->priced = *std::move(priced);
  return resolved;
}

Result<OrdersService::ResolvedLines> OrdersService::RequestedLines(
    const Call& call, const v1::CreateOrderRequest& request) {
  if (!request.from_cart()) {
    Result<std::vector<Line>> lines = MergeLines(request.items());
    if (!lines) return lines.refusal();
    return ResolvedLines{*std::move(lines)};
  }
  if (!request.items().empty()) {
    return InvalidField("fromCart", "cannot be true when items are sent");
  }
  return CartLines(call, request);
}

// What is in the cart and was not bought by an earlier order. Where events of earlier orders have
// not updated the cart yet, it is updated here and read again.
Result<OrdersService::ResolvedLines> OrdersService::CartLines(
    const Call& call, const v1::CreateOrderRequest& request) {
  const int64_t user_id = call.caller.user_id;
  for (int attempt = 0; attempt < kCartAttempts; ++attempt) {
    const int64_t newest =
        postgres::Read(db_, [&](postgres::Tx& tx) { return NewestCartOrder(tx, user_id); });
    const Result<cart::v1::Cart> cart = ReadCart(call);
    if (!cart) return cart.refusal();
    const CartState state = StateOf(*cart);
    const std::vector<CartOrder> orders = postgres::Read(
        db_, [&](postgres::Tx& tx) { return FindCartOrders(tx, user_id, state.version); });

    const CartOrder* placed = FindVersion(orders, state.version);
    if (placed != nullptr && HasBought(*placed, state)) {
      const Result<bool> restored = WasRestored(call, *placed, state);
      if (!restored) return restored.refusal();
      if (!*restored) {
        Result<v1::Order> earlier = ReplayCartOrder(*placed, Fingerprint(request));
        if (!earlier) return earlier.refusal();
        return ResolvedLines{.lines = {}, .placed_before = *std::move(earlier)};
      }
    }
    if (UpdateCart(call, orders)) continue;
    if (cart->items().empty()) {
      return Refusal{.code = Code::kFailedPrecondition,
                     .message = "the cart is empty",
                     .reason = "CART_EMPTY"};
    }
    // An order that was cancelled, or placed before a backup was restored, gives the version free.
    if (placed != nullptr) {
      postgres::InTransaction(db_, [&](postgres::Tx& tx) { ReleaseCart(tx, placed->order.id()); });
    }
    ResolvedLines resolved{.lines = {}, .cart = state, .newest_cart_order = newest};
    for (const cart::v1::CartItem& item : cart->items()) {
      resolved.lines.push_back({item.product_id(), item.quantity()});
    }
    return resolved;
  }
  throw Unavailable("the cart kept changing");
}

Result<cart::v1::Cart> OrdersService::ReadCart(const Call& call) const {
  cart::v1::GetCartRequest request;
  request.set_user_id(call.caller.user_id);
  return get_cart_(call, request);
}

// Whether the cart was restored from a backup that is older than the order. Once the cart is updated
// for the order, it is never in the ordered state again: either it was restored, or `cart` was read
// before the update, and then a second read shows another state.
Result<bool> OrdersService::WasRestored(const Call& call, const CartOrder& placed,
                                        const CartState& cart) const {
  if (!placed.cart_updated) return false;
  const Result<cart::v1::Cart> again = ReadCart(call);
  if (!again) return again.refusal();
  return StateOf(*again).Matches(cart);
}

// Does for the orders whose cart is not updated what their events will do, so that nothing is
// bought twice while those events wait. True when there were any: the cart has changed.
bool OrdersService::UpdateCart(const Call& call, const std::vector<CartOrder>& orders) {
  std::vector<int64_t> updated;
  for (const CartOrder& placed : orders) {
    if (placed.cart_updated) continue;
    const v1::Order& order = placed.order;
    const Result<void> done = placed.goes_back
                                  ? carts_.PutBackItems(call, order.user_id(), order.uuid())
                                  : carts_.RemoveItems(call, order.user_id(), placed.cart.version,
                                                       order.uuid(), order.items());
    // Our own request was wrong or cart is of another release; not the caller's fault.
    if (!done) throw Unavailable("cart: " + done.refusal().message);
    updated.push_back(order.id());
  }
  if (updated.empty()) return false;
  postgres::InTransaction(db_, [&](postgres::Tx& tx) { MarkCartUpdated(tx, updated); });
  return true;
}

Result<PricedLines> OrdersService::FetchPrices(const Call& call, const std::vector<Line>& lines) {
  std::vector<int64_t> products;
  for (const Line& line : lines) products.push_back(line.product_id);
  const Result<SharedQuotes> quotes = quotes_.Get(call, products);
  if (!quotes) return quotes.refusal();
  return Price(lines, **quotes);
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

// Moves an order by hand; one that is in that status already is answered as it is.
Result<v1::OrderState> OrdersService::UpdateOrderStatus(
    const Call& call, const v1::UpdateOrderStatusRequest& request) {
  if (request.status() == v1::ORDER_STATUS_CANCELLED) {
    v1::CancelOrderRequest cancel;
    cancel.set_id(request.id());
    cancel.set_reason(request.reason());
    return CancelOrder(call, cancel);
  }
  return MoveShipment(call, request.id(), request.status());
}

// Asks shipping to move the shipment and takes its answer for the event that will follow. Should this
// process die in between, that event moves the order.
Result<v1::OrderState> OrdersService::MoveShipment(const Call& call, int64_t id,
                                                   v1::OrderStatus to) {
  const std::optional<v1::OrderState> now =
      postgres::Read(db_, [&](postgres::Tx& tx) { return FindState(tx, id, 0); });
  if (!now) return NoOrder(id);
  if (now->status() == to) return *now;

  const bool dispatch =
      now->status() == v1::ORDER_STATUS_PROCESSING && to == v1::ORDER_STATUS_SHIPPED;
  const bool deliver =
      now->status() == v1::ORDER_STATUS_SHIPPED && to == v1::ORDER_STATUS_DELIVERED;
  if (!dispatch && !deliver) return IllegalMove(now->status(), to);
  const Result<ShipmentMoved> moved =
      dispatch ? shipping_.Dispatch(call, id) : shipping_.Deliver(call, id);
  if (!moved) return moved.refusal();
  return postgres::InTransaction(db_, [&](postgres::Tx& tx) {
    return Store(tx, {id, *moved, {.source = "orders", .trace = call.trace}, CancelledBy::kShop});
  });
}

// A PENDING order is cancelled by one transaction, with the answer under the request's key. Of a
// PROCESSING one shipping decides.
Result<v1::OrderState> OrdersService::CancelOrder(const Call& call,
                                                  const v1::CancelOrderRequest& request) {
  return idempotency::Once(db_, call, request, [&](Attempt& attempt) -> Result<v1::OrderState> {
    Result<v1::OrderState> cancelled =
        attempt.InTransaction([&](postgres::Tx& tx) -> Result<v1::OrderState> {
          const Result<LockedOrder> order = RequestCancel(tx, call, request);
          if (!order) return order.refusal();
          if (WaitingFor(order->facts) == Waiting::kCancel) return ShippingDecides();
          return *FindState(tx, request.id(), 0);
        });
    if (cancelled || cancelled.refusal().reason != kShippingDecides) return cancelled;
    return CancelWithShipping(call, request, attempt);
  });
}

Result<LockedOrder> OrdersService::RequestCancel(postgres::Tx& tx, const Call& call,
                                                 const v1::CancelOrderRequest& request) {
  const int64_t id = request.id();
  const int64_t owner = OwnerFor(call);
  std::map<int64_t, LockedOrder> orders = FindForUpdate(tx, {id});
  if (orders.empty() || (owner != 0 && orders.at(id).user_id != owner)) return NoOrder(id);
  const bool by_customer = orders.at(id).user_id == call.caller.user_id;
  const CancelledBy by = by_customer ? CancelledBy::kCustomer : CancelledBy::kShop;
  std::string reason = request.reason();
  if (reason.empty()) reason = by_customer ? "cancelled by the customer" : "cancelled by the shop";
  const Result<void> applied =
      ApplyFacts(tx, std::move(orders),
                 {{id, CancelRequested{by, reason}, {.source = "orders", .trace = call.trace}, by}},
                 deadlines_);
  if (!applied) return applied.refusal();
  return FindForUpdate(tx, {id}).at(id);
}

// The request is committed first, whatever comes of it; then shipping says whether it came before a
// dispatch, and its answer is committed with the answer under the key. What dies or fails in between is
// finished by the sweeper.
Result<v1::OrderState> OrdersService::CancelWithShipping(const Call& call,
                                                         const v1::CancelOrderRequest& request,
                                                         Attempt& attempt) {
  const int64_t id = request.id();
  const Result<LockedOrder> order = postgres::InTransaction(
      db_, [&](postgres::Tx& tx) { return RequestCancel(tx, call, request); });
  if (!order) return order.refusal();
  if (WaitingFor(order->facts) != Waiting::kCancel) {  // ended meanwhile
    return attempt.InTransaction(
        [&](postgres::Tx& tx) -> Result<v1::OrderState> { return *FindState(tx, id, 0); });
  }
  const Result<CancelAnswered> answer = shipping_.Cancel(call, id, order->uuid, order->user_id);
  // Our own request was wrong, or shipping is of another release; not the caller's fault.
  if (!answer) throw Unavailable("shipping: " + answer.refusal().message);
  const auto store = [&](postgres::Tx& tx) {
    return Store(
        tx, {id, *answer, {.source = "orders", .trace = call.trace}, order->facts.cancelled_by});
  };
  if (answer->decided) return attempt.InTransaction(store);
  const Result<v1::OrderState> state = postgres::InTransaction(db_, store);
  if (!state) return state.refusal();
  return AlreadyDispatched();
}

Result<v1::OrderState> OrdersService::Store(postgres::Tx& tx, const OrderFact& fact) {
  const Result<void> applied = ApplyFacts(tx, {fact}, deadlines_);
  if (!applied) return applied.refusal();
  return *FindState(tx, fact.order_id, 0);
}

Result<v1::OrderTimeline> OrdersService::GetTimeline(const Call& call,
                                                     const v1::GetTimelineRequest& request) {
  std::optional<v1::OrderTimeline> timeline = postgres::Read(
      db_, [&](postgres::Tx& tx) { return FindTimeline(tx, request.id(), OwnerFor(call)); });
  if (!timeline) return NoOrder(request.id());
  return *std::move(timeline);
}

Result<rpc::Stream<v1::TimelineEntry>> OrdersService::WatchOrder(
    const Call& call, const v1::WatchOrderRequest& request) {
  const int64_t id = request.id();
  const int64_t watched_by = OwnerFor(call);
  const std::optional<v1::OrderState> order =
      postgres::Read(db_, [&](postgres::Tx& tx) { return FindState(tx, id, watched_by); });
  if (!order) return NoOrder(id);
  return rpc::Stream<v1::TimelineEntry>{.hub = &timelines_,
                                        .key = id,
                                        .after = request.last_event_id(),
                                        .read = [this, id](int64_t after) {
                                          return postgres::Read(db_, [&](postgres::Tx& tx) {
                                            return TimelineAfter(tx, id, after, kEntriesAtOnce);
                                          });
                                        }};
}

}  // namespace shop::orders
