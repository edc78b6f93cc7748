-- What GetProduct runs.
\set id random(1, :products)
SELECT id, name, description, price, on_hand - reserved AS stock, seller_id, images, category,
  (extract(epoch FROM created_at) * 1000000)::bigint AS created_at,
  (extract(epoch FROM updated_at) * 1000000)::bigint AS updated_at
FROM products WHERE id = :id AND deleted_at IS NULL;
