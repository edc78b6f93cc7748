// All SQL of notification: the mails that are to be sent. Every time is the database's.
//
// A sender leases jobs, works on each and says how it ended. A lease that ran out is taken over by
// the next sender; what its last holder says after that changes nothing.
//
// Jobs that were never tried and jobs that are tried again are leased apart, each in its order, so
// that however many keep failing a new mail is not behind them.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/postgres/pool.h"

namespace shop::notification {

struct NewMailJob {
  std::string order_uuid;
  int64_t order_id = 0;
  std::string kind;  // ORDER_CREATED
  int64_t user_id = 0;
  std::string event;  // JSON
  std::string traceparent;
};

// A job as its lease holder sees it.
struct MailJob {
  int64_t id = 0;
  int64_t order_id = 0;
  std::string kind;
  int64_t user_id = 0;
  std::string event;
  std::string traceparent;
  std::chrono::system_clock::time_point created_at;
  int attempt = 0;  // counted from 1
  // Whether the holder before ended its lease by no word: its mail may have been sent.
  bool taken_over = false;
};

enum class MailEnd { kSent, kRefused, kGone };

// False when there is a job of that order and kind, which stays as it is.
bool InsertOnce(postgres::Tx& tx, const NewMailJob& job);

struct MailSlots {
  int fresh = 0;  // never tried: in the order they were written
  int again = 0;  // tried before, or left by their holder: those that are due for longest first
};

// Leases jobs that are due, at most so many of each kind.
std::vector<MailJob> Lease(postgres::Pool& db, std::chrono::milliseconds lease, MailSlots slots);

// Gives back jobs whose attempt was none, as if they had not been leased, and not to be leased
// before `pause` is over. Whose lease is somebody else's by now stays as it is.
void GiveBack(postgres::Pool& db, const std::vector<MailJob>& jobs,
              std::chrono::milliseconds pause = std::chrono::milliseconds(0));

// Ends a job. False when the lease is somebody else's by now.
bool Finish(postgres::Pool& db, const MailJob& job, MailEnd end, const std::string& why = {});

// Gives the job back, to be tried again after `pause`. False when the lease is somebody else's.
bool Postpone(postgres::Pool& db, const MailJob& job, std::chrono::milliseconds pause,
              const std::string& why);

// A mail that was refused for good.
struct RefusedMail {
  int64_t order_id = 0;
  std::string kind;
  std::string since;  // RFC 3339, UTC
  std::string why;
};

// The mails that were refused last, at most `limit`, the latest first.
std::vector<RefusedMail> Refused(postgres::Pool& db, int limit);

// Has the refused mails of an order, or all there are, sent again: a sender finds them due. Says
// how many. For an operator who has mended what they were refused for; a mail that was sent is
// never among them.
int64_t SendRefusedAgain(postgres::Pool& db, std::optional<int64_t> order_id);

}  // namespace shop::notification
