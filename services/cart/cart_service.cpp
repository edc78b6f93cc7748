#include "cart/cart_service.h"

#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace shop::cart {
namespace {

using google::protobuf::util::TimeUtil;

// How often AddItem starts again because the cart has changed.
constexpr int kAttempts = 10;

Refusal NoSuchProduct() {
  return {Code::kNotFound, "there is no such product"};
}

Refusal OutOfStock(int64_t left) {
  Refusal refusal{Code::kFailedPrecondition, "there is not enough in stock"};
  refusal.reason = "OUT_OF_STOCK";
  refusal.details.push_back(
      {"quantity", left > 0 ? "only " + std::to_string(left) + " left" : "none left"});
  return refusal;
}

Refusal TooMany(const std::string& field, const std::string& why) {
  Refusal refusal{Code::kFailedPrecondition, "the cart would hold too much"};
  refusal.reason = "CART_LIMIT";
  refusal.details.push_back({field, why});
  return refusal;
}

// Whether `line.quantity` more of the product may be added.
Result<void> CheckAdding(const StoredCart& cart, const Line& line, int64_t stock) {
  const Line* present = cart.Find(line.product_id);
  const int64_t total = line.quantity + (present != nullptr ? present->quantity : 0);
  if (total > stock) return OutOfStock(stock);
  if (total > kMaxQuantity) {
    return TooMany("quantity", "at most " + std::to_string(kMaxQuantity) + " of a product");
  }
  if (present == nullptr && std::ssize(cart.lines) >= kMaxLines) {
    return TooMany("productId", "at most " + std::to_string(kMaxLines) + " different products");
  }
  return kDone;
}

}  // namespace

CartService::CartService(CartStore& store, const rpc::Channel& products, std::string currency)
    : store_(store), quotes_(products), currency_(std::move(currency)) {}

rpc::Service CartService::Methods() {
  return rpc::Service("shop.cart.v1.CartService")
      .On("GetCart", this, &CartService::GetCart)
      .On("AddItem", this, &CartService::AddItem)
      .On("UpdateItem", this, &CartService::UpdateItem)
      .On("RemoveItem", this, &CartService::RemoveItem)
      .On("ClearCart", this, &CartService::ClearCart)
      .On("EmptyOrderedCart", this, &CartService::EmptyOrderedCart)
      .On("PutBackOrderedCart", this, &CartService::PutBackOrderedCart);
}

Result<v1::Cart> CartService::GetCart(const Call& call, const v1::GetCartRequest& request) {
  int64_t user_id = call.caller.user_id;
  if (call.caller.is_service()) {
    if (request.user_id() == 0) return InvalidField("userId", "is required");
    user_id = request.user_id();
  }
  const StoredCart cart = store_.Find(user_id);
  return ToProto(cart, Quote(call, cart));
}

Result<v1::Cart> CartService::AddItem(const Call& call, const v1::AddItemRequest& request) {
  const int64_t user_id = call.caller.user_id;
  const StoredCart quoted = store_.Find(user_id);
  Quotes quotes = Quote(call, quoted, request.product_id());
  const auto quote = quotes.find(request.product_id());
  if (quote == quotes.end()) return NoSuchProduct();

  Line line;
  line.product_id = request.product_id();
  line.quantity = request.quantity();
  line.name = quote->second.name();
  line.unit_price = quote->second.price();
  const int64_t stock = quote->second.stock();
  StoredCart cart = quoted;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    if (Result<void> allowed = CheckAdding(cart, line, stock); !allowed) return allowed.refusal();
    // The cart may have changed since the check; the filters of these updates check again.
    const std::optional<StoredCart> changed =
        cart.Find(line.product_id) != nullptr
            ? store_.Increase(user_id, line, std::min(stock, kMaxQuantity))
            : store_.Insert(user_id, line, kMaxLines);
    if (changed) {
      // Lines that another call has added since the quotes were fetched: the stored name and price
      // are just as new, and a second call of products could fail after the change.
      for (const Line& other : changed->lines) {
        if (quoted.Find(other.product_id) != nullptr) continue;
        products::v1::Quote stored;
        stored.set_product_id(other.product_id);
        stored.set_name(other.name);
        stored.set_price(other.unit_price);
        stored.set_stock(other.quantity);
        quotes.emplace(other.product_id, std::move(stored));
      }
      return ToProto(*changed, quotes);
    }
    cart = store_.Find(user_id);
  }
  throw Unavailable("the cart kept changing");
}

