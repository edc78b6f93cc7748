-- UUIDs of version 7 (RFC 9562) begin with the time, in milliseconds since 1970, so new orders stand together in every index
-- by UUID: here, in payments, in shipping and in products. Version 4 has random bits in the place of the first 48.
ALTER TABLE orders ALTER COLUMN uuid SET DEFAULT encode(
  set_bit(set_bit(
    overlay(uuid_send(gen_random_uuid())
            PLACING substring(int8send(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3) FROM 1 FOR 6),
    52, 1), 53, 1),
  'hex')::uuid;
