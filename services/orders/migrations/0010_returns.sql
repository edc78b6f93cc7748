-- What customers want to return of delivered orders. Written under the lock of the order's row.
CREATE TABLE returns (
  id         bigserial   PRIMARY KEY,
  -- Its identity across services.
  uuid       uuid        NOT NULL UNIQUE DEFAULT gen_random_uuid(),
  order_id   bigint      NOT NULL REFERENCES orders (id),
  status     text        NOT NULL DEFAULT 'REQUESTED'
             CHECK (status IN ('REQUESTED', 'ACCEPTED', 'REJECTED')),
  reason     text        NOT NULL,
  rejection  text        NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL DEFAULT now(),
  -- By whom and when it was accepted or rejected.
  decided_by bigint,
  decided_at timestamptz
);
CREATE INDEX returns_by_order ON returns (order_id, id);

-- Names and prices are those of order_items.
CREATE TABLE return_items (
  return_id  bigint NOT NULL REFERENCES returns (id),
  line       int    NOT NULL,
  product_id bigint NOT NULL,
  quantity   bigint NOT NULL CHECK (quantity > 0),
  PRIMARY KEY (return_id, line)
);
