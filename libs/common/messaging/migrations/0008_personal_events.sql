-- A person's events by their keys, as of one order one is looked for: whoever has ordered a thousand times has a
-- thousand of them. Takes the place of outbox_personal, which 0009 drops.
CREATE INDEX outbox_personal_key ON outbox (person_of_event(value), key) WHERE person_of_event(value) IS NOT NULL;
