-- Payments whose last call has brought nothing are leased apart from the others (payment_store.cpp), so that those delay no
-- charge, nor does looking for the others. Processes of the version before ask by the same columns, so these indexes serve
-- them as well.
CREATE INDEX payments_due_fresh ON payments (next_at) WHERE next_at IS NOT NULL AND failures = 0;
CREATE INDEX payments_due_again ON payments (next_at) WHERE next_at IS NOT NULL AND failures > 0;
DROP INDEX payments_due;
