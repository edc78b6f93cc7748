-- One payment an order, made by STOCK_RESERVED, or by ORDER_CANCELLED where that comes first: then it will never be
-- charged. payment.h says what the columns mean and how they move; every change is made under the row's lock.
CREATE TABLE payments (
  order_uuid      uuid PRIMARY KEY,   -- also its key at the provider
  order_id        bigint NOT NULL UNIQUE,
  user_id         bigint NOT NULL,
  order_number    text NOT NULL,
  -- From STOCK_RESERVED; empty until then.
  wanted          boolean NOT NULL DEFAULT false,
  amount          bigint NOT NULL DEFAULT 0 CHECK (amount >= 0),
  currency        text NOT NULL DEFAULT '',
  method          text NOT NULL DEFAULT '',
  token           text NOT NULL DEFAULT '',   -- cleared once it is of no more use
  items           jsonb NOT NULL DEFAULT '[]',
  cancelled       boolean NOT NULL DEFAULT false,
  -- Written before a call that can charge leaves.
  asked           boolean NOT NULL DEFAULT false,
  doubt           text NOT NULL DEFAULT 'NONE',
  charge          text NOT NULL DEFAULT 'NONE',
  outcome         text NOT NULL DEFAULT 'OPEN',
  failure_code    text NOT NULL DEFAULT '',
  failure_reason  text NOT NULL DEFAULT '',
  -- Of the event that it came of, for the logs and the events that follow.
  traceparent     text NOT NULL DEFAULT '',
  created_at      timestamptz NOT NULL DEFAULT now(),
  updated_at      timestamptz NOT NULL DEFAULT now(),
  -- When the provider is to be asked next; null while there is nothing to ask.
  next_at         timestamptz,
  -- Calls in a row that have brought nothing new.
  failures        integer NOT NULL DEFAULT 0,
  -- Set while a worker has it. The number tells one lease from the next.
  leased_until    timestamptz,
  lease           bigint NOT NULL DEFAULT 0
);
CREATE INDEX payments_due ON payments (next_at) WHERE next_at IS NOT NULL;

CREATE TABLE refunds (
  uuid            uuid PRIMARY KEY,   -- also its idempotency key at the provider
  order_uuid      uuid NOT NULL REFERENCES payments,
  position        integer NOT NULL,   -- counted from 0 in a payment
  -- What it is for: once a cancellation, once a return.
  source          text NOT NULL,
  cause           text NOT NULL,
  amount          bigint NOT NULL CHECK (amount > 0),
  items           jsonb NOT NULL DEFAULT '[]',
  state           text NOT NULL,
  failure_reason  text NOT NULL DEFAULT '',
  created_at      timestamptz NOT NULL DEFAULT now(),
  updated_at      timestamptz NOT NULL DEFAULT now(),
  UNIQUE (order_uuid, position),
  UNIQUE (order_uuid, source)
);

-- What the provider was asked and what it said, for people: no decision is made by it. Appended in the transaction that
-- comes before the call.
CREATE TABLE attempts (
  id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  order_uuid      uuid NOT NULL REFERENCES payments,
  operation       text NOT NULL,
  outcome         text,               -- null while it is under way
  detail          text,
  started_at      timestamptz NOT NULL DEFAULT now(),
  ended_at        timestamptz
);
CREATE INDEX attempts_of_payment ON attempts (order_uuid, id);
