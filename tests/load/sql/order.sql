-- What CreateOrder runs: the order with its line, the first entry of its timeline and its deadline, and the event in
-- the outbox, in one transaction.
\set buyer random(1, 1000)
\set product random(1, :products)
BEGIN;
WITH placed AS (
  INSERT INTO orders (user_id, total_price, currency, payment_method, payment_token,
                      shipping_address, cart_version, waiting, waiting_since, deadline_at, entries)
  VALUES (:buyer, 4999, 'USD', 'CREDIT_CARD', '', NULL::jsonb, NULL, 'STOCK', now(), now() + interval '5 minutes', 1)
  ON CONFLICT (user_id, cart_version) WHERE cart_version IS NOT NULL DO NOTHING
  RETURNING id, uuid, user_id, status, reason, total_price, currency, payment_method, shipping_address,
    (extract(epoch FROM created_at) * 1000000)::bigint AS created_us,
    (extract(epoch FROM updated_at) * 1000000)::bigint AS updated_us
), lines AS (
  INSERT INTO order_items (order_id, line, product_id, name, quantity, unit_price)
  SELECT placed.id, line, product_id, name, quantity, unit_price
  FROM placed, unnest(ARRAY[:product]::bigint[], ARRAY['Hummingbird Wireless Mouse']::text[],
                      ARRAY[1]::bigint[], ARRAY[4999]::bigint[])
       WITH ORDINALITY AS l (product_id, name, quantity, unit_price, line)
), first AS (
  INSERT INTO order_timeline (order_id, sequence, what, status, cause, trace_id)
  SELECT id, 1, 'ORDER_CREATED', status, 'CUSTOMER', '4bf92f3577b34da6a3ce929d0e0e4736' FROM placed
) SELECT * FROM placed \gset
INSERT INTO outbox (topic, key, event_id, type, source, time, traceparent, headers, value)
VALUES ('orders', :id::text, gen_random_uuid()::text, 'ORDER_CREATED', '/orders', '2026-01-31T12:00:00.000Z',
  '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', NULL::jsonb,
  '{"orderId":1000,"orderUuid":"6f1c0e52-6a0e-4c39-9d4e-2f6b8f5a7a11","userId":100,"totalPrice":49.99,"currency":"USD","items":[{"productId":100,"name":"Hummingbird Wireless Mouse","quantity":1,"unitPrice":49.99,"totalPrice":49.99}],"paymentMethod":"CREDIT_CARD"}');
COMMIT;
