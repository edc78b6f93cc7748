-- One shipment an order: its UUID is the order's identity, and keeps it one however often the order's event
-- is heard. A number that comes with another UUID is no repeat and is not passed over in silence.
CREATE TABLE shipments (
  id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  order_uuid      uuid NOT NULL UNIQUE,
  order_id        bigint NOT NULL UNIQUE,
  user_id         bigint NOT NULL,
  status          text NOT NULL DEFAULT 'CREATED',
  tracking_number text NOT NULL UNIQUE,
  -- Where it goes, as the order said; absent where it said nothing.
  address         jsonb,
  created_at      timestamptz NOT NULL DEFAULT now(),
  updated_at      timestamptz NOT NULL DEFAULT now()
);
