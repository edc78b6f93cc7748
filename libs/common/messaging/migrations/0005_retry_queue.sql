-- The field's word for it. Events that a group could not handle yet, and the later ones of their keys,
-- in the order in which they came; the dead ones wait for a person.
ALTER TABLE held RENAME TO retry_queue;
ALTER SEQUENCE held_id_seq RENAME TO retry_queue_id_seq;
ALTER INDEX held_pkey RENAME TO retry_queue_pkey;
ALTER INDEX held_consumer_topic_partition_position_event_id_key RENAME TO retry_queue_place;
ALTER INDEX held_key RENAME TO retry_queue_key;
ALTER INDEX held_due RENAME TO retry_queue_due;

-- For binaries of the release before, which run beside newer ones during an upgrade: they read and write
-- through it. To be dropped with the release after this one.
CREATE VIEW held AS SELECT * FROM retry_queue;
