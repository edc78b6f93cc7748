-- Money is in minor units of the row's currency.

CREATE TABLE orders (
  id               bigserial   PRIMARY KEY,
  -- The order's identity across services.
  uuid             uuid        NOT NULL UNIQUE DEFAULT gen_random_uuid(),
  user_id          bigint      NOT NULL,
  -- A pure function of the facts below, kept so that it can be searched.
  status           text        NOT NULL DEFAULT 'PENDING'
                   CHECK (status IN ('PENDING', 'PROCESSING', 'SHIPPED', 'DELIVERED', 'CANCELLED')),
  reason           text,
  -- What stock said; the first answer stands.
  stock            text        CHECK (stock IN ('RESERVED', 'REJECTED')),
  -- Number of changes: the position in the order's own history.
  seq              bigint      NOT NULL DEFAULT 1,
  total_price      bigint      NOT NULL CHECK (total_price > 0),
  currency         text        NOT NULL,
  payment_method   text        NOT NULL,
  -- The provider's token, never a card number.
  payment_token    text        NOT NULL DEFAULT '',
  shipping_address jsonb,
  -- The version of the caller's cart this order was made from.
  cart_version     bigint,
  created_at       timestamptz NOT NULL DEFAULT now(),
  updated_at       timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX orders_by_user ON orders (user_id, id DESC);
CREATE INDEX orders_by_status ON orders (status, id DESC);
-- One version of a cart makes at most one order, however often the button is pressed.
CREATE UNIQUE INDEX orders_by_cart ON orders (user_id, cart_version) WHERE cart_version IS NOT NULL;

-- Names and prices of the moment the order was placed; never changed.
CREATE TABLE order_items (
  order_id   bigint NOT NULL REFERENCES orders (id),
  line       int    NOT NULL,
  product_id bigint NOT NULL,
  name       text   NOT NULL,
  quantity   bigint NOT NULL CHECK (quantity > 0),
  unit_price bigint NOT NULL CHECK (unit_price >= 0),
  PRIMARY KEY (order_id, line)
);

-- Which order an Idempotency-Key made, and for which request.
CREATE TABLE idempotency_keys (
  user_id     bigint      NOT NULL,
  key         text        NOT NULL,
  fingerprint text        NOT NULL,
  order_id    bigint      REFERENCES orders (id),
  created_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (user_id, key)
);
