#!/bin/sh
# Makes a database and a role for every service with a password, in the server that PGHOST, PGUSER and
# PGPASSWORD open. Passwords are the files <service>_postgres_password and postgres_admin_password of
# /run/secrets, or else the variables <SERVICE>_POSTGRES_PASSWORD and PGPASSWORD. A service can connect to
# its own database and to no other. One for which <SERVICE>_READS names databases has none of its own, and may read
# the tables of those. Runs once at every start: what is there stays, and passwords become what
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
run_sql() {
  psql -X -q -v ON_ERROR_STOP=1 -v service="$service" "$@" -d postgres
}
make_role() {
  # psql reads the password itself, so no process list shows it.
  run_sql -v variable="${upper}_POSTGRES_PASSWORD" <<'END'
SET client_min_messages = warning;
\set password `printenv :variable`
SELECT format('CREATE ROLE %I LOGIN', :'service')
  WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'service') \gexec
ALTER ROLE :"service" PASSWORD :'password';
END
}
make_database() {
  run_sql <<'END'
SET client_min_messages = warning;
-- A master user who is no superuser may only give databases to roles that it is a member of.
GRANT :"service" TO CURRENT_USER;
SELECT format('CREATE DATABASE %I OWNER %I', :'service', :'service')
  WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'service') \gexec
REVOKE CONNECT, TEMPORARY ON DATABASE :"service" FROM PUBLIC;
END
  echo "database $service is there"
}
let_read() {
  run_sql -v databases="$reads" <<'END'
SET client_min_messages = warning;
ALTER ROLE :"service" SET default_transaction_read_only = on;
-- With that, which it once had, it could read everybody's passwords (pg_authid) too.
SELECT format('REVOKE pg_read_all_data FROM %I', :'service')
  WHERE pg_has_role(:'service', 'pg_read_all_data', 'MEMBER') \gexec
SELECT format('GRANT CONNECT ON DATABASE %I TO %I', database, :'service')
  FROM unnest(string_to_array(:'databases', ',')) AS database \gexec
END
  for database in $(printf '%s' "$reads" | tr , ' '); do
    # The tables that are there, and those that migrations will make.
    psql -X -q -v ON_ERROR_STOP=1 -v service="$service" -v database="$database" -d "$database" <<'END'
GRANT SELECT ON ALL TABLES IN SCHEMA public TO :"service";
ALTER DEFAULT PRIVILEGES FOR ROLE :"database" IN SCHEMA public GRANT SELECT ON TABLES TO :"service";
END
  done
  echo "role $service may read $reads"
}
readers=
for service in $services; do
  upper=$(printf '%s' "$service" | tr '[:lower:]' '[:upper:]')
  make_role
  if [ -n "$(printenv "${upper}_READS")" ]; then
    readers="$readers $service"
  else
    make_database
  fi
done
for service in $readers; do
  reads=$(printenv "$(printf '%s' "$service" | tr '[:lower:]' '[:upper:]')_READS")
  let_read
done
psql -X -q -v ON_ERROR_STOP=1 -d postgres <<'END'
REVOKE CONNECT, TEMPORARY ON DATABASE postgres, template1 FROM PUBLIC;
-- Search needs trigrams, and only a superuser may be sure to create an extension.
\connect products
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pg_trgm;
END
