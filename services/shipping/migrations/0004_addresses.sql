-- By which a deleted user's addresses are found.
CREATE INDEX shipments_addresses ON shipments (user_id) WHERE address IS NOT NULL;
