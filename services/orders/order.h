// What an order is, how it moves and which event each move publishes. No SQL, no Kafka.
//
// What other services and people say of an order is kept as facts, by their source. The status is a
// pure function of the facts, and the event follows from the status that is entered:
//
//   moved by hand to   stock      status       event published when it is entered
//   -                  -          PENDING      (ORDER_CREATED, with the order's lines)
//   -                  RESERVED   PROCESSING   ORDER_CONFIRMED
//   -                  REJECTED   CANCELLED    ORDER_CANCELLED
//   SHIPPED            any        SHIPPED      ORDER_SHIPPED
//   DELIVERED          any        DELIVERED    ORDER_DELIVERED
//   CANCELLED          any        CANCELLED    ORDER_CANCELLED
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
#include <variant>
#include <vector>

#include "common/core/result.h"
#include "shop/orders/v1/orders.pb.h"
#include "shop/products/v1/products.pb.h"

namespace shop::orders {

enum class StockFact { kNone, kReserved, kRejected };

// "RESERVED", "REJECTED"; empty for kNone.
std::string_view StockFactText(StockFact fact);
// The reverse. std::runtime_error for another text.
StockFact ParseStockFact(std::string_view text);

// "PENDING" and so on.
std::string StatusText(v1::OrderStatus status);

// What is known of an order, by source.
struct Facts {
  StockFact stock = StockFact::kNone;
  // How far it was moved by hand: SHIPPED, DELIVERED, CANCELLED, or UNSPECIFIED.
  v1::OrderStatus manual = v1::ORDER_STATUS_UNSPECIFIED;
};

v1::OrderStatus StatusOf(const Facts& facts);

// Whether the order was cancelled because stock rejected it, and not by hand.
bool IsRejected(const Facts& facts);

// An order that is about to change, read with a lock on its row (order_store.h).
struct LockedOrder {
  int64_t id = 0;
  std::string uuid = {};
  int64_t user_id = 0;
  bool from_cart = false;
  Facts facts = {};
  std::string reason = {};  // why it was cancelled
};

// A new fact, a type for each source, with the reason for people if it cancels the order.
struct StockDecided {
  StockFact fact;
  std::string reason = {};
};
struct MovedByHand {
  v1::OrderStatus to;
  std::string reason = {};
};
using Fact = std::variant<StockDecided, MovedByHand>;

// What a fact has done to an order.
struct Transition {
  bool changed = false;  // the order is to be stored
  // To be published; none where the status is the same as before.
  std::unique_ptr<google::protobuf::Message> event = nullptr;
};

// Stock's first decision stands: a repeat or a different one changes nothing, and one that comes
// late never changes the status of a cancelled order. A move by hand to the present status changes
// nothing. An illegal move by hand is FAILED_PRECONDITION with the reason ILLEGAL_MOVE and leaves
// the order as it was.
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
                          const google::protobuf::RepeatedPtrField<products::v1::Quote>& quotes);

// FAILED_PRECONDITION with the reason TOTAL_CHANGED and both totals when the customer was shown
// another total than today's.
Result<void> CheckTotal(int64_t expected_total, int64_t total_price);

}  // namespace shop::orders
