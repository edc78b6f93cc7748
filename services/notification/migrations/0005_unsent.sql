-- A job can also end as UNCONFIRMED (nobody has confirmed the address) or OVER_LIMIT (the address has had its mails of
-- the day): neither was sent.
DROP INDEX mail_jobs_refused;
-- For whom a mail about an order counts since when: SHA-256 of the address it was last to be sent to, in hex. NULL
-- where mails are not limited, and of deleted users.
ALTER TABLE mail_jobs ADD COLUMN counted_for text, ADD COLUMN counted_at timestamptz;
