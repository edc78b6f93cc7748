// What /metrics says of reservations:
//
//   stock_reservations_total{state}    orders whose stock came to be held, rejected, committed (which
//                                      is sold), returned or released
//   stock_held_orders                  orders whose stock is held now, as the database has it
//   stock_held_pieces                  the pieces of these
#pragma once

#include "common/core/periodic.h"
#include "common/postgres/pool.h"
#include "products/reservation.h"

namespace shop::products {

// Called as it is decided: again when the transaction has to be.
void CountReservation(Reservation state);

// Counts what is held every ten seconds.
class HeldReservations {
 public:
  // The pool must outlive it.
  explicit HeldReservations(postgres::Pool& db);

 private:
  const Periodic counting_;
};

}  // namespace shop::products
