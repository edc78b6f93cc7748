// All SQL of the orders service. Functions that take a Tx belong to the caller's transaction.
#pragma once

#include <chrono>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/core/paging.h"
#include "common/postgres/pool.h"
#include "common/telemetry/trace.h"
#include "orders/order.h"
#include "shop/orders/v1/orders.pb.h"

namespace shop::orders {

// One state of a user's cart. The version is not enough: versions repeat after the cart's database
// was restored from a backup.
struct CartState {
  int64_t version;
  std::string change_id;  // empty when it is from a release of cart or orders that had none

  // Whether both are the same state; an empty change_id matches any.
  bool Matches(const CartState& other) const;
};

// What Insert makes a row of.
struct NewOrder {
  int64_t user_id;
  PricedLines lines;
  std::string currency;
  v1::PaymentMethod payment_method;
  std::optional<v1::Address> shipping_address;
  std::string payment_token = {};  // goes into ORDER_CREATED alone
  // Of an order made from a cart: the cart's state, and the request.
  std::optional<CartState> cart = {};
  std::string request_fingerprint = {};
  TraceContext trace = {};
};

// How long an order may wait for each thing.
struct Deadlines {
  std::chrono::milliseconds stock{std::chrono::minutes(5)};
  std::chrono::milliseconds payment{std::chrono::minutes(15)};
  std::chrono::milliseconds dispatch{std::chrono::hours(7 * 24)};
  std::chrono::milliseconds delivery{std::chrono::hours(14 * 24)};
  // How long whoever cancels an order may need to ask shipping, before the sweeper asks.
  std::chrono::milliseconds cancel{std::chrono::seconds(30)};

  std::chrono::milliseconds For(Waiting waiting) const;
};

// What became of an order that was to be inserted.
struct Inserted {
  std::optional<v1::Order> order;  // as stored, if it was
  int64_t pending;                 // how many orders of its user were PENDING before
};
// Writes the orders, their lines, the first entries of their timelines and their deadlines, all by one statement.
// Leaves out one whose user has `most_pending` PENDING orders before any of these is written, and one of a version of
// the cart that there is an order of; waits for a transaction that is inserting such an order. Answers in their order.
std::vector<Inserted> Insert(postgres::Tx& tx, const std::vector<const NewOrder*>& orders,
                             const Deadlines& deadlines, int64_t most_pending);

// The order with its lines. `owner` 0 finds anybody's.
std::optional<v1::Order> Find(postgres::Tx& tx, int64_t id, int64_t owner);
std::optional<v1::OrderState> FindState(postgres::Tx& tx, int64_t id, int64_t owner);
std::optional<v1::Order> FindByUuid(postgres::Tx& tx, const std::string& uuid, int64_t owner);

// An order that was made from a cart.
struct CartOrder {
  v1::Order order;
  CartState cart;
  std::string request_fingerprint;
  bool goes_back;  // its lines, into the cart (GoesBackIntoCart)
  // Whether the cart service has taken the lines out of the cart, or put them back where they go back
  // (column `cart_settled`).
  bool cart_updated;
};
// The user's order of this version of the cart, if any, and all whose cart is not updated yet.
std::vector<CartOrder> FindCartOrders(postgres::Tx& tx, int64_t user_id, int64_t cart_version);
// The id of the user's newest order of a cart; 0 without any.
int64_t NewestCartOrder(postgres::Tx& tx, int64_t user_id);
// The same, under a lock that lets one transaction at a time place an order of the user's cart.
int64_t LockNewestCartOrder(postgres::Tx& tx, int64_t user_id);
// Remembers that the cart is updated for these orders. Locks their rows by id, as FindForUpdate
// does.
void MarkCartUpdated(postgres::Tx& tx, const std::vector<int64_t>& ids);
// Those of these orders, all made from carts, whose cart is updated.
std::set<int64_t> FindCartUpdated(postgres::Tx& tx, const std::vector<int64_t>& ids);
// Lets the version of the cart that the order was made from be ordered again.
void ReleaseCart(postgres::Tx& tx, int64_t id);

struct Listing {
  int64_t owner = 0;         // 0: everybody's
  v1::OrderStatus status{};  // UNSPECIFIED: any
  // Placed in [from, before), in microseconds since 1970.
  std::optional<int64_t> from_us = {};
  std::optional<int64_t> before_us = {};
  int64_t before_id = std::numeric_limits<int64_t>::max();  // from the cursor
  Page page = {};
};
v1::ListOrdersResponse List(postgres::Tx& tx, const Listing& listing);

// The orders with these ids, by id; one that does not exist is left out. Locks their rows, in the
// sequence of their ids, until the transaction ends.
std::map<int64_t, LockedOrder> FindForUpdate(postgres::Tx& tx, const std::vector<int64_t>& ids);
// An entry of an order's timeline.
struct NewEntry {
  int64_t order_id;
  int64_t sequence;
  std::string what;
  v1::OrderStatus status;
  std::string cause;
  std::string trace_id;
  std::string detail = {};
};
// Writes what the orders have become, their deadlines where they wait for something else now, and the
// entries of their timelines: by one statement.
void Update(postgres::Tx& tx, const std::vector<LockedOrder>& orders,
            const std::vector<NewEntry>& entries, const Deadlines& deadlines);

// What happened to the order, first to last. `owner` 0 finds anybody's.
std::optional<v1::OrderTimeline> FindTimeline(postgres::Tx& tx, int64_t id, int64_t owner);
// Up to `limit` entries of the order's timeline after this sequence. They are committed in their
// sequence, as each is written under the lock of the order's row: one that is not there yet has none
// after it that is.
std::vector<v1::TimelineEntry> TimelineAfter(postgres::Tx& tx, int64_t id, int64_t sequence,
                                             int limit);
// Of each of these orders that has entries the sequence of the newest.
std::map<int64_t, int64_t> NewestEntries(postgres::Tx& tx, const std::vector<int64_t>& ids);
// What Tx::SignalCommit is called with by whatever writes into a timeline.
inline constexpr char kTimelineSignal[] = "order_timeline";

// The time of the database, in microseconds since 1970.
int64_t DatabaseTime(postgres::Tx& tx);
// Up to `limit` orders whose deadline for stock, payment or dispatch has passed, by the database's
// time and before `until_us`, without those that have events in the retry queue of the group
// `orders`. Locks them; those that are locked are left out.
std::vector<LockedOrder> LockOverdue(postgres::Tx& tx, int64_t until_us, int limit);
// Up to `limit` orders whose cancellation nobody has finished in time. Gives each another
// deadline, so that no other sweeper asks for it meanwhile.
std::vector<LockedOrder> LeaseUnfinishedCancels(postgres::Tx& tx, int limit,
                                                const Deadlines& deadlines);
// How many orders wait for each thing, how long the first of them does, and how many do so beyond
// their deadline.
struct WaitingOrders {
  std::string waiting;  // WaitingText
  int64_t orders = 0;
  int64_t oldest_seconds = 0;
  int64_t overdue = 0;
};
std::vector<WaitingOrders> CountWaiting(postgres::Tx& tx);

}  // namespace shop::orders
