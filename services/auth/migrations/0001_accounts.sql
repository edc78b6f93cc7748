-- Who can sign in. The ids are those of the whole platform; the person behind one is in users.
CREATE TABLE accounts (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  -- In lower case. Gone, as the hash is, once the user was deleted.
  email text UNIQUE CHECK (email = lower(email)),
  password_hash text,
  -- PENDING until the profile exists. Anybody may take a PENDING registration over with a later
  -- attempt; only the latest makes it ACTIVE.
  state text NOT NULL DEFAULT 'PENDING' CHECK (state IN ('PENDING', 'ACTIVE', 'DELETED')),
  attempt bigint NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL DEFAULT now(),
  CHECK ((state = 'DELETED') = (email IS NULL)),
  CHECK ((state = 'DELETED') = (password_hash IS NULL))
);
