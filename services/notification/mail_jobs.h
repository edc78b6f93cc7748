// All SQL of notification: the mails that are to be sent. Every time is the database's.
//
// A sender leases jobs, works on each and says how it ended. A lease that ran out is taken over by
// the next sender; what its last holder says after that changes nothing.
#pragma once

#include <chrono>
#include <cstdint>
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

// Leases the jobs that have been due the longest: at most `count`, in the order
// they were written.
std::vector<MailJob> Lease(postgres::Pool& db, std::chrono::milliseconds lease, int count = 1);

// Gives back jobs that were not begun; whose lease is somebody else's by now stays as it is.
void GiveBack(postgres::Pool& db, const std::vector<MailJob>& jobs);

// Ends a job. False when the lease is somebody else's by now.
bool Finish(postgres::Pool& db, const MailJob& job, MailEnd end, const std::string& why = {});

// Gives the job back, to be tried again after `pause`. False when the lease is somebody else's.
bool Postpone(postgres::Pool& db, const MailJob& job, std::chrono::milliseconds pause,
              const std::string& why);

}  // namespace shop::notification
