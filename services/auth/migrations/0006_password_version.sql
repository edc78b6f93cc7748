-- Raised by every other password, and not by another hash of the same one: a login that has checked the
-- password before it was replaced begins nothing.
ALTER TABLE accounts ADD COLUMN password_version bigint NOT NULL DEFAULT 1;
