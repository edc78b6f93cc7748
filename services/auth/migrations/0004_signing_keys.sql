-- The keys that sign access tokens. Each is published before it signs, and for as long after as its last
-- token lives; then it is deleted.
CREATE TABLE signing_keys (
  kid text PRIMARY KEY,  -- RFC 7638 thumbprint
  sealed text NOT NULL,  -- the private key (PEM), sealed under KEY_ENCRYPTION_KEY with the kid
  created_at timestamptz NOT NULL DEFAULT now(),
  signs_from timestamptz NOT NULL
);
