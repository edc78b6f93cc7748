// All SQL of payments. Every time is the database's.
//
// A payment is changed under its row's lock: load it with a lock, apply facts, save it. A worker leases
// payments that are due, in the transaction that records their calls as begun, and asks the provider with
// nothing locked. A lease that has expired goes to the next worker that asks. What its last holder has
// learned still counts, as it is true; when to ask next is then no more its business.
//
// Whoever changes several payments in one transaction inserts and locks them in the sequence of their
// UUIDs, or skips those that are locked, so that no two wait for each other.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/postgres/pool.h"
#include "common/telemetry/metrics.h"
#include "payments/payment.h"

namespace shop::payments {

// Wakes the workers of this pool at the commit (postgres::Pool::Subscribe).
inline constexpr char kWorkSignal[] = "payments";

// Its items and refunds are there once it is captured. Before that nothing asks for them.
struct StoredPayment {
  Payment payment;
  std::string traceparent;  // of the event that it came of
  int64_t lease = 0;
  int failures = 0;
};

// What an event says of an order's payment.
struct Heard {
  Order order;  // its UUID in lower case, as PostgreSQL writes it
  Fact fact;    // about the whole order or its return
  std::string traceparent;
};
// Takes in what was heard, in this sequence; stores, publishes and schedules what follows. A payment that
// is not there yet is made, where the fact says something of it. Returns the orders without one; ABORTED
// where a return has to wait.
Result<std::vector<int64_t>> TakeIn(postgres::Tx& tx, const std::vector<Heard>& heard);

// With a lock; nothing where there is none.
std::optional<StoredPayment> LockByOrder(postgres::Tx& tx, int64_t order_id);
// By its key at the provider; nothing for any other text.
std::optional<StoredPayment> LockByKey(postgres::Tx& tx, const std::string& key);
// Whether the text is a UUID as PostgreSQL writes it, but for upper case.
bool IsUuid(std::string_view text);

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

// Stores a payment that this transaction has locked, publishes the events and schedules its next call, if
// there is anything to ask.
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
  bool retry = false;  // the payment was leased after a call that had brought nothing
  int64_t attempt = 0;
};

// How a call ended, for people.
struct Ending {
  std::string outcome;
  std::string detail = {};
};

// A call that was made.
struct Made {
  Job job;
  std::optional<Fact> fact;  // what it has brought
  Ending ending;
};

struct Pace {
  // Longer than any call takes.
  std::chrono::milliseconds lease{30'000};
  // The pause after a call that has brought nothing; it doubles with each, up to the longest.
  std::chrono::milliseconds first_pause{200};
  std::chrono::milliseconds longest_pause{60'000};
};

// How many calls can be made now, and how many of these for payments whose last one has brought nothing.
struct Room {
  size_t calls = 0;
  size_t retries = 0;
};

struct Turn {
  std::vector<Job> jobs = {};
  // Places of the calls of which nothing was recorded, as somebody else has locked their payments.
  std::vector<size_t> locked = {};
  bool more = false;  // there may be more payments due
};

// Takes in what calls have brought, publishes what follows, and begins the next call of each payment of
// which there was news. Without news a payment is due again after a pause; with `stopping` it is due at
// once, for another worker. Leases besides the payments that have been due for longest, and begins their
// calls, for as long as there is `room`. All of it in one transaction, which waits for no lock.
Turn TakeTurn(postgres::Pool& db, const std::vector<Made>& made, const Room& room, const Pace& pace,
              bool stopping = false);
// The same for one call, leases nothing else, and waits for its payment's lock.
std::optional<Job> Finish(postgres::Pool& db, const Made& made, const Pace& pace,
                          bool stopping = false);

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
