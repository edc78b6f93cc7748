-- Orders that wait are counted every few seconds, with the time since when the first of them does: by the index alone,
-- however many orders there are. Orders are read while it is made, not placed.
CREATE INDEX orders_waiting_counted ON orders (waiting, deadline_at) INCLUDE (waiting_since) WHERE waiting IS NOT NULL;
