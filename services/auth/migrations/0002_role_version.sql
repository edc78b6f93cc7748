-- The version that the profile had when its role was last changed, as USER_ROLE_CHANGED said: nobody
-- signs in any more with what was read of an older one.
ALTER TABLE accounts ADD COLUMN role_version bigint NOT NULL DEFAULT 0;
