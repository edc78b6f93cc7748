// What an order is and how it moves. No SQL, no Kafka.
//
// The other services' answers are stored as facts, one a source; the first answer of a source
// stands, later or repeated ones change nothing. The status is a pure function of the facts:
//
//   moved by hand to                  stock       status
//   SHIPPED, DELIVERED or CANCELLED   any         that
//   -                                 (nothing)   PENDING
//   -                                 RESERVED    PROCESSING
//   -                                 REJECTED    CANCELLED
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/core/result.h"
#include "shop/orders/v1/orders.pb.h"
#include "shop/products/v1/products.pb.h"

namespace shop::orders {

enum class StockFact { kNone, kReserved, kRejected };

struct Facts {
  StockFact stock = StockFact::kNone;
  // How far the order was moved by hand: SHIPPED, DELIVERED, CANCELLED, or UNSPECIFIED.
  v1::OrderStatus progress = v1::ORDER_STATUS_UNSPECIFIED;
};

v1::OrderStatus StatusOf(const Facts& facts);

// Moves the order by hand. FAILED_PRECONDITION when there is no such move from where it stands.
Result<void> Move(Facts* facts, v1::OrderStatus next);

// Whether the order ended because stock rejected it, and not by hand.
bool IsRejected(const Facts& facts);

// The number that people read to each other, "7K3M-9QXD": the id in disguise, so that no two orders
// share one and nothing has to be kept. Eight digits of Crockford's base 32, which has no letters
// that look like digits. Never to be changed: numbers are on paper.
// https://www.crockford.com/base32.html
std::string OrderNumber(int64_t id);
// The id that a number stands for, in either case, with or without its hyphen, O read as 0, I and L
// as 1. Nothing for what is no number.
std::optional<int64_t> OrderOfNumber(std::string_view number);

// "PENDING" and so on.
std::string StatusText(v1::OrderStatus status);

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
// INVALID_ARGUMENT when there are none or when a product's sum is more than a line may hold.
Result<std::vector<Line>> MergeLines(
    const google::protobuf::RepeatedPtrField<v1::OrderLine>& lines);

// Lines with the names and prices of this moment. NOT_FOUND names every product that has no quote;
// INVALID_ARGUMENT when the total is beyond what an order may cost.
struct PricedLines {
  std::vector<v1::OrderItem> items;
  int64_t total_price;
};
Result<PricedLines> Price(const std::vector<Line>& lines,
                          const google::protobuf::RepeatedPtrField<products::v1::Quote>& quotes);

// FAILED_PRECONDITION with the reason TOTAL_CHANGED and both totals when the customer was shown
// another total than the one of this moment.
Result<void> CheckTotal(int64_t expected_total, int64_t total_price);

}  // namespace shop::orders
