-- What payments, shipping and those who cancel say of an order, a column a source. No row is
-- rewritten here, and no order is read, as nobody reads orders meanwhile.
ALTER TABLE orders
  -- An order of a release without payments is confirmed by its stock alone; new ones say NULL.
  ADD COLUMN payment       text DEFAULT 'NOT_DUE',
  ADD COLUMN shipment      text,
  -- A request to cancel it, what became of that, whose it was, and why.
  ADD COLUMN cancel        text,
  ADD COLUMN cancelled_by  text,
  ADD COLUMN cancel_reason text,
  -- What the order waits for, since when, and until when it may: a pure function of the facts, and
  -- set when that changes. NULL where it waits for nothing, and in orders of before that were not
  -- PENDING.
  ADD COLUMN waiting       text,
  ADD COLUMN waiting_since timestamptz,
  ADD COLUMN deadline_at   timestamptz,
  -- Of its timeline.
  ADD COLUMN entries       bigint NOT NULL DEFAULT 0;
-- `progress` is written for processes of the release before, and read in orders that it has moved.
-- `seq` counts the events that were published about the order, from here on these alone.

ALTER TABLE orders
  ADD CONSTRAINT orders_payment CHECK (payment IN ('NOT_DUE', 'COMPLETED', 'FAILED')) NOT VALID,
  ADD CONSTRAINT orders_shipment CHECK (shipment IN ('DISPATCHED', 'DELIVERED')) NOT VALID,
  ADD CONSTRAINT orders_cancel CHECK (cancel IN ('REQUESTED', 'REFUSED', 'DECIDED')) NOT VALID;
