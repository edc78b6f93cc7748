-- What ListProducts runs for a first page without filters.
WITH given AS (SELECT '{}'::text[])
SELECT *, CASE WHEN true THEN
  (SELECT count(*) FROM (SELECT FROM products WHERE deleted_at IS NULL LIMIT 10000) AS counted) END
FROM (SELECT id, name, description, price, on_hand - reserved AS stock, seller_id, images, category,
        (date_part('epoch', created_at) * 1000000)::bigint AS created_at,
        (date_part('epoch', updated_at) * 1000000)::bigint AS updated_at, version
      FROM products WHERE deleted_at IS NULL ORDER BY id LIMIT 101) AS page LIMIT 21;
