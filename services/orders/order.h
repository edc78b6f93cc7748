// What an order is and how it moves. No SQL, no Kafka.
//
// The other services' answers are stored as facts, one a source; the first answer of a source
// stands, later or repeated ones change nothing. The status is a pure function of the facts:
//
//   stock      status
//   (nothing)  PENDING
//   RESERVED   PROCESSING
//   REJECTED   CANCELLED
#pragma once

#include <cstdint>
#include <string>
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

}  // namespace shop::orders
