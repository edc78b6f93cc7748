-- Orders from before whose cart has not been told: their event waits to be consumed. Those are few,
-- so they are found by the events and not among all orders.
WITH waiting AS MATERIALIZED (
  SELECT key::bigint AS order_id FROM outbox
  WHERE topic = 'orders' AND type = 'ORDER_CREATED'
    AND NOT EXISTS (SELECT FROM inbox WHERE consumer = 'cart' AND inbox.event_id = outbox.event_id))
UPDATE orders SET cart_settled = false
WHERE cart_version IS NOT NULL AND id IN (SELECT order_id FROM waiting);
