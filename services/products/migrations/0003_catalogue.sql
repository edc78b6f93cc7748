-- Lists of a category or of a seller in each order that can be asked for, so that a page reads about as many
-- rows as it has.
CREATE INDEX products_by_category_price ON products (category, price, id) WHERE deleted_at IS NULL;
CREATE INDEX products_by_category_name ON products (category, name, id) WHERE deleted_at IS NULL;
CREATE INDEX products_by_category_creation ON products (category, created_at, id)
  WHERE deleted_at IS NULL;
CREATE INDEX products_by_seller_price ON products (seller_id, price, id) WHERE deleted_at IS NULL;
CREATE INDEX products_by_seller_name ON products (seller_id, name, id) WHERE deleted_at IS NULL;
CREATE INDEX products_by_seller_creation ON products (seller_id, created_at, id)
  WHERE deleted_at IS NULL;

-- The words of names alone: where many products have a word, those that have it in their names are looked
-- at first. Few rows may wait to be put into a search index, as every search reads those that do.
CREATE INDEX products_by_name_words ON products USING gin (ts_filter(search, '{a}'))
  WITH (gin_pending_list_limit = 256) WHERE deleted_at IS NULL;
ALTER INDEX products_by_words SET (gin_pending_list_limit = 256);

-- Every word that was ever in a name: what a word that is spelt wrongly is compared with. Likeness of
-- whole names is no longer looked for, as that takes longer the more products there are.
CREATE TABLE product_words (word text PRIMARY KEY);
INSERT INTO product_words
  SELECT DISTINCT word FROM products, unnest(tsvector_to_array(to_tsvector('simple', name))) AS word
  WHERE word ~ '^[[:alpha:]]{3,}$';
CREATE INDEX product_words_by_likeness ON product_words USING gist (word gist_trgm_ops);
DROP INDEX products_by_trigrams;
