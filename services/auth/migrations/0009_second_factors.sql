-- What a login needs besides the password, of those who have enrolled.
CREATE TABLE second_factors (
  account_id bigint PRIMARY KEY REFERENCES accounts,
  sealed text NOT NULL,       -- the TOTP secret, sealed under KEY_ENCRYPTION_KEY with the account
  confirmed_at timestamptz,   -- from then on it is needed
  last_step bigint NOT NULL DEFAULT 0  -- of the last code that was taken; only later ones are
);

-- Each good once, in the place of a code; used ones are deleted.
CREATE TABLE recovery_codes (
  account_id bigint NOT NULL REFERENCES second_factors ON DELETE CASCADE,
  hash text NOT NULL,  -- SHA-256, in hex
  PRIMARY KEY (account_id, hash)
);
