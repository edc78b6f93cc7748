-- What a customer is told of, in its sequence, for those who watch it live.
CREATE INDEX mail_jobs_user ON mail_jobs (user_id, id);
