-- Apart from the column of 0002, as the whole outbox is read for them: it is read meanwhile, not
-- written.
CREATE INDEX outbox_refused ON outbox (id) WHERE published_at IS NULL AND refusal IS NOT NULL;

-- What is old is found by when it was published: the oldest ids may be unpublished, or were
-- published late.
CREATE INDEX outbox_published_at ON outbox (published_at) WHERE published_at IS NOT NULL;
