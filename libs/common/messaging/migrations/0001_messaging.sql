-- What a service keeps in order to announce events and to hear them. One service owns the database;
-- `consumer` is the Kafka group.

-- Events on their way out, written in the transaction of the change they tell about.
CREATE TABLE outbox (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  topic        text NOT NULL,
  key          text NOT NULL,
  event_id     text NOT NULL,
  type         text NOT NULL,
  source       text NOT NULL,
  time         text NOT NULL,
  traceparent  text NOT NULL,
  headers      jsonb,
  value        text NOT NULL,
  created_at   timestamptz NOT NULL DEFAULT now(),
  published_at timestamptz
);
CREATE INDEX outbox_unpublished ON outbox (id) WHERE published_at IS NULL;

-- Which relay publishes, by this database's clock.
CREATE TABLE relay_lease (
  name   text PRIMARY KEY,
  holder text NOT NULL,
  until  timestamptz NOT NULL
);

-- Events whose effect is in this database.
CREATE TABLE inbox (
  consumer text NOT NULL,
  event_id text NOT NULL,
  seen_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (consumer, event_id)
);
CREATE INDEX inbox_seen_at ON inbox USING brin (seen_at);

-- Events that could not be handled yet, and the later ones of their keys, in the order they came.
CREATE TABLE held (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  consumer   text NOT NULL,
  topic      text NOT NULL,
  key        text NOT NULL,
  partition  integer NOT NULL,
  position   bigint NOT NULL,
  event_id   text NOT NULL,
  type       text NOT NULL,
  headers    jsonb NOT NULL,
  value      text NOT NULL,
  attempts   integer NOT NULL DEFAULT 0,
  next_at    timestamptz NOT NULL DEFAULT now(),
  reason     text NOT NULL,
  dead       boolean NOT NULL DEFAULT false,
  created_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (consumer, topic, partition, position, event_id)
);
CREATE INDEX held_key ON held (consumer, topic, key, id);
CREATE INDEX held_due ON held (consumer, next_at) WHERE NOT dead;
