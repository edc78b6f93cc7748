-- What SearchProducts runs.
WITH asked AS MATERIALIZED (SELECT websearch_to_tsquery('english', :q::text) AS words),
  named AS MATERIALIZED (
  SELECT id, ts_rank(search, words) AS rank FROM products, asked
  WHERE deleted_at IS NULL AND ts_filter(search, '{a}') @@ words LIMIT 1000),
  found AS MATERIALIZED (
  SELECT id, rank FROM named UNION
  (SELECT id, ts_rank(search, words) AS rank FROM products, asked
   WHERE deleted_at IS NULL AND search @@ words
   LIMIT CASE WHEN (SELECT count(*) FROM named) < 1000 THEN 1000 ELSE 0 END)),
  page AS (SELECT id, rank FROM found ORDER BY rank DESC, id LIMIT 21 OFFSET 0)
SELECT product.*, total FROM (SELECT count(*) AS total FROM found) AS counted
LEFT JOIN (SELECT id, name, description, price, on_hand - reserved AS stock, seller_id, images, category,
    (date_part('epoch', created_at) * 1000000)::bigint AS created_at,
    (date_part('epoch', updated_at) * 1000000)::bigint AS updated_at, version, rank
  FROM page JOIN products USING (id)) AS product ON true
ORDER BY rank DESC, product.id;
