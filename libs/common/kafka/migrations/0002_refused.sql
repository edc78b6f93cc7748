-- Why the brokers refuse this very event (it is too large, say). It is tried again from time to
-- time, and the later ones of its key wait for it; a person may discard it.
ALTER TABLE outbox ADD COLUMN refusal text;
CREATE INDEX outbox_refused ON outbox (id) WHERE published_at IS NULL AND refusal IS NOT NULL;

-- What is old is found by when it was published: the oldest ids may be unpublished, or were
-- published late.
CREATE INDEX outbox_published_at ON outbox (published_at) WHERE published_at IS NOT NULL;
