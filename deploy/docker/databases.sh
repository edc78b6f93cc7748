#!/bin/sh
# Makes a database and a role for every service with a password, in the server that PGHOST, PGUSER and
# PGPASSWORD open. Passwords are the files <service>_postgres_password and postgres_admin_password of
# /run/secrets, or else the variables <SERVICE>_POSTGRES_PASSWORD and PGPASSWORD. A service can connect to
# its own database and to no other. Runs once at every start: what is there stays, and passwords become what
# is said here.
set -eu
secrets=/run/secrets
if [ -r $secrets/postgres_admin_password ]; then
  PGPASSWORD=$(cat $secrets/postgres_admin_password)
  export PGPASSWORD
fi
for file in "$secrets"/*_postgres_password; do
  [ -r "$file" ] || continue
  name=$(basename "$file" | tr '[:lower:]' '[:upper:]')
  export "$name=$(cat "$file")"
done
services=$(env | sed -n 's/^\([A-Z]*\)_POSTGRES_PASSWORD=..*/\1/p' | tr '[:upper:]' '[:lower:]')
[ -n "$services" ] || { echo "no service has a password: nothing to make" >&2; exit 1; }
for service in $services; do
  # psql reads the password itself, so no process list shows it.
  variable=$(printf '%s' "$service" | tr '[:lower:]' '[:upper:]')_POSTGRES_PASSWORD
  psql -X -q -v ON_ERROR_STOP=1 -v service="$service" -v variable="$variable" -d postgres <<'END'
SET client_min_messages = warning;
\set password `printenv :variable`
SELECT format('CREATE ROLE %I LOGIN', :'service')
  WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'service') \gexec
ALTER ROLE :"service" PASSWORD :'password';
-- A master user who is no superuser may only give databases to roles that it is a member of.
GRANT :"service" TO CURRENT_USER;
SELECT format('CREATE DATABASE %I OWNER %I', :'service', :'service')
  WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'service') \gexec
REVOKE CONNECT, TEMPORARY ON DATABASE :"service" FROM PUBLIC;
END
  echo "database $service is there"
done
psql -X -q -v ON_ERROR_STOP=1 -d postgres <<'END'
REVOKE CONNECT, TEMPORARY ON DATABASE postgres, template1 FROM PUBLIC;
-- Search needs trigrams, and only a superuser may be sure to create an extension.
\connect products
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_trgm;
END
