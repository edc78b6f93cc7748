// All SQL of payments. Every time is the database's.
//
// A payment is changed under its row's lock: load it with a lock, apply facts, save it. A worker leases
// a payment that is due, in the transaction that records the call as begun, and asks the provider with
// nothing locked. A lease that has expired goes to the next worker that asks. What its last holder has
// learned still counts, as it is true; when to ask next is then no more its business.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/postgres/pool.h"
#include "common/telemetry/metrics.h"
#include "payments/payment.h"

namespace shop::payments {

// Wakes the workers of this pool at the commit (postgres::Pool::Subscribe).
inline constexpr char kWorkSignal[] = "payments";

struct StoredPayment {
  Payment payment;
  std::string traceparent;  // of the event that it came of
  int64_t lease = 0;
  int failures = 0;
};

// The order's payment with a lock on its row, which it gets where there is none yet.
StoredPayment LockOrCreate(postgres::Tx& tx, const Order& order, const std::string& traceparent);
// With a lock; nothing where there is none.
std::optional<StoredPayment> Lock(postgres::Tx& tx, const std::string& order_uuid);
std::optional<StoredPayment> LockByOrder(postgres::Tx& tx, int64_t order_id);
// By its key at the provider; nothing for any other text.
std::optional<StoredPayment> LockByKey(postgres::Tx& tx, const std::string& key);

// When a payment is worked on next.
struct Schedule {
  enum class Kind {
    kNews,     // by who has no lease: at once, or when the one who has it is through
    kRelease,  // by the holder of the lease: at once
    kPause,    // by the holder: after `time`, and one more call in a row has brought nothing
    kHold,     // by the holder, who goes on with it for up to `time`
  };
  Kind kind = Kind::kNews;
  std::chrono::milliseconds time{0};
};

// Stores a locked payment, publishes the events and schedules its next call, if there is anything to
// ask.
void Save(postgres::Tx& tx, const StoredPayment& stored, const std::vector<Event>& events,
          Schedule schedule);

// payments_total{outcome}: counted by Save. They are there from the first call on.
struct Outcomes {
  prometheus::Counter& completed;
  prometheus::Counter& failed;
  prometheus::Counter& refunded;  // a payment may have several refunds
};
const Outcomes& CountedOutcomes();

// --- work

// A call that is to be made now: begun, and recorded as such.
struct Job {
  StoredPayment stored;
  NextAsk next;
  int64_t attempt = 0;
};

struct Pace {
  // Longer than any call takes.
  std::chrono::milliseconds lease{30'000};
  // The pause after a call that has brought nothing; it doubles with each, up to the longest.
  std::chrono::milliseconds first_pause{200};
  std::chrono::milliseconds longest_pause{60'000};
};

// Leases one payment that is due, the one that has been due for longest, and begins its next call;
// nothing where none is due. With `retries` also those whose last call has brought nothing.
std::optional<Job> BeginNext(postgres::Pool& db, const Pace& pace, bool retries);

// How a call ended, for people.
struct Ending {
  std::string outcome;
  std::string detail = {};
};

// Takes in what a call has brought, publishes what follows, and begins the next call where there was
// news. Without news the payment is due again after a pause; with `stopping` it is due at once, for
// another worker.
std::optional<Job> Finish(postgres::Pool& db, const Job& job, const std::optional<Fact>& fact,
                          const Ending& ending, const Pace& pace, bool stopping);

// Writes down what the provider told by itself.
void NoteWebhook(postgres::Tx& tx, const std::string& order_uuid, const Ending& ending);

// --- for people

// As GetPayment answers it: of `owner` alone, or of anybody without one. Nothing for a payment that was
// never wanted.
std::optional<v1::Payment> FindPayment(postgres::Pool& db, int64_t order_id,
                                       std::optional<int64_t> owner);
// One of its refunds, of any state.
v1::Refund FindRefund(postgres::Tx& tx, const std::string& uuid);

}  // namespace shop::payments
