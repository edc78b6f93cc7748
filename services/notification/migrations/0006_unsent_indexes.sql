CREATE INDEX mail_jobs_unsent ON mail_jobs (order_id) WHERE state IN ('REFUSED', 'UNCONFIRMED', 'OVER_LIMIT');
CREATE INDEX mail_jobs_counted ON mail_jobs (counted_for, counted_at) WHERE counted_for IS NOT NULL;
