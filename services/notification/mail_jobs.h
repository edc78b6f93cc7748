// All SQL of notification: the mails that are to be sent. Every time is the database's.
//
// A sender leases jobs, works on each one and then completes, releases or retries it. A job whose
// lease has expired goes to the next sender that asks; after that, its last holder cannot change it.
//
// New jobs and retries are leased separately, each in their own order, so that a new mail does not
// wait behind mails that keep failing.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/postgres/pool.h"

namespace shop::notification {

struct NewMailJob {
  std::string order_uuid;
  int64_t order_id = 0;
  std::string kind;  // the event's type: ORDER_CREATED; of a refund with its UUID after a space
  int64_t user_id = 0;
  std::string event;  // JSON, kept without its payment token
  std::string traceparent;
};

// The type of the event that a job of this kind tells of.
std::string EventType(std::string_view kind);

// A leased job; without its order_uuid, which sending does not need.
struct MailJob : NewMailJob {
  int64_t id = 0;
  std::chrono::system_clock::time_point created_at;
  int attempt = 0;  // counted from 1
  // Whether the lease of its last holder expired: that one may have sent the mail.
  bool lease_expired = false;
};

// The final states of a job: sent, refused for good by the mail server, and those that were not to be sent, as
// there is nobody to send it to, nobody has confirmed the address, or the address has had its mails of the day.
enum class JobState { kSent, kRefused, kGone, kUnconfirmed, kOverLimit };

// Inserts jobs in their order, by one statement; answers how many. One whose order has a job of this
// kind already is left out, and that stays as it is. One transaction at a time inserts jobs, until it
// ends: so whoever sees a job sees all with a smaller id, too.
int64_t Insert(postgres::Tx& tx, const std::vector<NewMailJob>& jobs);
inline bool Insert(postgres::Tx& tx, const NewMailJob& job) {
  return Insert(tx, std::vector{job}) == 1;
}

// What Tx::SignalCommit is called with by Insert.
inline constexpr char kChangeSignal[] = "mail_jobs";

// A job, for those who watch live what the customer is told of.
struct Change {
  int64_t id = 0;
  int64_t at_us = 0;  // since 1970
  std::string type;   // of the event
  int64_t order_id = 0;
  std::string event;  // JSON
};
// Up to `limit` of the user's after this id, in their sequence.
std::vector<Change> ChangesAfter(postgres::Tx& tx, int64_t user_id, int64_t id, int limit);
// Of each of these users who has any the id of the newest.
std::map<int64_t, int64_t> NewestChanges(postgres::Tx& tx, const std::vector<int64_t>& users);
// The id after which the user's newest `count` come; 0 where there are no more than these.
int64_t BeforeNewest(postgres::Tx& tx, int64_t user_id, int count);

struct MailSlots {
  int fresh = 0;    // never tried: the oldest first
  int retries = 0;  // tried before, or with an expired lease: those that are due for longest first
};

// Leases jobs that are due, at most as many of each kind as there are slots.
std::vector<MailJob> Lease(postgres::Pool& db, std::chrono::milliseconds lease, MailSlots slots);

// Releases jobs without counting the attempt, as if they had not been leased; they are due again
// after `pause`. Jobs that another sender has leased since then stay as they are.
void Release(postgres::Pool& db, const std::vector<MailJob>& jobs,
             std::chrono::milliseconds pause = std::chrono::milliseconds(0));

// Counts a leased job among the mails to this address, whatever becomes of it, unless others are `limit` in the last
// 24 hours: then it is false. A job counts once, at its latest attempt. Of several at once no more than `limit` come
// through.
bool CountMail(postgres::Pool& db, const MailJob& job, const std::string& address, int limit);

// A leased job that is over. `why` is kept of jobs that have a user, with whom it is erased.
struct CompletedMail {
  MailJob job;
  JobState state;
  std::string why = {};
};
// Completes jobs by one statement; answers how many. Those that another sender has leased since then stay as they are.
int64_t Complete(postgres::Pool& db, const std::vector<CompletedMail>& completed);
inline bool Complete(postgres::Pool& db, const MailJob& job, JobState state,
                     const std::string& why = {}) {
  return Complete(db, std::vector<CompletedMail>{{job, state, why}}) == 1;
}

// Releases the job to be tried again after `pause`. False when another sender has leased it since
// then.
bool RetryLater(postgres::Pool& db, const MailJob& job, std::chrono::milliseconds pause,
                const std::string& why);

// How many wait to be sent, for the first time or again.
int64_t CountWaiting(postgres::Tx& tx);

// A mail that was permanently refused, or was not to be sent to its address.
struct RefusedMail {
  int64_t order_id = 0;
  std::string state;  // REFUSED, UNCONFIRMED, OVER_LIMIT
  std::string kind;
  std::string since;  // RFC 3339, UTC
  std::string why;
};

// Those of the latest, at most `limit`, the latest first.
std::vector<RefusedMail> Refused(postgres::Pool& db, int limit);

// Makes the mails of an order due again that Refused shows, or all that the mail server refused. Returns how many.
// For an operator who has fixed the cause; mails that were sent are never among them.
int64_t ResendRefused(postgres::Pool& db, std::optional<int64_t> order_id);

}  // namespace shop::notification
