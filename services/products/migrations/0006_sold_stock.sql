-- What was sold leaves the stock at the confirmation of its order, and comes back with a return or a late
-- cancellation.
ALTER TABLE reservation_lines
  ADD COLUMN returned bigint NOT NULL DEFAULT 0,
  -- All rows of before meet it: not worth reading them.
  ADD CONSTRAINT no_more_comes_back_than_was_sold CHECK (returned BETWEEN 0 AND quantity) NOT VALID;
COMMENT ON COLUMN reservation_lines.returned IS 'of the quantity, what has come back since it was sold';

-- The returns of an order that were handled, so that a repeat brings nothing back.
CREATE TABLE stock_returns (
  order_uuid  uuid NOT NULL REFERENCES reservations,
  return_uuid uuid NOT NULL,
  pieces      bigint NOT NULL,
  at          timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (order_uuid, return_uuid)
);

COMMENT ON TABLE stock_movements IS
  'Every movement of stock. For each product the sum of on_hand is products.on_hand and the sum of reserved is '
  'products.reserved. What was ever received is the sum of on_hand over RECEIVED, SET and ADJUSTED; what was sold '
  'is less than nothing in COMMITTED and comes back in RETURNED. So on hand + sold = received.';
COMMENT ON COLUMN reservations.state IS
  'HELD -> COMMITTED -> RETURNED, HELD -> RELEASED, or REJECTED. Orders that were confirmed before this file are HELD '
  'until they are cancelled or returned: what was sold to them counts as on hand and reserved.';
COMMENT ON COLUMN products.stock_version IS 'one more with every change of on_hand - reserved';
