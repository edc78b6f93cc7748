-- What ListProducts runs for a first page without filters.
SELECT id, name, description, price, on_hand - reserved AS stock, seller_id, images, category,
  (extract(epoch FROM created_at) * 1000000)::bigint AS created_at,
  (extract(epoch FROM updated_at) * 1000000)::bigint AS updated_at,
  (SELECT count(*) FROM products WHERE deleted_at IS NULL
  AND (NULL::text IS NULL OR category = NULL)
  AND (NULL::bigint IS NULL OR price >= NULL)
  AND (NULL::bigint IS NULL OR price <= NULL)
  AND (NULL::bigint IS NULL OR seller_id = NULL)
  AND (NOT false OR on_hand > reserved)) AS total
FROM products WHERE deleted_at IS NULL
  AND (NULL::text IS NULL OR category = NULL)
  AND (NULL::bigint IS NULL OR price >= NULL)
  AND (NULL::bigint IS NULL OR price <= NULL)
  AND (NULL::bigint IS NULL OR seller_id = NULL)
  AND (NOT false OR on_hand > reserved)
ORDER BY id LIMIT 20 OFFSET 0;
