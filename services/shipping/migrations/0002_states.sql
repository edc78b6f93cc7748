-- Where a shipment is. A column of its own beside `status`, which processes of the release before read and write
-- and which says CREATED of every shipment: it goes once none of them runs any more. Shipments of before are
-- PREPARING.
ALTER TABLE shipments
  ADD COLUMN state       text NOT NULL DEFAULT 'PREPARING',
  -- The trace of the order: what the carrier does belongs to it. NULL for shipments of before.
  ADD COLUMN traceparent text;
COMMENT ON COLUMN shipments.state IS
  'PREPARING, READY (its order is confirmed), DISPATCHED, DELIVERED, or CANCELLED: shipment.h has the moves';
COMMENT ON COLUMN shipments.updated_at IS 'since when it has been in its state';
