-- What a service needs to forget a person (common/messaging/erasure.h).

-- Whose data this service erases: users that were deleted. The rows stay, as a profile's do in users.
CREATE TABLE deleted_users (
  user_id    bigint      PRIMARY KEY,
  deleted_at timestamptz NOT NULL DEFAULT now(),
  -- When it is looked again for what came late, or had to stay; NULL: nothing can come any more.
  look_at    timestamptz DEFAULT now(),
  -- Since when nothing is left; NULL while something has to stay.
  erased_at  timestamptz
);
CREATE INDEX deleted_users_due ON deleted_users (look_at) WHERE look_at IS NOT NULL;

-- The user whom personal data in an event's JSON is about, as text; NULL where there is none: an address, a reason that
-- somebody may have typed, a payment token. A name in quotes with a colon behind it is that of a member, never a part
-- of what somebody typed, whose quotes have a backslash. Plain searches first, as every event is asked.
CREATE FUNCTION person_of_event(event text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT CASE WHEN strpos(event, '"shippingAddress":') > 0 OR strpos(event, '"reason":') > 0
                OR strpos(event, '"paymentToken":') > 0 AND event !~ '"paymentToken":\s*"(erased)?"'
         THEN left(substring(event FROM '"userId":\s*([0-9]+)'), 20) END  -- a number that fits has 19 digits
$$;

-- The event with a payment token that no provider knows, and otherwise as it was. Without one it would be charged as if
-- the customer had sent none, should it ever be read again.
CREATE FUNCTION event_without_token(event text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT regexp_replace(event, '"paymentToken":\s*"([^"\\]|\\.)+"', '"paymentToken":"erased"')
$$;

-- The event without any of it. One that is no JSON, or has it where no event of ours has it, which only a dead letter
-- can be, has nothing left.
CREATE FUNCTION event_without_person(event text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  erased text;
BEGIN
  erased := (event_without_token(event)::jsonb - '{shippingAddress,reason}'::text[])::text;
  RETURN CASE WHEN person_of_event(erased) IS NULL THEN erased ELSE '{}' END;
EXCEPTION WHEN data_exception THEN
  RETURN '{}';
END $$;

-- Small, as most events have none of it.
CREATE INDEX outbox_personal ON outbox (person_of_event(value)) WHERE person_of_event(value) IS NOT NULL;
CREATE INDEX retry_queue_personal ON retry_queue (person_of_event(value)) WHERE person_of_event(value) IS NOT NULL;