Result<v1::Cart> CartService::UpdateItem(const Call& call, const v1::UpdateItemRequest& request) {
  const int64_t user_id = call.caller.user_id;
  const Refusal not_in_cart{Code::kNotFound, "the product is not in the cart"};
  const StoredCart cart = store_.Find(user_id);
  if (cart.Find(request.product_id()) == nullptr) return not_in_cart;

  const Quotes quotes = Quote(call, cart);
  const auto quote = quotes.find(request.product_id());
  if (quote == quotes.end()) return NoSuchProduct();
  if (request.quantity() > quote->second.stock()) return OutOfStock(quote->second.stock());
  const std::optional<StoredCart> changed =
      store_.SetQuantity(user_id, request.product_id(), request.quantity());
  if (!changed) return not_in_cart;
  return ToProto(*changed, quotes);
}

Result<google::protobuf::Empty> CartService::RemoveItem(const Call& call,
                                                        const v1::RemoveItemRequest& request) {
  store_.Remove(call.caller.user_id, request.product_id());
  return google::protobuf::Empty();
}

Result<google::protobuf::Empty> CartService::ClearCart(const Call& call,
                                                       const v1::ClearCartRequest&) {
  store_.Clear(call.caller.user_id);
  return google::protobuf::Empty();
}

Result<v1::EmptyOrderedCartResponse> CartService::EmptyOrderedCart(
    const Call&, const v1::EmptyOrderedCartRequest& request) {
  v1::EmptyOrderedCartResponse response;
  if (request.order_uuid().empty()) {
    response.set_emptied(store_.ClearVersion(request.user_id(), request.version()));
    return response;
  }
  Ordered ordered{.order_uuid = request.order_uuid(), .version = request.version()};
  for (const v1::OrderedItem& item : request.items()) {
    ordered.quantities[item.product_id()] += item.quantity();
  }
  response.set_emptied(store_.TakeOut(request.user_id(), ordered));
  response.set_settled(true);
  return response;
}

Result<v1::PutBackOrderedCartResponse> CartService::PutBackOrderedCart(
    const Call&, const v1::PutBackOrderedCartRequest& request) {
  v1::PutBackOrderedCartResponse response;
  response.set_put_back(
      store_.PutBack(request.user_id(), request.order_uuid(), kMaxQuantity, kMaxLines));
  return response;
}

Quotes CartService::Quote(const Call& call, const StoredCart& cart, int64_t another) {
  std::vector<int64_t> products;
  for (const Line& line : cart.lines) products.push_back(line.product_id);
  if (another != 0 && cart.Find(another) == nullptr) products.push_back(another);
  if (products.empty()) return {};

  const Result<SharedQuotes> found = quotes_.Get(call, products);
  // The fault is in this service's request or token, not in the caller's.
  if (!found) throw std::runtime_error("products refused the quotes: " + found.refusal().message);
  Quotes quotes;
  for (const int64_t product : products) {
    const auto quote = (*found)->find(product);
    if (quote != (*found)->end()) quotes.insert(*quote);
  }
  return quotes;
}

v1::Cart CartService::ToProto(const StoredCart& cart, const Quotes& quotes) const {
  v1::Cart proto;
  proto.set_user_id(cart.user_id);
  proto.set_currency(currency_);
  proto.set_version(cart.version);
  proto.set_change_id(cart.change_id);
  if (cart.version != 0) {
    *proto.mutable_updated_at() = TimeUtil::MillisecondsToTimestamp(cart.updated_at_ms);
  }
  int64_t total_price = 0;
  int64_t total_items = 0;
  for (const Line& line : cart.lines) {
    v1::CartItem& item = *proto.add_items();
    item.set_product_id(line.product_id);
    item.set_quantity(line.quantity);
    const auto quote = quotes.find(line.product_id);
    const bool sold = quote != quotes.end();
    item.set_name(sold ? quote->second.name() : line.name);
    item.set_unit_price(sold ? quote->second.price() : line.unit_price);
    item.set_total_price(item.unit_price() * line.quantity);
    item.set_available(sold && quote->second.stock() >= line.quantity);
    if (item.unit_price() != line.unit_price) item.set_previous_unit_price(line.unit_price);
    if (!sold) continue;  // shown, so that it can be removed, but nobody can buy it
    total_price += item.total_price();
    total_items += line.quantity;
  }
  proto.set_total_price(total_price);
  proto.set_total_items(total_items);
  return proto;
}

}  // namespace shop::cart
