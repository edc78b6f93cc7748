CREATE INDEX password_resets_expired ON password_resets (expires_at);
