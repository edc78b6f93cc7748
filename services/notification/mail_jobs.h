// All SQL of notification: the mails that are to be sent. Every time is the database's.
//
// A sender leases a job, works on it and says how it ended. A lease that ran out is taken over by
// the next sender; what its last holder says after that changes nothing.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

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

// Leases the job that has been due the longest, if any is.
std::optional<MailJob> Lease(postgres::Pool& db, std::chrono::milliseconds lease);

// Ends a job. False when the lease is somebody else's by now.
bool Finish(postgres::Pool& db, const MailJob& job, MailEnd end, const std::string& why = {});

// Gives the job back, to be tried again after `pause`. False when the lease is somebody else's.
bool Postpone(postgres::Pool& db, const MailJob& job, std::chrono::milliseconds pause,
              const std::string& why);

}  // namespace shop::notification
