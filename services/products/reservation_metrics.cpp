#include "products/reservation_metrics.h"

#include <absl/strings/ascii.h>

#include <array>
#include <chrono>

#include "common/telemetry/metrics.h"
#include "products/stock_store.h"

namespace shop::products {
namespace {

constexpr std::array kStates{Reservation::kHeld, Reservation::kRejected, Reservation::kCommitted,
                             Reservation::kReturned, Reservation::kReleased};

prometheus::Counter& Reservations(Reservation state) {
  static auto& family = CounterFamily("stock_reservations_total",
                                      "Orders whose stock has come to be in a state, by the state");
  return family.Add({{"state", absl::AsciiStrToLower(ReservationText(state))}});
}

void Show(const HeldStock& held) {
  static auto& orders =
      GaugeFamily("stock_held_orders", "Orders whose stock is held and not sold yet").Add({});
  static auto& pieces =
      GaugeFamily("stock_held_pieces", "Pieces that are held for orders and not sold yet").Add({});
  orders.Set(static_cast<double>(held.orders));
  pieces.Set(static_cast<double>(held.pieces));
}

}  // namespace

void CountReservation(Reservation state) {
  Reservations(state).Increment();
}

HeldReservations::HeldReservations(postgres::Pool& db)
    : counting_("held reservations cannot be counted", std::chrono::seconds(10), [&db] {
        Show(postgres::Read(db, [](postgres::Tx& tx) { return CountHeld(tx); }));
      }) {
  // So that there is a 0 before the first one.
  for (const Reservation state : kStates) Reservations(state);
}

}  // namespace shop::products
