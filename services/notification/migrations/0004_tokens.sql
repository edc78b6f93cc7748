-- No mail tells of a payment token: a job is written without it.
UPDATE mail_jobs SET event = event_without_token(event) WHERE event LIKE '%"paymentToken":%';
