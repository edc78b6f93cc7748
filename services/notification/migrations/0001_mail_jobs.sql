-- Mails that are to be sent, each written in the transaction that records its event as heard.
CREATE TABLE mail_jobs (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  -- The order's identity; its number is for people and logs.
  order_uuid   uuid NOT NULL,
  order_id     bigint NOT NULL,
  -- The event that the mail tells of: ORDER_CREATED.
  kind         text NOT NULL,
  user_id      bigint NOT NULL,
  -- The event's JSON: all that the mail says, besides who it goes to.
  event        text NOT NULL,
  traceparent  text NOT NULL,
  -- WAITING, then one of SENT, REFUSED (for good, by the mail server) and GONE (there is no such user).
  state        text NOT NULL DEFAULT 'WAITING',
  -- Counts the attempts begun, and tells one lease from the next.
  attempts     integer NOT NULL DEFAULT 0,
  next_at      timestamptz NOT NULL DEFAULT now(),
  -- Set while a sender has the job.
  leased_until timestamptz,
  last_error   text,
  created_at   timestamptz NOT NULL DEFAULT now(),
  finished_at  timestamptz,
  UNIQUE (order_uuid, kind)
);
CREATE INDEX mail_jobs_waiting ON mail_jobs (next_at, id) WHERE state = 'WAITING';
