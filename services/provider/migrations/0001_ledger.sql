-- The provider's ledger: what was authorized, captured and given back, by the key that the shop chose.
CREATE TABLE payments (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  key         text NOT NULL UNIQUE,
  -- PENDING, then AUTHORIZED or DECLINED; AUTHORIZED, then CAPTURED or VOIDED. A void of an unknown key makes it VOIDED
  -- too: it is refused from then on.
  status      text NOT NULL,
  amount      bigint NOT NULL DEFAULT 0,
  currency    text NOT NULL DEFAULT '',
  token       text NOT NULL DEFAULT '',
  authorized  bigint NOT NULL DEFAULT 0,
  captured    bigint NOT NULL DEFAULT 0,
  refunded    bigint NOT NULL DEFAULT 0,
  code        text NOT NULL DEFAULT '',   -- why it was declined
  message     text NOT NULL DEFAULT '',
  -- When a PENDING one is decided.
  decide_at   timestamptz,
  created_at  timestamptz NOT NULL DEFAULT now(),
  updated_at  timestamptz NOT NULL DEFAULT now(),
  CHECK (captured <= authorized AND refunded <= captured)
);
CREATE INDEX payments_undecided ON payments (decide_at) WHERE status = 'PENDING';

-- What each idempotency key was answered, in the transaction of its effect.
CREATE TABLE answers (
  idempotency_key  text PRIMARY KEY,
  fingerprint      text NOT NULL,   -- of the request
  status           integer NOT NULL,
  body             text NOT NULL,
  created_at       timestamptz NOT NULL DEFAULT now()
);

-- Requests that were dropped once, for the token that does so.
CREATE TABLE dropped (idempotency_key text PRIMARY KEY);

-- Messages to the shop, each sent until it is taken.
CREATE TABLE webhooks (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  event_id    text NOT NULL,   -- the same in a message that is sent twice
  body        text NOT NULL,
  attempts    integer NOT NULL DEFAULT 0,
  next_at     timestamptz NOT NULL DEFAULT now(),
  sent_at     timestamptz
);
CREATE INDEX webhooks_waiting ON webhooks (next_at) WHERE sent_at IS NULL;
