// What an order is, how it moves and which events each move publishes. No SQL, no Kafka, no clock.
//
// What other services and people say of an order is kept as facts, by their source. Each source's
// facts only advance: of two that contradict each other the first stands, and a repeat changes
// nothing. The status is a pure function of the facts:
//
//   shipment      cancel     stock      payment     status      event published when it is entered
//   DELIVERED     any        any        any         DELIVERED   ORDER_DELIVERED
//   DISPATCHED    any        any        any         SHIPPED     ORDER_SHIPPED
//   -             DECIDED    any        any         CANCELLED   ORDER_CANCELLED
//   -             -          REJECTED   any         CANCELLED   ORDER_CANCELLED
//   -             -          any        FAILED      CANCELLED   ORDER_CANCELLED
//   -             -          RESERVED   COMPLETED   PROCESSING  ORDER_CONFIRMED
//   -             -          otherwise              PENDING     (ORDER_CREATED, when it is placed)
//
// (In the column `cancel`, - stands for every fact but DECIDED: a request moves nothing by itself.)
//
// CANCELLED and DELIVERED are ends, and an order that has shipped is not cancelled: Apply keeps
// facts that would say otherwise away. An order that turns out to be two statuses further passes
// the one between, so that no event is left out.
//
// order_flow_test.cpp shows the flow of an order, a line a case. A new source of facts is a type in
// Fact with its rule for Apply, a member of Facts with a place in StatusOf, and a column.
#pragma once

#include <google/protobuf/message.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "common/core/result.h"
#include "shop/orders/v1/orders.pb.h"
#include "shop/products/v1/products.pb.h"

namespace shop::orders {

enum class StockFact { kNone, kReserved, kRejected };
// kNotDue: the order is of a release that had no payments, and is confirmed by its stock alone.
enum class PaymentFact { kNone, kNotDue, kCompleted, kFailed };
enum class ShipmentFact { kNone, kDispatched, kDelivered };
// A cancellation of an order that may be dispatched at any moment is asked for (kRequested) until
// shipping has said who came first: kDecided or kRefused.
enum class CancelFact { kNone, kRequested, kRefused, kDecided };
enum class CancelledBy { kNobody, kCustomer, kShop, kDeadline };

// The text of a fact in the database: "RESERVED", "NOT_DUE"; empty for kNone and kNobody.
std::string_view FactText(StockFact fact);
std::string_view FactText(PaymentFact fact);
std::string_view FactText(ShipmentFact fact);
std::string_view FactText(CancelFact fact);
std::string_view FactText(CancelledBy by);
// The reverse, for these types. std::runtime_error for another text.
template <typename Enum>
Enum ParseFact(std::string_view text);

// "PENDING" and so on.
std::string StatusText(v1::OrderStatus status);

// What is known of an order, by source.
struct Facts {
  StockFact stock = StockFact::kNone;
  PaymentFact payment = PaymentFact::kNone;
  ShipmentFact shipment = ShipmentFact::kNone;
  CancelFact cancel = CancelFact::kNone;
  CancelledBy cancelled_by = CancelledBy::kNobody;  // whose request `cancel` is about

