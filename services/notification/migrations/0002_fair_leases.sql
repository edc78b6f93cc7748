-- Mails that were never tried and mails that are tried again are leased apart (mail_jobs.h), so that those
-- that keep failing delay nobody's first attempt. mail_jobs_waiting tells neither kind from the other; it stays for
-- processes of the version before.
CREATE INDEX mail_jobs_fresh ON mail_jobs (next_at, id) WHERE state = 'WAITING' AND attempts = 0;
CREATE INDEX mail_jobs_again ON mail_jobs (next_at, id) WHERE state = 'WAITING' AND attempts > 0;
-- An operator looks for these.
CREATE INDEX mail_jobs_refused ON mail_jobs (order_id) WHERE state = 'REFUSED';
