// The reservation of an order's stock: what is decided, and how it moves. No SQL.
//
//   before     Reserve                                       Release
//   (none)     HELD, or REJECTED when something is short     REJECTED: a late Reserve holds nothing
//   HELD       as it was                                     RELEASED
//   RELEASED   as it was                                     as it was
//   REJECTED   as it was                                     as it was
//
// A repeated Reserve is answered with the first decision. Two transactions that move one reservation
// at once are told apart by the conditions in stock_store's statements.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "shop/products/v1/products.pb.h"

namespace shop::products {

enum class Reservation { kNone, kHeld, kReleased, kRejected };

// "HELD" and so on; empty for kNone.
std::string ReservationText(Reservation state);
// The reverse. std::runtime_error for another text.
Reservation ParseReservation(std::string_view text);

Reservation AfterRelease(Reservation before);

struct StockDecision {
  bool reserved = false;
  std::vector<v1::Shortage> shortages = {};  // none when reserved
};

v1::Shortage MakeShortage(int64_t product, int64_t requested, int64_t available);

// Decides for an order without a reservation: all of its quantities are held or none. Both maps are
// by product; what is held is subtracted from `available`.
StockDecision Decide(const std::map<int64_t, int64_t>& quantities,
                     std::map<int64_t, int64_t>* available);

// The decision that a repeated Reserve is answered with; of a released order it was to reserve.
bool WasReserved(Reservation state);

}  // namespace shop::products
