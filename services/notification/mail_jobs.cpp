#include "notification/mail_jobs.h"

#include <algorithm>
#include <array>

#include "common/crypto/sha256.h"
#include "common/postgres/columns.h"

namespace shop::notification {
namespace {

constexpr postgres::Statement kInsert{R"sql(
    WITH turn AS MATERIALIZED (
      SELECT pg_advisory_xact_lock(hashtextextended('mail_jobs', 0)))
    INSERT INTO mail_jobs (order_uuid, order_id, kind, user_id, event, traceparent)
    SELECT order_uuid, order_id, kind, user_id, event_without_token(event), traceparent
    FROM turn, unnest($1::uuid[], $2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::text[])
      WITH ORDINALITY AS job (order_uuid, order_id, kind, user_id, event, traceparent, position)
    ORDER BY position
    ON CONFLICT (order_uuid, kind) DO NOTHING)sql"};

constexpr postgres::Statement kCountWaiting{
    "SELECT count(*) FROM mail_jobs WHERE state = 'WAITING'"};

constexpr postgres::Statement kAfter{R"sql(
    SELECT id, (extract(epoch FROM created_at) * 1000000)::bigint AS at_us, kind, order_id, event
    FROM mail_jobs
    WHERE user_id = $1 AND id > $2
    ORDER BY id
    LIMIT $3)sql"};

constexpr postgres::Statement kNewest{R"sql(
    SELECT user_id, max(id) FROM mail_jobs WHERE user_id = ANY($1::bigint[]) GROUP BY user_id)sql"};

constexpr postgres::Statement kBefore{R"sql(
    SELECT id FROM mail_jobs WHERE user_id = $1 ORDER BY id DESC LIMIT 1 OFFSET $2)sql"};

// A job without attempts is not leased: leasing counts one, and a release undoes both.
constexpr postgres::Statement kLease{R"sql(
    WITH fresh AS (
      SELECT id, false AS lease_expired
      FROM mail_jobs
      WHERE state = 'WAITING' AND attempts = 0 AND next_at <= now()
      ORDER BY next_at, id
      LIMIT $2
      FOR UPDATE SKIP LOCKED),
    retries AS (
      SELECT id, leased_until IS NOT NULL AS lease_expired
      FROM mail_jobs
      WHERE state = 'WAITING' AND attempts > 0 AND next_at <= now()
        AND (leased_until IS NULL OR leased_until <= now())
      ORDER BY next_at, id
      LIMIT $3
      FOR UPDATE SKIP LOCKED),
    due AS (SELECT * FROM fresh UNION ALL SELECT * FROM retries)
    UPDATE mail_jobs AS job
    SET attempts = attempts + 1, leased_until = now() + $1 * interval '1 millisecond'
    FROM due
    WHERE job.id = due.id
    RETURNING job.id, order_id, kind, user_id, event, traceparent, attempts, lease_expired,
              (extract(epoch FROM created_at) * 1000)::bigint AS created_at)sql"};

constexpr postgres::Statement kRelease{R"sql(
    UPDATE mail_jobs AS job
    SET attempts = job.attempts - 1, leased_until = NULL,
        next_at = greatest(next_at, now() + $3 * interval '1 millisecond')
    FROM (SELECT * FROM unnest($1::bigint[], $2::bigint[]) LIMIT cardinality($1))
         AS released (id, attempts)
    WHERE job.id = released.id AND job.attempts = released.attempts AND state = 'WAITING')sql"};

// Mails to one address take turns here.
constexpr postgres::Statement kTurn{"SELECT pg_advisory_xact_lock(hashtextextended($1, 0))"};
constexpr postgres::Statement kCount{R"sql(
    UPDATE mail_jobs SET counted_for = $3, counted_at = now()
    WHERE id = $1 AND attempts = $2 AND state = 'WAITING' AND (
      SELECT count(*) FROM mail_jobs AS other
      WHERE counted_for = $3 AND counted_at > now() - interval '1 day' AND other.id <> $1) < $4)sql"};

constexpr postgres::Statement kComplete{R"sql(
    UPDATE mail_jobs AS job
    SET state = done.state, last_error = CASE WHEN user_id > 0 THEN nullif(done.why, '') END, leased_until = NULL,
        finished_at = now()
    FROM (SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[]) LIMIT cardinality($1))
         AS done (id, attempts, state, why)
    WHERE job.id = done.id AND job.attempts = done.attempts AND job.state = 'WAITING')sql"};

constexpr postgres::Statement kRetryLater{R"sql(
    UPDATE mail_jobs
    SET next_at = now() + $3 * interval '1 millisecond', last_error = $4, leased_until = NULL
    WHERE id = $1 AND attempts = $2 AND state = 'WAITING')sql"};

constexpr postgres::Statement kRefused{R"sql(
    SELECT order_id, state, kind, coalesce(last_error, '') AS why,
           to_char(finished_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS since
    FROM mail_jobs
    WHERE state IN ('REFUSED', 'UNCONFIRMED', 'OVER_LIMIT')
    ORDER BY finished_at DESC, id DESC
    LIMIT $1)sql"};

constexpr postgres::Statement kResendRefused{R"sql(
    UPDATE mail_jobs
    SET state = 'WAITING', next_at = now(), finished_at = NULL
    WHERE state IN ('REFUSED', 'UNCONFIRMED', 'OVER_LIMIT')
      AND CASE WHEN $1::bigint IS NULL THEN state = 'REFUSED' ELSE order_id = $1 END)sql"};

// By JobState.
constexpr std::array<const char*, 5> kStates{"SENT", "REFUSED", "GONE", "UNCONFIRMED",
                                             "OVER_LIMIT"};

// A sender of the release before takes every job for an ORDER_CREATED. It cannot read a list, and leaves
// the job to be tried again, by one that can.
std::string Stored(const NewMailJob& job) {
  return job.kind == "ORDER_CREATED" ? job.event : "[" + job.event + "]";
}

std::string EventOf(const std::string& stored) {
  return stored.starts_with('[') ? stored.substr(1, stored.size() - 2) : stored;
}

}  // namespace

std::string EventType(std::string_view kind) {
  return std::string(kind.substr(0, kind.find(' ')));
}

int64_t Insert(postgres::Tx& tx, const std::vector<NewMailJob>& jobs) {
  if (jobs.empty()) return 0;
  tx.SignalCommit(kChangeSignal);
  const pqxx::result inserted =
      tx.Exec(kInsert, postgres::Array(jobs, &NewMailJob::order_uuid),
              postgres::Array(jobs, &NewMailJob::order_id),
              postgres::Array(jobs, &NewMailJob::kind), postgres::Array(jobs, &NewMailJob::user_id),
              postgres::Array(jobs, Stored), postgres::Array(jobs, &NewMailJob::traceparent));
  return static_cast<int64_t>(inserted.affected_rows());
}

std::vector<Change> ChangesAfter(postgres::Tx& tx, int64_t user_id, int64_t id, int limit) {
  std::vector<Change> changes;
  for (const pqxx::row& row : tx.Exec(kAfter, user_id, id, limit)) {
    const auto kind = row["kind"].as<std::string>();
    changes.push_back({.id = row["id"].as<int64_t>(),
                       .at_us = row["at_us"].as<int64_t>(),
                       .type = EventType(kind),
                       .order_id = row["order_id"].as<int64_t>(),
                       .event = EventOf(row["event"].as<std::string>())});
  }
  return changes;
}

std::map<int64_t, int64_t> NewestChanges(postgres::Tx& tx, const std::vector<int64_t>& users) {
  std::map<int64_t, int64_t> newest;
  for (const pqxx::row& row : tx.Exec(kNewest, postgres::Array(users))) {
    newest.emplace(row[0].as<int64_t>(), row[1].as<int64_t>());
  }
  return newest;
}

int64_t BeforeNewest(postgres::Tx& tx, int64_t user_id, int count) {
  const pqxx::result rows = tx.Exec(kBefore, user_id, count);
  return rows.empty() ? 0 : rows[0][0].as<int64_t>();
}

std::vector<MailJob> Lease(postgres::Pool& db, std::chrono::milliseconds lease, MailSlots slots) {
  const pqxx::result leased = postgres::InTransaction(db, [&](postgres::Tx& tx) {
    return tx.Exec(kLease, lease.count(), slots.fresh, slots.retries);
  });
  std::vector<MailJob> jobs;
  for (const pqxx::row& row : leased) {
    MailJob& job = jobs.emplace_back();
    job.id = row["id"].as<int64_t>();
    job.order_id = row["order_id"].as<int64_t>();
    job.kind = row["kind"].as<std::string>();
    job.user_id = row["user_id"].as<int64_t>();
    job.event = EventOf(row["event"].as<std::string>());
    job.traceparent = row["traceparent"].as<std::string>();
    job.created_at = std::chrono::system_clock::time_point(
        std::chrono::milliseconds(row["created_at"].as<int64_t>()));
    job.attempt = row["attempts"].as<int>();
    job.lease_expired = row["lease_expired"].as<bool>();
  }
  // RETURNING promises no order.
  std::sort(jobs.begin(), jobs.end(),
            [](const MailJob& one, const MailJob& other) { return one.id < other.id; });
  return jobs;
}

void Release(postgres::Pool& db, const std::vector<MailJob>& jobs,
             std::chrono::milliseconds pause) {
  if (jobs.empty()) return;
  std::vector<int64_t> ids;
  std::vector<int64_t> attempts;
  for (const MailJob& job : jobs) {
    ids.push_back(job.id);
    attempts.push_back(job.attempt);
  }
  postgres::InTransaction(db, [&](postgres::Tx& tx) {
    tx.Exec(kRelease, postgres::Array(ids), postgres::Array(attempts), pause.count());
  });
}

bool CountMail(postgres::Pool& db, const MailJob& job, const std::string& address, int limit) {
  const std::string hash = Sha256Hex(address);
  return postgres::InTransaction(db, [&](postgres::Tx& tx) {
           tx.Exec(kTurn, "mails to " + hash);
           return tx.Exec(kCount, job.id, job.attempt, hash, limit).affected_rows();
         }) == 1;
}

int64_t Complete(postgres::Pool& db, const std::vector<CompletedMail>& completed) {
  if (completed.empty()) return 0;
  const auto column = [&](const auto& value) { return postgres::Array(completed, value); };
  const std::string ids = column([](const CompletedMail& mail) { return mail.job.id; });
  const std::string attempts = column([](const CompletedMail& mail) { return mail.job.attempt; });
  const std::string states = column([](const CompletedMail& mail) {
    return std::string(kStates[static_cast<size_t>(mail.state)]);
  });
  return postgres::InTransaction(db, [&](postgres::Tx& tx) {
    return static_cast<int64_t>(
        tx.Exec(kComplete, ids, attempts, states, column(&CompletedMail::why)).affected_rows());
  });
}

bool RetryLater(postgres::Pool& db, const MailJob& job, std::chrono::milliseconds pause,
                const std::string& why) {
  return postgres::InTransaction(db, [&](postgres::Tx& tx) {
           return tx.Exec(kRetryLater, job.id, job.attempt, pause.count(), why).affected_rows();
         }) == 1;
}

int64_t CountWaiting(postgres::Tx& tx) {
  return tx.Exec(kCountWaiting)[0][0].as<int64_t>();
}

std::vector<RefusedMail> Refused(postgres::Pool& db, int limit) {
  const pqxx::result found =
      postgres::Read(db, [&](postgres::Tx& tx) { return tx.Exec(kRefused, limit); });
  std::vector<RefusedMail> mails;
  for (const pqxx::row& row : found) {
    mails.push_back({row["order_id"].as<int64_t>(), row["state"].as<std::string>(),
                     row["kind"].as<std::string>(), row["since"].as<std::string>(),
                     row["why"].as<std::string>()});
  }
  return mails;
}

int64_t ResendRefused(postgres::Pool& db, std::optional<int64_t> order_id) {
  return postgres::InTransaction(db, [&](postgres::Tx& tx) {
    return static_cast<int64_t>(tx.Exec(kResendRefused, order_id).affected_rows());
  });
}

}  // namespace shop::notification
