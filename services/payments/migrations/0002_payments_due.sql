-- Payments whose last call has brought nothing are leased apart from the others (payment_store.cpp), so that those delay no
-- charge, nor does looking for the others. The names of the columns are what processes of the version before ask by, too.
CREATE INDEX payments_due_fresh ON payments (next_at) WHERE next_at IS NOT NULL AND failures = 0;
CREATE INDEX payments_due_again ON payments (next_at) WHERE next_at IS NOT NULL AND failures > 0;
DROP INDEX payments_due;
