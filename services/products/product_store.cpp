#include "products/product_store.h"

#include <algorithm>
#include <functional>
#include <optional>

#include "common/postgres/columns.h"
#include "products/product_rows.h"

namespace shop::products {
namespace {

using postgres::Array;
using postgres::Statement;
using postgres::Tx;

constexpr int64_t kInvalidationsAtOnce = 1000;

constexpr Statement kFind{"SELECT " SHOP_PRODUCT_COLUMNS
                          " FROM products WHERE id = $1 AND deleted_at IS NULL"};

constexpr Statement kLockOffer{
    "SELECT price, on_hand - reserved FROM products WHERE id = $1 AND deleted_at IS NULL FOR "
    "UPDATE"};

constexpr Statement kQuote{R"sql(
    SELECT id, name, price, on_hand - reserved AS stock, coalesce(seller_id, 0) AS seller_id
    FROM products WHERE id = ANY($1::bigint[]) AND deleted_at IS NULL ORDER BY id)sql"};

#define IMAGES_OF(urls, indexes)                                                  \
  "coalesce((SELECT jsonb_agg(jsonb_build_object('url', i.url, 'index', i.index)" \
  "                           ORDER BY i.index, i.n)"                             \
  "          FROM unnest(" urls "::text[], " indexes                              \
  "::bigint[])"                                                                   \
  "               WITH ORDINALITY AS i(url, index, n)), '[]')"

// Ordered, so that no two transactions wait for each other.
#define KEEP_WORDS(products)                                         \
  "INSERT INTO product_words"                                        \
  " SELECT DISTINCT word FROM " products                             \
  ", unnest(tsvector_to_array(to_tsvector('simple', name))) AS word" \
  " WHERE word ~ '^[[:alpha:]]{3,}$' ORDER BY word ON CONFLICT DO NOTHING"

constexpr Statement kInsert{R"sql(
    WITH made AS (
      INSERT INTO products (name, description, price, on_hand, seller_id, category, images)
      VALUES ($1, $2, $3, $4, $5, $6, )sql" IMAGES_OF("$7", "$8") R"sql() RETURNING *),
    ledger AS (
      INSERT INTO stock_movements (product_id, kind, on_hand, by_user)
      SELECT id, 'RECEIVED', on_hand, $9::bigint FROM made WHERE on_hand > 0),
    words AS ()sql" KEEP_WORDS("made") R"sql()
    SELECT )sql" SHOP_PRODUCT_COLUMNS " FROM made"};

// Whether the product's version is one of those that the change names, or it names none. Where the
// change sets `stock`, the stock version must be the one that is named beside that version.
#define IS_WANTED(versions, stock_versions, stock)               \
  "(" versions                                                   \
  "::bigint[] = '{}' OR EXISTS ("                                \
  "  SELECT FROM unnest(" versions "::bigint[], " stock_versions \
  "::bigint[])"                                                  \
  "    AS wanted(content, stock)"                                \
  "  WHERE wanted.content = version AND (" stock                 \
  "::bigint IS NULL OR wanted.stock = stock_version)))"

// `old` locks the row and so reads its newest version, with every reservation that has been
// committed by then; of two changes for one version, the later one finds another version. Returns
// one row if the product exists, without an id if its version is not one that the change names.
constexpr Statement kUpdate{
    R"sql(
    WITH old AS (
      SELECT id AS old_id, on_hand, )sql" IS_WANTED("$10", "$11", "$6") R"sql( AS wanted
      FROM products
      WHERE id = $1 AND deleted_at IS NULL AND ($2::bigint IS NULL OR seller_id = $2)
      FOR UPDATE),
    changed AS (
      UPDATE products p
      SET name = coalesce($3, p.name),
          description = coalesce($4, p.description),
          price = coalesce($5, p.price),
          on_hand = coalesce($6::bigint + p.reserved, p.on_hand),
          category = nullif(coalesce($7, p.category), ''),
          images = CASE WHEN $8::text[] IS NULL THEN p.images ELSE )sql" IMAGES_OF("$8", "$9")
        R"sql( END,
          version = p.version + 1,
          stock_version = p.stock_version
            + (coalesce($6::bigint + p.reserved, p.on_hand) <> p.on_hand)::int,
          updated_at = now()
      FROM old WHERE p.id = old_id AND wanted
      RETURNING p.*, p.on_hand - old.on_hand AS moved),
    ledger AS (
      INSERT INTO stock_movements (product_id, kind, on_hand, by_user)
      SELECT id, 'SET', moved, $12::bigint FROM changed WHERE moved <> 0),
    words AS ()sql" KEEP_WORDS(
            "(SELECT name FROM changed WHERE $3 IS NOT NULL) AS renamed") R"sql(),
    stale AS (INSERT INTO cache_invalidations (product_id) SELECT id FROM changed)
    SELECT product.* FROM old LEFT JOIN (SELECT )sql" SHOP_PRODUCT_COLUMNS R"sql(
      FROM changed) product ON product.id = old_id)sql"};

