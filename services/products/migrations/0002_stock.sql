-- Every movement of stock. For each product the sum of on_hand is products.on_hand and the sum of
-- reserved is products.reserved. What was ever received is the sum of on_hand over RECEIVED and SET;
-- what was sold is less than nothing in COMMITTED and comes back in RETURNED. So on hand + sold =
-- received.
CREATE TABLE stock_movements (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  product_id bigint NOT NULL REFERENCES products,
  kind       text NOT NULL
             CHECK (kind IN ('RECEIVED', 'SET', 'RESERVED', 'COMMITTED', 'RELEASED', 'RETURNED')),
  on_hand    bigint NOT NULL DEFAULT 0,
  reserved   bigint NOT NULL DEFAULT 0,
  order_uuid uuid,
  at         timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX stock_movements_by_product ON stock_movements (product_id, id);

-- What was decided about an order's stock, refusals included. The state only advances:
-- HELD -> COMMITTED -> RETURNED, HELD -> RELEASED, REJECTED.
CREATE TABLE reservations (
  order_uuid uuid PRIMARY KEY,
  order_id   bigint NOT NULL,
  state      text NOT NULL
             CHECK (state IN ('HELD', 'COMMITTED', 'RETURNED', 'RELEASED', 'REJECTED')),
  shortages  jsonb NOT NULL DEFAULT '[]',  -- [{"product_id": …, "requested": …, "available": …}]
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);

-- What is held for an order; a refused one has none.
CREATE TABLE reservation_lines (
  order_uuid uuid NOT NULL REFERENCES reservations,
  product_id bigint NOT NULL REFERENCES products,
  quantity   bigint NOT NULL CHECK (quantity > 0),
  PRIMARY KEY (order_uuid, product_id)
);
