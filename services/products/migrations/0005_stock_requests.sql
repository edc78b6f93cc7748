-- One adjustment for each key of a user. Apart from the columns, as the whole ledger is read for it: stock is read
-- meanwhile, not moved.
CREATE UNIQUE INDEX stock_movements_by_request ON stock_movements (by_user, request_key)
  WHERE request_key IS NOT NULL;
