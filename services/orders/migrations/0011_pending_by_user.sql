-- How many of a customer's orders wait is asked before each new one.
CREATE INDEX orders_pending_by_user ON orders (user_id) WHERE status = 'PENDING';
