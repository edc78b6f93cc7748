-- What SearchProducts runs.
SELECT id, name, description, price, on_hand - reserved AS stock, seller_id, images, category,
  (extract(epoch FROM created_at) * 1000000)::bigint AS created_at,
  (extract(epoch FROM updated_at) * 1000000)::bigint AS updated_at,
  (SELECT count(*) FROM products WHERE deleted_at IS NULL
  AND (search @@ websearch_to_tsquery('english', :q::text) OR :q::text <% name)) AS total
FROM products WHERE deleted_at IS NULL
  AND (search @@ websearch_to_tsquery('english', :q::text) OR :q::text <% name)
ORDER BY ts_rank(search, websearch_to_tsquery('english', :q::text))
  + word_similarity(:q::text, name) DESC, id
LIMIT 20 OFFSET 0;
