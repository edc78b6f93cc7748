-- One more with every change: what If-Match compares.
ALTER TABLE profiles ADD COLUMN version bigint NOT NULL DEFAULT 1;
