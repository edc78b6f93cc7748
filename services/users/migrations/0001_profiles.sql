-- The people of the platform. Ids and the uniqueness of e-mail addresses are auth's.
CREATE TABLE profiles (
  id bigint PRIMARY KEY,
  name text NOT NULL,
  email text NOT NULL,
  role text NOT NULL CHECK (role IN ('USER', 'SELLER', 'ADMIN', 'SUPER_ADMIN')),
  birthdate date,
  -- The attempt at registering that wrote this row; an earlier one that comes late changes nothing.
  attempt bigint NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX profiles_super_admins ON profiles (id) WHERE role = 'SUPER_ADMIN';

-- Ids that were erased and never come back. Nothing else is kept of the person.
CREATE TABLE deleted_profiles (
  id bigint PRIMARY KEY,
  deleted_at timestamptz NOT NULL DEFAULT now()
);