  friend bool operator==(const Facts&, const Facts&) = default;
};

v1::OrderStatus StatusOf(const Facts& facts);

// Whether the order was cancelled because stock rejected it or its payment failed, and not because
// somebody wanted it or it took too long: then what was ordered goes back into the cart.
bool GoesBackIntoCart(const Facts& facts);

// What an order waits for, in which it must not wait for ever.
enum class Waiting { kNothing, kStock, kPayment, kDispatch, kCancel, kDelivery };
Waiting WaitingFor(const Facts& facts);
// "STOCK" and so on; empty for kNothing.
std::string_view WaitingText(Waiting waiting);

// An order that is about to change, read with a lock on its row (order_store.h).
struct LockedOrder {
  int64_t id = 0;
  std::string uuid = {};
  int64_t user_id = 0;
  bool from_cart = false;
  Facts facts = {};
  std::string reason = {};         // why it was cancelled
  std::string cancel_reason = {};  // of the request that `facts.cancel` is about
  // Of the last event that was published about it; ORDER_CREATED is 1.
  int64_t seq = 1;
  int64_t entries = 1;     // of its timeline
  double age_seconds = 0;  // since it was placed
};

// A new fact, a type for each source. Reasons are for people.
struct StockDecided {
  StockFact fact;
  std::string reason = {};  // of a rejection
};
struct PaymentDecided {
  PaymentFact fact;  // kCompleted, kFailed
  std::string reason = {};
};
struct ShipmentMoved {
  ShipmentFact fact;
  std::string tracking_number = {};
};
// Somebody wants the order cancelled. A PENDING one is, at once; for a PROCESSING one the request is
// kept and shipping has to be asked.
struct CancelRequested {
  CancelledBy by;
  std::string reason = {};
};
// What shipping said to the request: it will never dispatch the order, or it has done so.
struct CancelAnswered {
  bool decided;
};
// Something about the order that moves nothing, such as a refund.
struct Noted {
  std::string what;  // PAYMENT_REFUNDED
  std::string detail = {};
};
using Fact = std::variant<StockDecided, PaymentDecided, ShipmentMoved, CancelRequested,
                          CancelAnswered, Noted>;

// NOT_FOUND, also for somebody else's order.
Refusal NoOrder(int64_t id);

// FAILED_PRECONDITION with the reason ILLEGAL_MOVE.
Refusal IllegalMove(v1::OrderStatus from, v1::OrderStatus to);

// FAILED_PRECONDITION with the reason SHIPMENT_DISPATCHED.
Refusal AlreadyDispatched();

// How the order's timeline calls a fact, "STOCK_RESERVED", and what it says about it to people.
std::string NameOf(const Fact& fact);
std::string DetailOf(const Fact& fact);

// What a fact has done to an order.
struct Transition {
  bool changed =
      false;  // the order, or what is known of it: to be stored, and told by the timeline
  // To be published, in this sequence; none where the status is the same as before.
  std::vector<std::unique_ptr<google::protobuf::Message>> events = {};
};

// Records the fact, by these rules:
//   stock, payment  the first decision stands, and never moves an order that was cancelled
//   shipment        advances; nothing for an order that was cancelled, which shipping knows not to
//                   dispatch
//   request         nothing where it was cancelled, or its cancellation was requested, before. Once
//                   shipped it is FAILED_PRECONDITION with the reason ILLEGAL_MOVE; refused before
//                   by shipping, with the reason SHIPMENT_DISPATCHED
//   answer          nothing without a request, or after the first answer, or once shipped
// A refusal leaves the order as it was. Events have the next numbers `seq` of the order.
Result<Transition> Apply(LockedOrder* order, const Fact& fact);

// The order's number for people, "7K3M-9QXD": the id in disguise, so that it is unique and needs no
// column. Eight digits of Crockford's base 32, which has no letters that look like digits. Never to
// be changed: numbers are on paper.
// https://www.crockford.com/base32.html
std::string OrderNumber(int64_t id);
// The id behind a number, in either case, with or without its hyphen, O read as 0, I and L as 1.
// Nothing for a text that is no number.
std::optional<int64_t> OrderOfNumber(std::string_view number);

// Why an order that stock rejected was cancelled, for people: "not enough stock: 2 of product 7
// wanted, 1 left".
std::string RejectionReason(
    const google::protobuf::RepeatedPtrField<products::v1::Shortage>& shortages);

// One product and how many of it, before it has a price.
struct Line {
  int64_t product_id;
  int64_t quantity;
};

// The lines of a request with one product at most once, in the order they first appear.
// INVALID_ARGUMENT when there are none, or more of one product than a line may have.
Result<std::vector<Line>> MergeLines(
    const google::protobuf::RepeatedPtrField<v1::OrderLine>& lines);

// Lines with the names and prices of this moment. NOT_FOUND names every product without a quote;
// INVALID_ARGUMENT when the total is more than an order may cost.
struct PricedLines {
  std::vector<v1::OrderItem> items;
  int64_t total_price;
};
Result<PricedLines> Price(const std::vector<Line>& lines,
                          const std::unordered_map<int64_t, products::v1::Quote>& quotes);

// What nobody's orders go beyond, so that one account cannot tie up the stock of a shop without paying.
struct OrderLimits {
  int64_t total = 10'000'000;  // of one order, in minor units
  int64_t pending = 50;        // orders of one customer that are not confirmed yet
};

// FAILED_PRECONDITION with the reason ORDER_TOO_LARGE where an order costs more than it may.
Result<void> CheckSize(int64_t total_price, const OrderLimits& limits);
// RESOURCE_EXHAUSTED with the reason TOO_MANY_PENDING_ORDERS: the customer has as many as may wait.
Refusal TooManyPending(int64_t pending);

// FAILED_PRECONDITION with the reason TOTAL_CHANGED and both totals when the customer was shown
// another total than today's.
Result<void> CheckTotal(int64_t expected_total, int64_t total_price);

}  // namespace shop::orders
