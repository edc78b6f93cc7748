#include "products/reservation.h"

#include <algorithm>
#include <stdexcept>

namespace shop::products {
namespace {

// In the sequence of the enum.
struct State {
  std::string_view text;
  Reservation after_release;
};
constexpr State kStates[] = {{"", Reservation::kRejected},
                             {"HELD", Reservation::kReleased},
                             {"RELEASED", Reservation::kReleased},
                             {"REJECTED", Reservation::kRejected}};

}  // namespace

std::string ReservationText(Reservation state) {
  return std::string(kStates[static_cast<size_t>(state)].text);
}

Reservation ParseReservation(std::string_view text) {
  const auto found = std::ranges::find(kStates, text, &State::text);
  if (found == std::end(kStates)) {
    throw std::runtime_error("a reservation has the unknown state " + std::string(text));
  }
  return static_cast<Reservation>(found - kStates);
}

Reservation AfterRelease(Reservation before) {
  return kStates[static_cast<size_t>(before)].after_release;
}

v1::Shortage MakeShortage(int64_t product, int64_t requested, int64_t available) {
  v1::Shortage shortage;
  shortage.set_product_id(product);
  shortage.set_requested(requested);
  shortage.set_available(available);
  return shortage;
}

StockDecision Decide(const std::map<int64_t, int64_t>& quantities,
                     std::map<int64_t, int64_t>* available) {
  StockDecision decision;
  for (const auto& [product, quantity] : quantities) {
    const int64_t there = (*available)[product];
    if (there < quantity) decision.shortages.push_back(MakeShortage(product, quantity, there));
  }
  decision.reserved = decision.shortages.empty();
  if (!decision.reserved) return decision;
  for (const auto& [product, quantity] : quantities) (*available)[product] -= quantity;
  return decision;
}

bool WasReserved(Reservation state) {
  return state != Reservation::kRejected;
}

}  // namespace shop::products
