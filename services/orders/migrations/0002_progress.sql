-- How far an order was moved by hand, beside what stock said.
ALTER TABLE orders ADD COLUMN progress text CHECK (progress IN ('SHIPPED', 'DELIVERED', 'CANCELLED'));
