-- Who did what to whom in this service (audit.h). Only appended to; each entry's hash covers the one before.
CREATE TABLE audit (
  sequence   bigint      PRIMARY KEY,
  at         timestamptz NOT NULL,
  -- A user with the role they had, or a service; neither: somebody without a login, or the service itself.
  user_id    bigint,
  role       text        NOT NULL,
  service    text,
  action     text        NOT NULL,
  object     text        NOT NULL,
  details    jsonb       NOT NULL,
  request_id text        NOT NULL,
  hash       bytea       NOT NULL
);
CREATE INDEX audit_by_user ON audit (user_id, sequence DESC);
CREATE INDEX audit_by_object ON audit (object, sequence DESC);

-- SHA-256 over the hash of the entry before and this entry's columns as a JSON array, which is one text for
-- one content.
CREATE FUNCTION audit_hash(previous bytea, entry audit) RETURNS bytea STABLE LANGUAGE sql AS $$
  SELECT sha256(previous || convert_to(jsonb_build_array(
    entry.sequence, to_char(entry.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), entry.user_id, entry.role,
    entry.service, entry.action, entry.object, entry.details, entry.request_id)::text, 'UTF8'))
$$;

-- Appends an entry. One transaction at a time: the next one waits until this one has ended.
CREATE FUNCTION audit_append(user_id bigint, role text, service text, action text, object text, details jsonb,
                             request_id text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  last  audit;
  entry audit;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('audit', 0));
  SELECT * INTO last FROM audit ORDER BY sequence DESC LIMIT 1;
  entry := (coalesce(last.sequence, 0) + 1, clock_timestamp(), user_id, role, service, action, object, details,
            request_id, NULL);
  entry.hash := audit_hash(coalesce(last.hash, ''), entry);
  INSERT INTO audit SELECT entry.*;
END
$$;

CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the audit log is only appended to';
END
$$;
CREATE TRIGGER audit_is_only_appended_to BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
