-- Orders from before that stock has not decided about have a deadline too, a long one.
UPDATE orders
SET waiting = 'STOCK', waiting_since = now(), deadline_at = now() + interval '1 day'
WHERE status = 'PENDING';
