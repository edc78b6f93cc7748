#include "products/product_store.h"

#include <simdjson.h>

#include <utility>

// What ToProduct reads.
#define PRODUCT_COLUMNS                                                       \
  "id, name, description, price, on_hand - reserved AS stock, seller_id,"     \
  " images, category, (extract(epoch FROM created_at) * 1000000)::bigint AS " \
  "created_at, (extract(epoch FROM updated_at) * 1000000)::bigint AS updated_at, version"

// What ListProducts filters by, in $1 to $5.
#define PRODUCT_FILTER                          \
  "deleted_at IS NULL"                          \
  " AND ($1::text IS NULL OR category = $1)"    \
  " AND ($2::bigint IS NULL OR price >= $2)"    \
  " AND ($3::bigint IS NULL OR price <= $3)"    \
  " AND ($4::bigint IS NULL OR seller_id = $4)" \
  " AND (NOT $5::boolean OR on_hand > reserved)"

// What SearchProducts finds, by $1.
#define PRODUCT_MATCH  \
  "deleted_at IS NULL" \
  " AND (search @@ websearch_to_tsquery('english', $1::text) OR $1::text <% name)"

namespace shop::products {
namespace {

using postgres::InTransaction;
using postgres::Read;
using postgres::Statement;
using postgres::Tx;

constexpr int64_t kInvalidationsAtOnce = 1000;

constexpr Statement kCountFiltered{"SELECT count(*) FROM products WHERE " PRODUCT_FILTER};

constexpr Statement kSearch{"SELECT " PRODUCT_COLUMNS
                            ", (SELECT count(*) FROM products WHERE " PRODUCT_MATCH
                            ") AS total"
                            " FROM products WHERE " PRODUCT_MATCH
                            " ORDER BY ts_rank(search, websearch_to_tsquery('english', $1::text)) +"
                            "          word_similarity($1::text, name) DESC, id"
                            " LIMIT $2 OFFSET $3"};
constexpr Statement kCountFound{"SELECT count(*) FROM products WHERE " PRODUCT_MATCH};

constexpr Statement kFind{"SELECT " PRODUCT_COLUMNS
                          " FROM products WHERE id = $1 AND deleted_at IS NULL"};

constexpr Statement kQuote{R"sql(
    SELECT id, name, price, on_hand - reserved AS stock
    FROM products WHERE id = ANY($1::bigint[]) AND deleted_at IS NULL ORDER BY id)sql"};

#define IMAGES_OF(urls, indexes)                                                  \
  "coalesce((SELECT jsonb_agg(jsonb_build_object('url', i.url, 'index', i.index)" \
  "                           ORDER BY i.index, i.n)"                             \
  "          FROM unnest(" urls "::text[], " indexes                              \
  "::bigint[])"                                                                   \
  "               WITH ORDINALITY AS i(url, index, n)), '[]')"

constexpr Statement kInsert{
    "WITH made AS ("
    "  INSERT INTO products (name, description, price, on_hand, seller_id, category, images)"
    "  VALUES ($1, $2, $3, $4, $5, $6, " IMAGES_OF("$7", "$8") ") RETURNING *),"
    " ledger AS ("
    "  INSERT INTO stock_movements (product_id, kind, on_hand)"
    "  SELECT id, 'RECEIVED', on_hand FROM made WHERE on_hand > 0)"
    " SELECT " PRODUCT_COLUMNS " FROM made"};

// Whether the version is one of those that a change is for: any, where none is named.
#define IS_WANTED(versions) \
  "(" versions "::bigint[] = '{}' OR version = ANY(" versions "::bigint[]))"

// `old` takes the row's lock and so reads its newest version: a reservation made meanwhile is in
// it, and in the one the update sees; of two changes for one version the later finds it changed.
// Answers one row where there is such a product, without an id where its version is another.
constexpr Statement kUpdate{
    "WITH old AS ("
    "  SELECT id AS old_id, on_hand, " IS_WANTED("$10") " AS wanted FROM products"
    "  WHERE id = $1 AND deleted_at IS NULL AND ($2::bigint IS NULL OR seller_id = $2) FOR UPDATE),"
    " changed AS ("
    "  UPDATE products p SET"
    "    name = coalesce($3, p.name),"
    "    description = coalesce($4, p.description),"
    "    price = coalesce($5, p.price),"
    "    on_hand = coalesce($6::bigint + p.reserved, p.on_hand),"
    "    category = coalesce($7, p.category),"
    "    images = CASE WHEN $8::text[] = '{}' THEN p.images ELSE " IMAGES_OF("$8", "$9") " END,"
    "    version = p.version + 1,"
    "    updated_at = now()"
    "  FROM old WHERE p.id = old_id AND wanted"
    "  RETURNING p.*, p.on_hand - old.on_hand AS moved),"
    " ledger AS ("
    "  INSERT INTO stock_movements (product_id, kind, on_hand)"
    "  SELECT id, 'SET', moved FROM changed WHERE moved <> 0),"
    " stale AS ("
    "  INSERT INTO cache_invalidations (product_id) SELECT id FROM changed)"
    " SELECT product.* FROM old LEFT JOIN (SELECT " PRODUCT_COLUMNS
    "   FROM changed) product ON product.id = old_id"};

// Answers one row where there is such a product: whether it was deleted.
constexpr Statement kDelete{
    "WITH old AS ("
    "  SELECT id AS old_id, " IS_WANTED("$3") " AS wanted FROM products"
    "  WHERE id = $1 AND deleted_at IS NULL AND ($2::bigint IS NULL OR seller_id = $2) FOR UPDATE),"
    " gone AS ("
    "  UPDATE products p SET deleted_at = now(), version = version + 1"
    "  FROM old WHERE p.id = old_id AND wanted RETURNING id),"
    " stale AS ("
    "  INSERT INTO cache_invalidations (product_id) SELECT id FROM gone)"
    " SELECT wanted FROM old"};

// Waits for rows that another replica is deleting from the cache, so that none left means none
// pending.
constexpr Statement kTakeInvalidations{R"sql(
    WITH taken AS (SELECT id FROM cache_invalidations ORDER BY id LIMIT $1 FOR UPDATE)
    DELETE FROM cache_invalidations c USING taken WHERE c.id = taken.id RETURNING product_id)sql"};

const char* ColumnOf(SortField field) {
  switch (field) {
    case SortField::kPrice:
      return "price";
    case SortField::kName:
      return "name";
    case SortField::kCreatedAt:
      return "products.created_at";  // not the column of that name in the answer
    case SortField::kId:
      return "id";
  }
  return "id";
}

std::string OrderBy(const std::vector<SortKey>& sort) {
  std::string sql;
  for (const SortKey& key : sort) {
    if (!sql.empty()) sql += ", ";
    sql += ColumnOf(key.field);
    if (key.descending) sql += " DESC";
  }
  return sql;
}

template <typename Request>
std::pair<std::string, std::string> ImageArrays(const Request& request) {
  std::vector<std::string> urls;
  std::vector<int64_t> indexes;
  for (const v1::Image& image : request.images()) {
    urls.push_back(image.url());
    indexes.push_back(image.index());
  }
  return {postgres::Array(urls), postgres::Array(indexes)};
}

template <typename Request>
std::string Wanted(const Request& request) {
  return postgres::Array(std::vector(request.if_versions().begin(), request.if_versions().end()));
}

void ReadImages(const std::string& json, v1::Product* product) {
  if (json == "[]") return;
  thread_local simdjson::dom::parser parser;
  for (const simdjson::dom::element image : parser.parse(json).get_array()) {
    v1::Image* read = product->add_images();
    read->set_url(std::string(image["url"].get_string().value()));
    read->set_index(static_cast<int32_t>(image["index"].get_int64().value()));
  }
}

void SetTime(int64_t microseconds, google::protobuf::Timestamp* time) {
  time->set_seconds(microseconds / 1'000'000);
  time->set_nanos(static_cast<int32_t>(microseconds % 1'000'000) * 1000);
}

}  // namespace

Refusal NoSuchProduct(int64_t id) {
  return {Code::kNotFound, "there is no product " + std::to_string(id)};
}

ProductStore::ProductStore(postgres::Pool& db, std::string currency)
    : db_(db), currency_(std::move(currency)) {}

v1::Product ProductStore::ToProduct(const pqxx::row& row) const {
  v1::Product product;
  product.set_id(row["id"].as<int64_t>());
  product.set_name(row["name"].as<std::string>());
  product.set_description(row["description"].as<std::string>());
  product.set_price(row["price"].as<int64_t>());
  product.set_currency(currency_);
  product.set_stock(row["stock"].as<int64_t>());
  if (!row["seller_id"].is_null()) product.set_seller_id(row["seller_id"].as<int64_t>());
  ReadImages(row["images"].as<std::string>(), &product);
  if (!row["category"].is_null()) product.set_category(row["category"].as<std::string>());
  SetTime(row["created_at"].as<int64_t>(), product.mutable_created_at());
  SetTime(row["updated_at"].as<int64_t>(), product.mutable_updated_at());
  product.set_version(row["version"].as<int64_t>());
  return product;
}

ProductPage ProductStore::ToPage(const pqxx::result& rows) const {
  ProductPage page;
  if (!rows.empty()) page.total = rows[0]["total"].as<int64_t>();
  page.items.reserve(rows.size());
  for (const pqxx::row& row : rows) page.items.push_back(ToProduct(row));
  return page;
}

ProductPage ProductStore::List(const ProductFilter& filter, const std::vector<SortKey>& sort,
                               const Page& page) {
  // Planned anew for each call: the best index depends on which filters are set, and a hundred
  // orders need no hundred prepared statements a connection.
  const std::string sql = "SELECT " PRODUCT_COLUMNS
                          ", (SELECT count(*) FROM products WHERE " PRODUCT_FILTER
                          ") AS total"
                          " FROM products WHERE " PRODUCT_FILTER " ORDER BY " +
                          OrderBy(sort) + " LIMIT $6 OFFSET $7";
  ProductPage found = ToPage(Read(db_, [&](Tx& tx) {
    return tx.raw().exec_params(sql, filter.category, filter.min_price, filter.max_price,
                                filter.seller_id, filter.in_stock, page.limit, page.offset());
  }));
  if (found.items.empty() && page.number > 1) {
    found.total = Read(db_, [&](Tx& tx) {
      return tx
          .Exec(kCountFiltered, filter.category, filter.min_price, filter.max_price,
                filter.seller_id, filter.in_stock)[0][0]
          .as<int64_t>();
    });
  }
  return found;
}

ProductPage ProductStore::Search(const std::string& text, const Page& page) {
  const auto search = [&](Tx& tx) {
    ProductPage found = ToPage(tx.Exec(kSearch, text, page.limit, page.offset()));
    if (found.items.empty() && page.number > 1) {
      found.total = tx.Exec(kCountFound, text)[0][0].as<int64_t>();
    }
    return found;
  };
  ProductPage found = Read(db_, search);
  if (found.total > 0) return found;
  // Swapped letters in a short word leave few trigrams alike; the usual 0.6 would drown the words
  // that are spelt right in those that are not.
  return InTransaction(db_, [&](Tx& tx) {
    tx.Run("SET LOCAL pg_trgm.word_similarity_threshold = 0.3");
    return search(tx);
  });
}

std::optional<v1::Product> ProductStore::Find(int64_t id) {
  const pqxx::result found = Read(db_, [&](Tx& tx) { return tx.Exec(kFind, id); });
  if (found.empty()) return std::nullopt;
  return ToProduct(found[0]);
}

std::vector<v1::Quote> ProductStore::Quote(const std::vector<int64_t>& ids) {
  std::vector<v1::Quote> quotes;
  const pqxx::result found =
      Read(db_, [&](Tx& tx) { return tx.Exec(kQuote, postgres::Array(ids)); });
  for (const pqxx::row& row : found) {
    v1::Quote& quote = quotes.emplace_back();
    quote.set_product_id(row["id"].as<int64_t>());
    quote.set_name(row["name"].as<std::string>());
    quote.set_price(row["price"].as<int64_t>());
    quote.set_stock(row["stock"].as<int64_t>());
  }
  return quotes;
}

v1::Product ProductStore::Insert(const v1::CreateProductRequest& product,
                                 std::optional<int64_t> seller_id) {
  const auto [urls, indexes] = ImageArrays(product);
  const std::optional<std::string> category =
      product.has_category() ? std::optional(product.category()) : std::nullopt;
  return InTransaction(db_, [&, &urls = urls, &indexes = indexes](Tx& tx) {
    return ToProduct(tx.Exec(kInsert, product.name(), product.description(), product.price(),
                             product.stock(), seller_id, category, urls, indexes)[0]);
  });
}

Result<v1::Product> ProductStore::Update(const v1::UpdateProductRequest& change,
                                         std::optional<int64_t> owner) {
  const auto sent = [](bool has, const auto& value) {
    return has ? std::optional(value) : std::nullopt;
  };
  const auto [urls, indexes] = ImageArrays(change);
  return InTransaction(db_, [&, &urls = urls, &indexes = indexes](Tx& tx) -> Result<v1::Product> {
    const pqxx::result changed =
        tx.Exec(kUpdate, change.id(), owner, sent(change.has_name(), change.name()),
                sent(change.has_description(), change.description()),
                sent(change.has_price(), change.price()), sent(change.has_stock(), change.stock()),
                sent(change.has_category(), change.category()), urls, indexes, Wanted(change));
    if (changed.empty()) return NoSuchProduct(change.id());
    if (changed[0]["id"].is_null()) return VersionChanged();
    return ToProduct(changed[0]);
  });
}

Result<void> ProductStore::Delete(const v1::DeleteProductRequest& request,
                                  std::optional<int64_t> owner) {
  return InTransaction(db_, [&](Tx& tx) -> Result<void> {
    const pqxx::result gone = tx.Exec(kDelete, request.id(), owner, Wanted(request));
    if (gone.empty()) return NoSuchProduct(request.id());
    if (!gone[0][0].as<bool>()) return VersionChanged();
    return kDone;
  });
}

void ProductStore::DrainInvalidations(
    const std::function<void(const std::vector<int64_t>&)>& invalidate) {
  for (int64_t taken = kInvalidationsAtOnce; taken == kInvalidationsAtOnce;) {
    taken = InTransaction(db_, [&](Tx& tx) -> int64_t {
      std::vector<int64_t> ids;
      for (const pqxx::row& row : tx.Exec(kTakeInvalidations, kInvalidationsAtOnce)) {
        ids.push_back(row[0].as<int64_t>());
      }
      if (!ids.empty()) invalidate(ids);
      return static_cast<int64_t>(ids.size());
    });
  }
}

}  // namespace shop::products
