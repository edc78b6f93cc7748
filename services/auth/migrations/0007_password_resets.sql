-- What was asked for by who has forgotten a password, whether anybody has the address or not; one an address.
CREATE TABLE password_resets (
  address text PRIMARY KEY,      -- in lower case
  request uuid NOT NULL UNIQUE,  -- the latest, by which notification asks for the token
  expires_at timestamptz NOT NULL,
  -- Once a mail is about to be sent: SHA-256 of the token, in hex, and the token, sealed under
  -- KEY_ENCRYPTION_KEY with the request. Gone when it was used.
  token_hash text UNIQUE,
  sealed text,
  -- How many were asked for since then.
  mails integer NOT NULL,
  since timestamptz NOT NULL
);

CREATE INDEX password_resets_old ON password_resets (since);
