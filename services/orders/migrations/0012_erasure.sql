-- A payment token is in ORDER_CREATED alone, until the order is not PENDING any more. The column goes with the next
-- release: a process of the release before, which may run beside this one, still writes it.
UPDATE orders SET payment_token = '' WHERE payment_token <> '';
UPDATE outbox SET value = event_without_token(value) FROM orders
WHERE type = 'ORDER_CREATED' AND value LIKE '%"paymentToken":%'
  AND orders.id::text = key AND orders.status <> 'PENDING';

-- The timeline stays append-only, but for what a deleted user has typed: it can be emptied, and nothing else.
CREATE OR REPLACE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON order_timeline
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_change_the_timeline();
CREATE FUNCTION refuse_but_to_erase_the_detail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.detail <> '' OR to_jsonb(NEW) - 'detail' <> to_jsonb(OLD) - 'detail' THEN
    RAISE EXCEPTION 'order_timeline is append-only';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER only_erased BEFORE UPDATE ON order_timeline
  FOR EACH ROW EXECUTE FUNCTION refuse_but_to_erase_the_detail();
