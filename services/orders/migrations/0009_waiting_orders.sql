-- By which orders that wait too long are found. Orders are read while it is made, not placed.
CREATE INDEX orders_waiting ON orders (waiting, deadline_at) WHERE waiting IS NOT NULL;
