-- The requests that came with an Idempotency-Key, in the database of the service that answers them.
CREATE TABLE idempotent_requests (
  user_id      bigint      NOT NULL,
  key          text        NOT NULL,
  -- The type of the request's message, which says what was asked for: shop.orders.v1.CreateOrderRequest.
  -- Empty, as the fingerprint is, while no request has taken effect under the key.
  request_type text        NOT NULL DEFAULT '',
  -- SHA-256 of the request without its key, in hex.
  fingerprint  text        NOT NULL DEFAULT '',
  -- The bytes of the answer's message. NULL: every request with the key was refused so far.
  response     bytea,
  -- How many requests with the key were refused: one that began before such a refusal was answered
  -- must not take effect after it.
  refusals     bigint      NOT NULL DEFAULT 0,
  -- When the request took effect or was refused; a row is forgotten a day later.
  created_at   timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (user_id, key)
);
CREATE INDEX idempotent_requests_by_age ON idempotent_requests (created_at);
