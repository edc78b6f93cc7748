// The stock of one order: what is decided about it, how it moves, and what each move does to the
// stock of the products. No SQL; stock_store runs these functions between reading rows, which it
// has locked, and writing them.
//
//   before      Reserve             Commit      Return                      Release
//   (none)      HELD or REJECTED    -           -                           REJECTED: a late
//                                                                           Reserve holds nothing
//   HELD        -                   COMMITTED   COMMITTED first, then so    RELEASED
//   COMMITTED   -                   -           COMMITTED; RETURNED once    RETURNED
//                                               all of it has come back
//   RETURNED, RELEASED, REJECTED: none of them changes anything
//
//   HELD       reserved + quantity                        (RESERVED in the ledger)
//   COMMITTED  reserved - quantity, on hand - quantity    (COMMITTED)
//   RELEASED   reserved - quantity                        (RELEASED)
//   returns    on hand + what came back                   (RETURNED)
//
// Each is total and without effect when it is repeated: a repeat of Reserve is answered with the
// first decision, and a return is known by its UUID.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "shop/products/v1/products.pb.h"

namespace shop::products {

enum class Reservation { kNone, kHeld, kCommitted, kReturned, kReleased, kRejected };

// "HELD" and so on; empty for kNone.
std::string ReservationText(Reservation state);
// The reverse. std::runtime_error for another text.
Reservation ParseReservation(std::string_view text);

// How many of each product.
using Quantities = std::map<int64_t, int64_t>;

struct ReservedLine {
  int64_t quantity = 0;
  int64_t returned = 0;  // of these, what has come back since they were sold

  bool operator==(const ReservedLine&) const = default;
};

// All that is known of one order's stock.
struct OrderStock {
  Reservation state = Reservation::kNone;
  std::map<int64_t, ReservedLine> lines = {};   // by product; none when rejected
  std::vector<v1::Shortage> shortages = {};     // why it was rejected
  std::map<std::string, int64_t> returns = {};  // how many pieces came back with each, by its UUID
};

// The decision that Reserve is answered with, the first time and whenever it is repeated.
struct StockDecision {
  bool reserved = false;
  std::vector<v1::Shortage> shortages = {};  // none when reserved
};
StockDecision DecisionOf(const OrderStock& order);

// What one product's stock gains and loses: a row of the ledger.
struct StockMove {
  std::string_view kind;  // RESERVED, COMMITTED, RELEASED or RETURNED
  int64_t product = 0;
  int64_t on_hand = 0;
  int64_t reserved = 0;
};
using StockMoves = std::vector<StockMove>;

v1::Shortage MakeShortage(int64_t product, int64_t requested, int64_t available);

// All of the quantities are held, or none. What is held is subtracted from `available`.
StockMoves Reserve(const Quantities& quantities, OrderStock* order, Quantities* available);

// What is held is sold.
StockMoves Commit(OrderStock* order);

// Whether the order's stock was ever sold.
bool WasCommitted(const OrderStock& order);

// Of each product at most what was sold and has not come back comes back.
StockMoves Return(const std::string& return_uuid, const Quantities& quantities, OrderStock* order);

// What is held can be bought again; what was sold comes back, less what returns have brought back.
StockMoves Release(OrderStock* order);

// Whether a release gave, or would have given, anything back: not of a rejected order.
bool WasReleased(const OrderStock& order);

}  // namespace shop::products
