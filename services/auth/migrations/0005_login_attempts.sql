-- Attempts to log in that have not succeeded, by the e-mail address that they named, whether anybody has it
-- or not. One that is under way counts.
CREATE TABLE login_attempts (
  address text PRIMARY KEY,  -- SHA-256 of it, in hex
  attempts integer NOT NULL,
  free_at timestamptz NOT NULL,  -- when the next one is looked at
  last_at timestamptz NOT NULL
);

CREATE INDEX login_attempts_old ON login_attempts (last_at);
