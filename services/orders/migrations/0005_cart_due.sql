-- By which the orders that a cart has not been told of are found. Orders are read while it is made, not placed.
CREATE INDEX orders_cart_due ON orders (user_id) WHERE cart_version IS NOT NULL AND NOT cart_settled;
