-- One shipment an order. The unique order_id keeps it one however often the order's event is heard.
CREATE TABLE shipments (
  id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  order_id        bigint NOT NULL UNIQUE,
  user_id         bigint NOT NULL,
  status          text NOT NULL DEFAULT 'CREATED',
  tracking_number text NOT NULL UNIQUE,
  -- Where it goes, as the order said; absent where it said nothing.
  address         jsonb,
  created_at      timestamptz NOT NULL DEFAULT now(),
  updated_at      timestamptz NOT NULL DEFAULT now()
);
