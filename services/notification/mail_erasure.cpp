#include "notification/mail_erasure.h"

namespace shop::notification {
namespace {

using messaging::Left;
using postgres::Statement;
using postgres::Tx;

// An event may be stored in a list of one (mail_jobs.cpp).
constexpr Statement kErase{R"sql(
    UPDATE mail_jobs
    SET last_error = NULL, counted_for = NULL, counted_at = NULL,
        event = CASE WHEN person_of_event(event) IS NULL THEN event
                     WHEN event LIKE '[%'
                     THEN '[' || event_without_person(substr(event, 2, length(event) - 2)) || ']'
                     ELSE event_without_person(event) END
    WHERE user_id = $1 AND state <> 'WAITING'
      AND (last_error IS NOT NULL OR counted_for IS NOT NULL OR person_of_event(event) IS NOT NULL))sql"};
constexpr Statement kWaiting{
    "SELECT FROM mail_jobs WHERE user_id = $1 AND state = 'WAITING' LIMIT 1"};

}  // namespace

Left EraseUser(Tx& tx, int64_t user_id) {
  tx.Exec(kErase, user_id);
  const Left mails = messaging::LeftOf(tx.Exec(kWaiting, user_id));
  return messaging::EraseEvents(tx, user_id) + mails;
}

}  // namespace shop::notification
