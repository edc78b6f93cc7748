-- What happened to each order: its facts and its events, in their sequence. Append-only.
CREATE TABLE order_timeline (
  order_id bigint      NOT NULL REFERENCES orders (id),
  sequence bigint      NOT NULL,  -- 1, 2, 3, … an order
  at       timestamptz NOT NULL DEFAULT now(),
  what     text        NOT NULL,
  status   text        NOT NULL,  -- after it
  -- The ce_id of the event that it followed from; else CUSTOMER, SHOP or DEADLINE.
  cause    text        NOT NULL,
  trace_id text        NOT NULL,
  detail   text        NOT NULL DEFAULT '',
  PRIMARY KEY (order_id, sequence)
);

CREATE FUNCTION refuse_to_change_the_timeline() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'order_timeline is append-only';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON order_timeline
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_change_the_timeline();
