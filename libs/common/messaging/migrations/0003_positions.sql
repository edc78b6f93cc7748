-- Where each group stands, for when Kafka no longer knows: it forgets the offsets of a group that was
-- away for long, at about the time at which it deletes the events that the group has not consumed.
CREATE TABLE consumer_positions (
  consumer  text NOT NULL,
  topic     text NOT NULL,
  partition integer NOT NULL,
  next      bigint NOT NULL,
  saved_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (consumer, topic, partition)
);

-- Partitions on which a group does not go on, as the record it needs next is gone: the topic has those
-- from `first` up to before `until`. A person says where to go on: at the first record from
-- `resume_from` on, or without such a time at `first`.
CREATE TABLE consumer_gaps (
  consumer    text NOT NULL,
  topic       text NOT NULL,
  partition   integer NOT NULL,
  next        bigint NOT NULL,
  first       bigint NOT NULL,
  until       bigint NOT NULL,
  found_at    timestamptz NOT NULL DEFAULT now(),
  resume      boolean NOT NULL DEFAULT false,
  resume_from timestamptz,
  PRIMARY KEY (consumer, topic, partition)
);
