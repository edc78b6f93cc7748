// All SQL of the orders service. Functions that take a Tx belong to the caller's transaction.
#pragma once

#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/core/paging.h"
#include "common/postgres/pool.h"
#include "orders/order.h"
#include "shop/orders/v1/orders.pb.h"

namespace shop::orders {

// One state of a user's cart. The version alone comes again when the cart's database is restored
// from a backup.
struct CartState {
  int64_t version;
  std::string change_id;  // empty when cart, or the orders service of then, did not know any

  // Whether both are the same state, as far as one can tell.
  bool Is(const CartState& other) const;
};

// What becomes a row: everything the caller decides.
struct NewOrder {
  int64_t user_id;
  PricedLines lines;
  std::string currency;
  v1::PaymentMethod payment_method;
  std::string payment_token;
  std::optional<v1::Address> shipping_address;
  // Where it is made from a cart: which one, and by which request.
  std::optional<CartState> cart = {};
  std::string request_fingerprint = {};
};

// Writes the order and its lines; answers it as it stands. Nothing where an order has this cart
// version (after waiting for whoever is ordering it now).
std::optional<v1::Order> Insert(postgres::Tx& tx, const NewOrder& order);

// The order with its lines. `owner` 0 finds anybody's.
std::optional<v1::Order> Find(postgres::Tx& tx, int64_t id, int64_t owner);
std::optional<v1::OrderState> FindState(postgres::Tx& tx, int64_t id, int64_t owner);
std::optional<v1::Order> FindByUuid(postgres::Tx& tx, const std::string& uuid, int64_t owner);

// An order that was made from a cart.
struct CartOrder {
  v1::Order order;
  CartState cart;
  std::string request_fingerprint;
  bool rejected;  // by stock
  bool settled;   // the cart knows of it
};
// The user's order of this version of the cart, if any, and all that the cart has not been told of.
std::vector<CartOrder> FindCartOrders(postgres::Tx& tx, int64_t user_id, int64_t cart_version);
// The id of the user's newest order of a cart; 0 without any.
int64_t NewestCartOrder(postgres::Tx& tx, int64_t user_id);
// The same, after waiting for whoever is placing one; until the transaction ends nobody else places
// one for the user.
int64_t LockNewestCartOrder(postgres::Tx& tx, int64_t user_id);
// Remembers that the cart has been told of these orders. Locks their rows by id, as FindForUpdate
// does.
void SettleCart(postgres::Tx& tx, const std::vector<int64_t>& ids);
// Those of these orders, all made from carts, whose cart has been told of them.
std::set<int64_t> SettledCarts(postgres::Tx& tx, const std::vector<int64_t>& ids);
// Lets the version of the cart that the order was made from be ordered again.
void ReleaseCart(postgres::Tx& tx, int64_t id);

struct Listing {
  int64_t owner = 0;         // 0: everybody's
  v1::OrderStatus status{};  // UNSPECIFIED: any
  // Placed in [from, before), in microseconds since 1970.
  std::optional<int64_t> from_us = {};
  std::optional<int64_t> before_us = {};
  int64_t before_id = std::numeric_limits<int64_t>::max();  // which a cursor holds
  Page page = {};
};
v1::ListOrdersResponse List(postgres::Tx& tx, const Listing& listing);

// Where an order stands, for who is about to change it.
struct LockedOrder {
  int64_t id;
  std::string uuid;
  int64_t user_id;
  Facts facts;
  std::string reason;  // why it was cancelled
  bool from_cart;
};
// Those of the orders that there are, by id. Locks their rows until the transaction ends.
std::map<int64_t, LockedOrder> FindForUpdate(postgres::Tx& tx, const std::vector<int64_t>& ids);
// Writes the facts and the status that follows from them, and counts `seq` on.
void Update(postgres::Tx& tx, const std::vector<LockedOrder>& standings);

// The order that a key has made, if any.
struct KeyUse {
  std::string fingerprint;
  int64_t order_id;
};
std::optional<KeyUse> FindKey(postgres::Tx& tx, int64_t user_id, const std::string& key);
// Claims a key for this transaction. False when it was used before, after waiting for another
// request that is using it now; ABORTED when that takes longer than two seconds.
Result<bool> ClaimKey(postgres::Tx& tx, int64_t user_id, const std::string& key,
                      const std::string& fingerprint);
void CompleteKey(postgres::Tx& tx, int64_t user_id, const std::string& key, int64_t order_id);

}  // namespace shop::orders
