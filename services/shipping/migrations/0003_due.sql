-- What the carrier looks for: those that have waited longest in a state that it moves on.
CREATE INDEX shipments_due ON shipments (state, updated_at) WHERE state IN ('READY', 'DISPATCHED');
