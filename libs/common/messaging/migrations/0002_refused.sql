-- Why the brokers refuse this very event (it is too large, say). It is tried again from time to
-- time, and the later ones of its key wait for it; a person may discard it.
ALTER TABLE outbox ADD COLUMN refusal text;
