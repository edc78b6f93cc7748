-- Adds believable products to a database of products, the same ones every time: ids from catalogue.first on,
-- catalogue.count of them, at most a million at once. Words and sellers are as unevenly spread as in a real
-- catalogue: a few are in every tenth product, most in a handful.
--
--   SET catalogue.first = 1; SET catalogue.count = 50000; \i catalogue.sql
INSERT INTO products (id, name, description, price, on_hand, seller_id, images, category, created_at,
                      updated_at)
WITH vocabulary AS MATERIALIZED (
  SELECT
    string_to_array('Wireless,Compact,Classic,Organic,Folding,Insulated,Handmade,Portable,Adjustable,'
      'Waterproof,Vintage,Premium,Recycled,Quiet,Magnetic,Reversible,Stackable,Rechargeable,Lightweight,'
      'Heated,Padded,Braided,Quilted,Polished,Hammered,Enamelled,Tempered,Brushed,Woven,Carved', ',') AS traits,
    string_to_array('Cotton,Steel,Oak,Leather,Glass,Bamboo,Wool,Aluminium,Ceramic,Linen,Copper,Walnut,'
      'Titanium,Cork,Canvas,Silk,Brass,Marble,Rattan,Felt', ',') AS materials,
    string_to_array('Kitchen,Home Office,Audio,Outdoor,Fitness,Garden,Books,Toys,Clothing,Electronics,'
      'Travel,Bath & Body', ',') AS categories,
    string_to_array('Knife,Skillet,Kettle,Mug,Bowl,Casserole,Grinder,Toaster|Desk,Chair,Lamp,Shelf,'
      'Organizer,Monitor Arm,Drawer,Notebook|Headphones,Speaker,Turntable,Microphone,Amplifier,Earbuds,'
      'Soundbar,Radio|Tent,Backpack,Lantern,Stove,Hammock,Compass,Bottle,Sleeping Bag|Yoga Mat,Dumbbell,'
      'Treadmill,Bench,Jump Rope,Foam Roller,Gloves,Kettlebell|Shears,Watering Can,Planter,Hose,Fork,'
      'Trellis,Greenhouse,Wheelbarrow|Atlas,Cookbook,Novel,Almanac,Handbook,Biography,Dictionary,Journal|'
      'Puzzle,Train Set,Blocks,Kite,Doll,Robot,Board Game,Science Kit|Sweater,Jacket,Shirt,Sneakers,Scarf,'
      'Socks,Trousers,Belt|Keyboard,Mouse,Webcam,Charger,Laptop,Tablet,Smartphone,Router|Suitcase,Duffel,'
      'Pillow,Wallet,Adapter,Umbrella,Luggage Tag,Toiletry Bag|Towel,Soap,Candle,Bathrobe,Sponge,Shampoo,'
      'Razor,Lotion', '|') AS kinds,
    string_to_array('ka,ri,mo,ten,bel,dor,fin,gra,hol,jas,lum,nor,pel,quo,sar,tiv,ul,ver,win,zel', ',') AS parts,
    string_to_array('Made to last.,Ships within two working days.,Repairable; spare parts are kept for ten '
      'years.,A favourite of returning customers.,Comes in recycled packaging.,Tested for daily use.,'
      'Designed for small spaces.,Easy to clean.,A gift that nobody returns.,Thirty days to change your '
      'mind.', ',') AS notes),
drawn AS (
  -- Every draw is a number of [0, 1) made from the id: its power says how uneven the choice is.
  SELECT n, array_agg((hashint8extended(n, seed) & 1048575) / 1048576.0::float8 ORDER BY seed) AS d
  FROM generate_series(current_setting('catalogue.first')::bigint,
                       current_setting('catalogue.first')::bigint - 1
                         + least(current_setting('catalogue.count')::bigint, 1000000)) AS n,
       generate_series(1, 16) AS seed
  GROUP BY n),
chosen AS (
  SELECT n, d,
    1 + floor(power(d[1], 1.5) * 12)::int AS category,
    traits[1 + floor(power(d[2], 2) * 30)::int] AS trait,
    materials[1 + floor(power(d[3], 2) * 20)::int] AS material,
    initcap(parts[1 + floor(power(d[4], 2) * 20)::int] || parts[1 + floor(power(d[5], 2) * 20)::int]
            || parts[1 + floor(power(d[6], 2) * 20)::int]) AS brand,
    floor(power(d[7], 1.5) * 8)::int AS kind, v.*
  FROM drawn, vocabulary v ORDER BY n)
SELECT n,
  concat_ws(' ', brand, trait, material, made.kind,
            -- Every third has a model number, which nothing else has.
            CASE WHEN d[8] < 0.33 THEN upper(parts[1 + floor(d[9] * 20)::int]) || '-' || n END),
  concat_ws(' ', 'A', lower(trait), lower(made.kind), 'of', lower(material), 'by', brand || '.',
            notes[1 + floor(power(d[10], 2) * 10)::int], notes[1 + floor(d[11] * 10)::int]),
  199 + floor(power(d[12], 4) * 200000)::bigint / 50 * 50,
  CASE WHEN d[13] < 0.1 THEN 0 ELSE 1 + floor(d[13] * 500)::bigint END,
  CASE WHEN d[14] >= 0.1 THEN 1 + floor(power(d[14], 3) * 5000)::bigint END,
  jsonb_build_array(jsonb_build_object('url', 'https://example.com/images/' || n || '.jpg', 'index', 0)),
  CASE WHEN d[15] >= 0.05 THEN categories[category] END,
  placed.at, placed.at
FROM chosen,
     LATERAL (SELECT (string_to_array(kinds[category], ','))[1 + chosen.kind] AS kind) AS made,
     LATERAL (SELECT timestamptz '2024-01-01' + floor(d[16] * 63072000) * interval '1 second' AS at) AS placed;

-- What the service itself writes with a product.
INSERT INTO stock_movements (product_id, kind, on_hand)
SELECT id, 'RECEIVED', on_hand FROM products
WHERE id >= current_setting('catalogue.first')::bigint
  AND id < current_setting('catalogue.first')::bigint
           + least(current_setting('catalogue.count')::bigint, 1000000)
  AND on_hand > 0;
INSERT INTO product_words
SELECT DISTINCT word
FROM products, unnest(tsvector_to_array(to_tsvector('simple', name))) AS word
WHERE id >= current_setting('catalogue.first')::bigint
  AND id < current_setting('catalogue.first')::bigint
           + least(current_setting('catalogue.count')::bigint, 1000000)
  AND word ~ '^[[:alpha:]]{3,}$'
ORDER BY word
ON CONFLICT DO NOTHING;
SELECT setval(pg_get_serial_sequence('products', 'id'), (SELECT max(id) FROM products));