// Returns one row if the product exists: whether it was deleted.
constexpr Statement kDelete{R"sql(
    WITH old AS (
      SELECT id AS old_id, )sql" IS_WANTED("$3", "'{}'", "NULL") R"sql( AS wanted FROM products
      WHERE id = $1 AND deleted_at IS NULL AND ($2::bigint IS NULL OR seller_id = $2)
      FOR UPDATE),
    gone AS (
      UPDATE products p SET deleted_at = now(), version = version + 1
      FROM old WHERE p.id = old_id AND wanted RETURNING id),
    stale AS (INSERT INTO cache_invalidations (product_id) SELECT id FROM gone)
    SELECT wanted FROM old)sql"};

// Waits for rows that another replica has locked, so that no row left means that none is pending.
constexpr Statement kTakeInvalidations{R"sql(
    WITH taken AS (SELECT id FROM cache_invalidations ORDER BY id LIMIT $1 FOR UPDATE)
    DELETE FROM cache_invalidations c USING taken WHERE c.id = taken.id
    RETURNING product_id, stock_only)sql"};

}  // namespace

Refusal NoSuchProduct(int64_t id) {
  return {Code::kNotFound, "there is no product " + std::to_string(id)};
}

std::optional<v1::Product> Find(Tx& tx, int64_t id) {
  const pqxx::result found = tx.Exec(kFind, id);
  if (found.empty()) return std::nullopt;
  return ToProduct(found[0]);
}

std::optional<Offer> LockOffer(Tx& tx, int64_t id) {
  const pqxx::result found = tx.Exec(kLockOffer, id);
  if (found.empty()) return std::nullopt;
  return Offer{.price = found[0][0].as<int64_t>(), .stock = found[0][1].as<int64_t>()};
}

v1::QuoteProductsResponse Quote(Tx& tx, const std::vector<int64_t>& ids) {
  v1::QuoteProductsResponse quotes;
  for (const pqxx::row& row : tx.Exec(kQuote, Array(ids))) {
    v1::Quote& quote = *quotes.add_items();
    quote.set_product_id(row["id"].as<int64_t>());
    quote.set_name(row["name"].as<std::string>());
    quote.set_price(row["price"].as<int64_t>());
    quote.set_stock(row["stock"].as<int64_t>());
    quote.set_seller_id(row["seller_id"].as<int64_t>());
  }
  return quotes;
}

v1::Product Insert(Tx& tx, const v1::CreateProductRequest& product,
                   std::optional<int64_t> seller_id, std::optional<int64_t> by) {
  const std::optional<std::string> category =
      product.has_category() ? std::optional(product.category()) : std::nullopt;
  return ToProduct(tx.Exec(kInsert, product.name(), product.description(), product.price(),
                           product.stock(), seller_id, category,
                           Array(product.images(), &v1::Image::url),
                           Array(product.images(), &v1::Image::index), by)[0]);
}

Result<v1::Product> Update(Tx& tx, const v1::UpdateProductRequest& change,
                           std::optional<int64_t> owner, std::optional<int64_t> by) {
  const auto sent = [](bool has, const auto& value) {
    return has ? std::optional(value) : std::nullopt;
  };
  const auto cleared = [&](const char* field) {
    return std::ranges::find(change.clear(), field) != change.clear().end();
  };
  const bool gallery = !change.images().empty() || cleared("images");
  const std::optional<std::string> category =
      cleared("category") ? "" : sent(change.has_category(), change.category());
  const pqxx::result changed =
      tx.Exec(kUpdate, change.id(), owner, sent(change.has_name(), change.name()),
              sent(change.has_description(), change.description()),
              sent(change.has_price(), change.price()), sent(change.has_stock(), change.stock()),
              category, sent(gallery, Array(change.images(), &v1::Image::url)),
              sent(gallery, Array(change.images(), &v1::Image::index)),
              Array(change.if_versions(), std::identity()),
              Array(change.if_stock_versions(), std::identity()), by);
  if (changed.empty()) return NoSuchProduct(change.id());
  if (changed[0]["id"].is_null()) return VersionChanged();
  return ToProduct(changed[0]);
}

Result<void> Delete(Tx& tx, const v1::DeleteProductRequest& request, std::optional<int64_t> owner) {
  const pqxx::result gone =
      tx.Exec(kDelete, request.id(), owner, Array(request.if_versions(), std::identity()));
  if (gone.empty()) return NoSuchProduct(request.id());
  if (!gone[0][0].as<bool>()) return VersionChanged();
  return kDone;
}

void DrainInvalidations(postgres::Pool& db, const Invalidate& invalidate) {
  for (int64_t taken = kInvalidationsAtOnce; taken == kInvalidationsAtOnce;) {
    taken = postgres::InTransaction(db, [&](Tx& tx) -> int64_t {
      const pqxx::result rows = tx.Exec(kTakeInvalidations, kInvalidationsAtOnce);
      std::vector<int64_t> changed;
      std::vector<int64_t> sold;
      for (const pqxx::row& row : rows) {
        (row[1].as<bool>() ? sold : changed).push_back(row[0].as<int64_t>());
      }
      if (!rows.empty()) invalidate(changed, sold);
      return std::ssize(rows);
    });
  }
}

}  // namespace shop::products
