-- What tells the orders of one cart from each other, and whether the cart knows of them. No row is
-- rewritten here, as nobody reads orders meanwhile.
ALTER TABLE orders
  -- Of the whole request of an order that was made from a cart: who asks the same again gets this
  -- order, whoever asks for something else is told of it.
  ADD COLUMN request_fingerprint text,
  -- The change_id of the cart that was ordered; empty when cart did not say. Stays when
  -- cart_version is set to NULL, which lets that version be ordered again: after this order was
  -- cancelled, or in a cart that was restored from a backup.
  ADD COLUMN cart_change_id      text,
  -- Whether the cart has been told, by the event or by a later order: what was ordered is out of
  -- it, or was left in it because the order was rejected. Means nothing without a cart.
  -- Orders from before have been told, but for those of 0004; new ones have not.
  ADD COLUMN cart_settled        boolean NOT NULL DEFAULT true;
ALTER TABLE orders ALTER COLUMN cart_settled SET DEFAULT false;
