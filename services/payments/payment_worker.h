// Asks the provider what the payments in the database are waiting for.
//
// Any number of workers may run, in any number of processes. Its threads make the calls, with no transaction
// open. Between them one at a time takes a turn with the database: in one transaction it records what the
// calls that have ended meanwhile have brought, goes on with those payments for as long as there is news,
// and leases as many others as there are threads free. So calls that end together are recorded together,
// and one that ends alone waits for nobody. A call that has brought nothing is made again after a pause that
// grows, for as long as it takes; those payments get only some of the threads, so that new ones do not wait
// behind calls that hang.
//
// A process that dies, at whatever moment, leaves a lease that expires and a payment in doubt: whoever
// takes it next queries, and repeats the same key.
//
// Metrics: payment_calls_total{operation, outcome}, payments_total{outcome}, payment_provider_up.
#pragma once

#include <chrono>
#include <memory>

#include "common/postgres/pool.h"
#include "payments/payment_provider.h"
#include "payments/payment_store.h"

namespace shop::payments {

struct WorkerOptions {
  // How many calls are made at once, and how many of these may be for payments whose last call has
  // brought nothing.
  int at_once = 16;
  int retries_at_once = 6;
  // How often it looks for what is due, besides when it is told.
  std::chrono::milliseconds poll{200};
  Pace pace = {};
};

class PaymentWorker {
 public:
  // Starts its threads. `db` and `provider` must outlive it.
  PaymentWorker(postgres::Pool& db, PaymentProvider& provider, const WorkerOptions& options = {});
  // Cancels the calls under way; they are made again by whoever comes next.
  ~PaymentWorker();

  // False while calls get no answer: the last five got none.
  bool healthy() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shop::payments
