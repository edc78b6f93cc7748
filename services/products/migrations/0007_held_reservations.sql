-- By which what is held is counted, every few seconds. Reservations are read while it is made, not written.
CREATE INDEX reservations_held ON reservations (order_uuid) WHERE state = 'HELD';
