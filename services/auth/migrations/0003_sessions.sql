-- What a login begins: the access tokens of one device, each signed for a refresh token. Ended ones are
-- deleted.
CREATE TABLE sessions (
  id text PRIMARY KEY,  -- `sid` of its access tokens
  account_id bigint NOT NULL REFERENCES accounts,
  user_agent text NOT NULL,
  -- Of the profile whose role the latest access token has.
  profile_version bigint NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  last_used_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz NOT NULL,  -- later with every use
  ends_at timestamptz NOT NULL,     -- however often it is used
  access_until timestamptz NOT NULL -- until then its latest access token is good
);

CREATE INDEX sessions_of_accounts ON sessions (account_id);
CREATE INDEX sessions_expired ON sessions (expires_at);

-- Every refresh token that a session ever had, so that a used one is recognised. The last one is unused.
CREATE TABLE refresh_tokens (
  hash text PRIMARY KEY,  -- SHA-256 of the token, in hex
  session_id text NOT NULL REFERENCES sessions ON DELETE CASCADE,
  used_at timestamptz,
  -- What makes the same successor of the token again; gone once that was used.
  salt text
);

CREATE INDEX refresh_tokens_of_sessions ON refresh_tokens (session_id);
