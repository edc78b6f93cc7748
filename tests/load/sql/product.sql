-- What GetProduct runs.
\set id random(1, :products)
SELECT id, name, description, price, on_hand - reserved AS stock, seller_id, images, category,
  (date_part('epoch', created_at) * 1000000)::bigint AS created_at,
  (date_part('epoch', updated_at) * 1000000)::bigint AS updated_at, version
FROM products WHERE id = :id AND deleted_at IS NULL;
