-- What was asked for to confirm an address, by registering or later; one an address. As password_resets, with tokens
-- that confirm the address and change nothing else.
CREATE TABLE email_confirmations (
  address text PRIMARY KEY,      -- in lower case
  request uuid NOT NULL UNIQUE,  -- the latest, by which notification asks for the token
  expires_at timestamptz NOT NULL,
  token_hash text UNIQUE,
  sealed text
);

CREATE INDEX email_confirmations_expired ON email_confirmations (expires_at);

-- How many mails of a kind were asked for since when, by the address, whether anybody has it or not. It outlives the
-- account, as the hash of an address, for an hour.
CREATE TABLE asked_mails (
  kind text NOT NULL,
  address text NOT NULL,  -- SHA-256 of it, in hex
  mails integer NOT NULL,
  since timestamptz NOT NULL,
  PRIMARY KEY (kind, address)
);

CREATE INDEX asked_mails_old ON asked_mails (since);

-- The release before counts here.
ALTER TABLE password_resets ALTER COLUMN mails SET DEFAULT 1, ALTER COLUMN since SET DEFAULT now();
