#include "products/reservation.h"

#include <algorithm>
#include <stdexcept>

namespace shop::products {
namespace {

// In the sequence of the enum.
constexpr std::string_view kTexts[] = {"", "HELD", "COMMITTED", "RETURNED", "RELEASED", "REJECTED"};

bool IsAllBack(const OrderStock& order) {
  return std::ranges::all_of(
      order.lines, [](const auto& line) { return line.second.returned == line.second.quantity; });
}

StockMove BringBack(int64_t product, int64_t quantity, ReservedLine* line) {
  line->returned += quantity;
  return {.kind = "RETURNED", .product = product, .on_hand = quantity};
}

}  // namespace

std::string ReservationText(Reservation state) {
  return std::string(kTexts[static_cast<size_t>(state)]);
}

Reservation ParseReservation(std::string_view text) {
  const auto found = std::ranges::find(kTexts, text);
  if (found == std::end(kTexts)) {
    throw std::runtime_error("a reservation has the unknown state " + std::string(text));
  }
  return static_cast<Reservation>(found - kTexts);
}

StockDecision DecisionOf(const OrderStock& order) {
  const bool reserved = order.state != Reservation::kNone && order.state != Reservation::kRejected;
  return {.reserved = reserved, .shortages = order.shortages};
}

v1::Shortage MakeShortage(int64_t product, int64_t requested, int64_t available) {
  v1::Shortage shortage;
  shortage.set_product_id(product);
  shortage.set_requested(requested);
  shortage.set_available(available);
  return shortage;
}

StockMoves Reserve(const Quantities& quantities, OrderStock* order, Quantities* available) {
  if (order->state != Reservation::kNone) return {};
  for (const auto& [product, quantity] : quantities) {
    const int64_t there = (*available)[product];
    if (there < quantity) order->shortages.push_back(MakeShortage(product, quantity, there));
  }
  order->state = order->shortages.empty() ? Reservation::kHeld : Reservation::kRejected;
  if (order->state == Reservation::kRejected) return {};
  StockMoves moves;
  for (const auto& [product, quantity] : quantities) {
    (*available)[product] -= quantity;
    order->lines[product].quantity = quantity;
    moves.push_back({.kind = "RESERVED", .product = product, .reserved = quantity});
  }
  return moves;
}

StockMoves Commit(OrderStock* order) {
  if (order->state != Reservation::kHeld) return {};
  order->state = Reservation::kCommitted;
  StockMoves moves;
  for (const auto& [product, line] : order->lines) {
    moves.push_back({.kind = "COMMITTED",
                     .product = product,
                     .on_hand = -line.quantity,
                     .reserved = -line.quantity});
  }
  return moves;
}

bool WasCommitted(const OrderStock& order) {
  return order.state == Reservation::kCommitted || order.state == Reservation::kReturned;
}

StockMoves Return(const std::string& return_uuid, const Quantities& quantities, OrderStock* order) {
  if (order->returns.contains(return_uuid)) return {};
  StockMoves moves = Commit(order);
  if (order->state != Reservation::kCommitted) return moves;
  int64_t& pieces = order->returns[return_uuid];
  for (const auto& [product, quantity] : quantities) {
    const auto line = order->lines.find(product);
    if (line == order->lines.end()) continue;
    const int64_t back = std::min(quantity, line->second.quantity - line->second.returned);
    if (back == 0) continue;
    pieces += back;
    moves.push_back(BringBack(product, back, &line->second));
  }
  if (IsAllBack(*order)) order->state = Reservation::kReturned;
  return moves;
}

StockMoves Release(OrderStock* order) {
  StockMoves moves;
  if (order->state == Reservation::kNone) {
    order->state = Reservation::kRejected;
  } else if (order->state == Reservation::kHeld) {
    order->state = Reservation::kReleased;
    for (const auto& [product, line] : order->lines) {
      moves.push_back({.kind = "RELEASED", .product = product, .reserved = -line.quantity});
    }
  } else if (order->state == Reservation::kCommitted) {
    order->state = Reservation::kReturned;
    for (auto& [product, line] : order->lines) {
      const int64_t left = line.quantity - line.returned;
      if (left > 0) moves.push_back(BringBack(product, left, &line));
    }
  }
  return moves;
}

bool WasReleased(const OrderStock& order) {
  return order.state == Reservation::kReleased || order.state == Reservation::kReturned;
}

}  // namespace shop::products
