-- Of orders of before: a charge is decided after a day. Later ones are seen to as their orders are decided.
UPDATE outbox SET value = event_without_token(value)
WHERE type = 'STOCK_RESERVED' AND value LIKE '%"paymentToken":%' AND created_at < now() - interval '1 day';
