-- Sales are counted apart from changes of the content, so that a seller's edit of a busy product is not refused
-- for them.
ALTER TABLE products ADD COLUMN stock_version bigint NOT NULL DEFAULT 1;
COMMENT ON COLUMN products.version IS 'one more with every change but those of orders and adjustments';
COMMENT ON COLUMN products.stock_version IS 'one more with every movement of on_hand or reserved';

-- Who moved stock by hand, and why.
ALTER TABLE stock_movements
  ADD COLUMN reason      text,    -- of ADJUSTED
  ADD COLUMN note        text,
  ADD COLUMN by_user     bigint,
  ADD COLUMN request_key text,    -- the Idempotency-Key of by_user that it was asked for with
  DROP CONSTRAINT stock_movements_kind_check,
  -- Rows of before meet the narrower one that it takes the place of: not worth reading all of them.
  ADD CONSTRAINT stock_movements_kind_check CHECK (kind IN
    ('RECEIVED', 'SET', 'ADJUSTED', 'RESERVED', 'COMMITTED', 'RELEASED', 'RETURNED')) NOT VALID;

-- What 0002_stock.sql says of sold pieces is not so: COMMITTED and RETURNED are never written, neither here nor in
-- reservations. What was sold stays on hand and reserved for its order; only a release ends that.
COMMENT ON TABLE stock_movements IS
  'Every movement of stock. For each product the sum of on_hand is products.on_hand and the sum of reserved is '
  'products.reserved. COMMITTED and RETURNED are never written: what was sold stays on hand and reserved.';
COMMENT ON COLUMN reservations.state IS 'HELD -> RELEASED, or REJECTED; COMMITTED and RETURNED are never written';

-- Whether orders and adjustments alone have moved the product's stock; then lists need not be made anew.
ALTER TABLE cache_invalidations ADD COLUMN stock_only boolean NOT NULL DEFAULT false;
