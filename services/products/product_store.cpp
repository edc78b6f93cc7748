#include "products/product_store.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>

// What ToProduct reads, by these places.
#define PRODUCT_COLUMNS                                                                  \
  "id, name, description, price, on_hand - reserved AS stock, seller_id,"                \
  " images, category, (date_part('epoch', created_at) * 1000000)::bigint AS created_at," \
  " (date_part('epoch', updated_at) * 1000000)::bigint AS updated_at, version,"          \
  " stock_version"
#define PRODUCT_COLUMN_COUNT 12

namespace shop::products {
namespace {

using postgres::InTransaction;
using postgres::Read;
using postgres::Statement;
using postgres::Tx;

constexpr int64_t kInvalidationsAtOnce = 1000;

// The most that a page holds, and one more to see whether another follows.
#define ROWS_READ "101"

// The first of those that match `words`, by their names before by all their words: a word that
// every tenth product has does not have all of them looked at. `likeness` is added to the rank. $2
// rows from $3 on, behind the rank $4 and the id $5 of a cursor. Answers a row without a product
// where there is none, for the total.
#define SEARCH(words, likeness)                                                          \
  "WITH asked AS MATERIALIZED (SELECT " words                                            \
  " AS words),"                                                                          \
  " named AS MATERIALIZED ("                                                             \
  "  SELECT id, ts_rank(search, words)" likeness                                         \
  " AS rank FROM products, asked"                                                        \
  "  WHERE deleted_at IS NULL AND ts_filter(search, '{a}') @@ words LIMIT 1000),"        \
  " found AS MATERIALIZED ("                                                             \
  "  SELECT id, rank FROM named UNION"                                                   \
  "  (SELECT id, ts_rank(search, words)" likeness                                        \
  " AS rank FROM products, asked"                                                        \
  "   WHERE deleted_at IS NULL AND search @@ words"                                      \
  "   LIMIT CASE WHEN (SELECT count(*) FROM named) < 1000 THEN 1000 ELSE 0 END)),"       \
  " page AS ("                                                                           \
  "  SELECT id, rank FROM found"                                                         \
  "  WHERE $4::real IS NULL OR rank < $4::real OR (rank = $4::real AND id > $5::bigint)" \
  "  ORDER BY rank DESC, id LIMIT $2 OFFSET $3)"                                         \
  " SELECT product.*, total FROM (SELECT count(*) AS total FROM found) AS counted"       \
  " LEFT JOIN (SELECT " PRODUCT_COLUMNS                                                  \
  ", rank FROM page JOIN products USING (id)) AS product ON true"                        \
  " ORDER BY rank DESC, product.id"

constexpr Statement kSearch{SEARCH("websearch_to_tsquery('english', $1)", "")};
constexpr Statement kSearchAlike{SEARCH("$1::tsquery", " + word_similarity($6, name)")};

// The known words that are most like each of the longest of $1: all of them asked for, and any.
constexpr Statement kAlike{R"sql(
    WITH asked AS (
      SELECT word, row_number() OVER () AS n
      FROM unnest(tsvector_to_array(to_tsvector('simple', $1))) AS word
      WHERE to_tsvector('english', word) <> ''
      ORDER BY length(word) DESC, word LIMIT 6),
    alike AS (
      SELECT n, known.word, distance, min(distance) OVER (PARTITION BY n) AS least
      FROM asked, LATERAL (SELECT word, word <-> asked.word AS distance FROM product_words
                           ORDER BY word <-> asked.word LIMIT 3) AS known),
    chosen AS (
      SELECT '(' || string_agg(plainto_tsquery('english', word)::text, ' | ') || ')' AS words
      FROM alike
      WHERE distance < 0.75 AND distance < least + 0.1
        AND numnode(plainto_tsquery('english', word)) > 0
      GROUP BY n)
    SELECT string_agg(words, ' & '), string_agg(words, ' | ') FROM chosen)sql"};

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

// In their order, so that no two transactions wait for each other's.
#define KEEP_WORDS(products)                                         \
  "INSERT INTO product_words"                                        \
  " SELECT DISTINCT word FROM " products                             \
  ", unnest(tsvector_to_array(to_tsvector('simple', name))) AS word" \
  " WHERE word ~ '^[[:alpha:]]{3,}$' ORDER BY word ON CONFLICT DO NOTHING"

constexpr Statement kInsert{
    "WITH made AS ("
    "  INSERT INTO products (name, description, price, on_hand, seller_id, category, images)"
    "  VALUES ($1, $2, $3, $4, $5, $6, " IMAGES_OF("$7", "$8") ") RETURNING *),"
    " ledger AS ("
    "  INSERT INTO stock_movements (product_id, kind, on_hand, by_user)"
    "  SELECT id, 'RECEIVED', on_hand, $9::bigint FROM made WHERE on_hand > 0),"
    " words AS (" KEEP_WORDS("made") ")"
    " SELECT " PRODUCT_COLUMNS " FROM made"};

// Whether the version is one of those that a change is for: any, where none is named. Where the
// change sets `stock`, the stock version has to be the one that is named beside it.
#define IS_WANTED(versions, stock_versions, stock)               \
  "(" versions                                                   \
  "::bigint[] = '{}' OR EXISTS ("                                \
  "  SELECT FROM unnest(" versions "::bigint[], " stock_versions \
  "::bigint[])"                                                  \
  "    AS wanted(content, stock)"                                \
  "  WHERE wanted.content = version AND (" stock                 \
  "::bigint IS NULL OR wanted.stock = stock_version)))"

// `old` takes the row's lock and so reads its newest version: a reservation made meanwhile is in
// it, and in the one the update sees; of two changes for one version the later finds it changed.
// Answers one row where there is such a product, without an id where its version is another.
constexpr Statement kUpdate{
    "WITH old AS ("
    "  SELECT id AS old_id, on_hand, " IS_WANTED("$10", "$11", "$6") " AS wanted FROM products"
    "  WHERE id = $1 AND deleted_at IS NULL AND ($2::bigint IS NULL OR seller_id = $2) FOR UPDATE),"
    " changed AS ("
    "  UPDATE products p SET"
    "    name = coalesce($3, p.name),"
    "    description = coalesce($4, p.description),"
    "    price = coalesce($5, p.price),"
    "    on_hand = coalesce($6::bigint + p.reserved, p.on_hand),"
    "    category = nullif(coalesce($7, p.category), ''),"
    "    images = CASE WHEN $8::text[] IS NULL THEN p.images ELSE " IMAGES_OF("$8", "$9") " END,"
    "    version = p.version + 1,"
    "    stock_version = p.stock_version"
    "      + (coalesce($6::bigint + p.reserved, p.on_hand) <> p.on_hand)::int,"
    "    updated_at = now()"
    "  FROM old WHERE p.id = old_id AND wanted"
    "  RETURNING p.*, p.on_hand - old.on_hand AS moved),"
    " ledger AS ("
    "  INSERT INTO stock_movements (product_id, kind, on_hand, by_user)"
    "  SELECT id, 'SET', moved, $12::bigint FROM changed WHERE moved <> 0),"
    " words AS (" KEEP_WORDS("(SELECT name FROM changed WHERE $3 IS NOT NULL) AS renamed") "),"
    " stale AS ("
    "  INSERT INTO cache_invalidations (product_id) SELECT id FROM changed)"
    " SELECT product.* FROM old LEFT JOIN (SELECT " PRODUCT_COLUMNS
    "   FROM changed) product ON product.id = old_id"};

// Answers one row where there is such a product: whether it was deleted.
constexpr Statement kDelete{
    "WITH old AS ("
    "  SELECT id AS old_id, " IS_WANTED("$3", "'{}'", "NULL") " AS wanted FROM products"
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
    DELETE FROM cache_invalidations c USING taken WHERE c.id = taken.id
    RETURNING product_id, stock_only)sql"};

constexpr int64_t kWorthRemembering = 1000;
constexpr std::chrono::seconds kRemembered{10};
constexpr size_t kMostRemembered = 1000;

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

bool OneDirection(const std::vector<SortKey>& sort) {
  return std::ranges::all_of(
      sort, [&](const SortKey& key) { return key.descending == sort[0].descending; });
}

// The text of a list's statements. Its values are all in $1, as one array.
class ListSql {
 public:
  ListSql(const ProductFilter& filter, const std::vector<SortKey>& sort, const Page& page) {
    const bool by_index =
        sort.size() <= 2 && sort.back().field == SortField::kId && OneDirection(sort);
    const bool price_bounded = filter.min_price || filter.max_price;
    prepared_ = by_index && !(filter.category && filter.seller_id) &&
                (!price_bounded || sort[0].field == SortField::kPrice);

    std::vector<std::string> columns;
    std::vector<std::string> values;
    if (filter.category) Within("category", Value(*filter.category, "text"), &columns, &values);
    if (filter.seller_id) Within("seller_id", Value(*filter.seller_id), &columns, &values);
    if (filter.min_price) {
      Add(" AND " + Row(columns, "price") + " >= " + Row(values, Value(*filter.min_price)));
    }
    if (filter.max_price) {
      Add(" AND " + Row(columns, "price") + " <= " + Row(values, Value(*filter.max_price)));
    }
    if (filter.in_stock) Add(" AND on_hand > reserved");

    for (const std::string& column : columns) {
      order_ += column + (sort[0].descending ? " DESC, " : ", ");
    }
    for (size_t i = 0; i < sort.size(); ++i) {
      if (i > 0) order_ += ", ";
      order_ += ColumnOf(sort[i].field);
      if (sort[i].descending) order_ += " DESC";
    }
    if (page.by_cursor()) after_ = " AND " + After(sort, page.after, columns, values);
  }

  // The first $2 rows, which are planned for as ROWS_READ at the most.
  std::string Rows() const {
    return kTyped + "SELECT * FROM (" + Select() + " LIMIT " ROWS_READ ") AS page LIMIT $2";
  }
  // With the total in a last column if $3.
  std::string RowsAndTotal() const {
    return kTyped + "SELECT *, CASE WHEN $3::boolean THEN (" + Counted() + ") END FROM (" +
           Select() + " LIMIT " ROWS_READ ") AS page LIMIT $2";
  }
  // $2 rows from $3 on.
  std::string RowsFarOff() const { return kTyped + Select() + " LIMIT $2 OFFSET $3"; }
  std::string Count() const { return kTyped + Counted(); }
  std::string values() const { return postgres::Array(values_); }
  // Whether one plan is good for whatever values, as an index leads to the rows in their order.
  // There are less than two hundred such lists; the others are planned for each call.
  bool prepared() const { return prepared_; }

 private:
  // What $1 is, also for a list without values. Nothing is done for it.
  static inline const std::string kTyped = "WITH given AS (SELECT $1::text[]) ";

  std::string Counted() const {
    return "SELECT count(*) FROM (SELECT FROM products WHERE " + where_ + " LIMIT " +
           std::to_string(kMostByNumber) + ") AS counted";
  }
  // The place of a value in $1.
  std::string Value(const std::string& value, const char* type) {
    values_.push_back(value);
    return "($1::text[])[" + std::to_string(values_.size()) + "]::" + type;
  }
  std::string Value(int64_t value) { return Value(std::to_string(value), "bigint"); }

  void Add(const std::string& condition) { where_ += condition; }

  // One value of a column. A plan that is good for any value must not take it for granted that many
  // rows have it and look for them along another index: as bounds, and at the head of the order,
  // only an index that begins with the column will do.
  void Within(const std::string& column, const std::string& value,
              std::vector<std::string>* columns, std::vector<std::string>* values) {
    if (!prepared_) return Add(" AND " + column + " = " + value);
    Add(" AND " + column + " >= " + value + " AND " + column + " <= " + value);
    columns->push_back(column);
    values->push_back(value);
  }
  static std::string Row(const std::vector<std::string>& head, const std::string& tail) {
    return fmt::format("({}{}{})", fmt::join(head, ", "), head.empty() ? "" : ", ", tail);
  }

  std::string SortValue(SortField field, const std::string& value) {
    switch (field) {
      case SortField::kName:
        return Value(value, "text");
      case SortField::kCreatedAt:
        return "timestamptz 'epoch' + " + Value(value, "bigint") + " * interval '1 microsecond'";
      case SortField::kPrice:
      case SortField::kId:
        break;
    }
    return Value(value, "bigint");
  }

  // What comes behind a row of these values: greater as a row, where all keys go one way. Otherwise
  // greater in the first key that differs, with a bound of the first key beside it for an index.
  std::string After(const std::vector<SortKey>& sort, const std::vector<std::string>& after,
                    const std::vector<std::string>& head, const std::vector<std::string>& of_head) {
    std::vector<std::string> columns = head;
    std::vector<std::string> values = of_head;
    std::string equal;
    std::vector<std::string> either;
    std::string bound;
    for (size_t i = 0; i < sort.size(); ++i) {
      const std::string column = ColumnOf(sort[i].field);
      const std::string value = SortValue(sort[i].field, after[i]);
      const char beyond = sort[i].descending ? '<' : '>';
      if (i == 0) bound = fmt::format("{} {}= {}", column, beyond, value);
      either.push_back(fmt::format("({}{} {} {})", equal, column, beyond, value));
      equal += fmt::format("{} = {} AND ", column, value);
      columns.push_back(column);
      values.push_back(value);
    }
    if (!OneDirection(sort)) return fmt::format("{} AND ({})", bound, fmt::join(either, " OR "));
    return fmt::format("({}) {} ({})", fmt::join(columns, ", "), sort[0].descending ? '<' : '>',
                       fmt::join(values, ", "));
  }

  std::string Select() const {
    return "SELECT " PRODUCT_COLUMNS " FROM products WHERE " + where_ + after_ + " ORDER BY " +
           order_;
  }

  std::vector<std::string> values_;
  std::string where_ = "deleted_at IS NULL";
  std::string after_;
  std::string order_;
  bool prepared_ = false;
};

// Whether a cursor's values can be those of a row: they come from outside.
bool AreSortValues(const std::vector<SortKey>& sort, const std::vector<std::string>& after) {
  // Of PostgreSQL's timestamps, in microseconds.
  constexpr int64_t kFarPast = -210'000'000'000'000'000;
  constexpr int64_t kFarFuture = 9'000'000'000'000'000'000;
  for (size_t i = 0; i < sort.size(); ++i) {
    if (sort[i].field == SortField::kName) {
      if (!simdjson::validate_utf8(after[i].data(), after[i].size())) return false;
      continue;
    }
    const std::optional<int64_t> number = CursorNumber(after[i]);
    if (!number) return false;
    if (sort[i].field == SortField::kCreatedAt && (*number < kFarPast || *number > kFarFuture)) {
      return false;
    }
  }
  return true;
}

std::vector<std::string> SortValues(const std::vector<SortKey>& sort, const v1::Product& product) {
  std::vector<std::string> values;
  for (const SortKey& key : sort) {
    switch (key.field) {
      case SortField::kPrice:
        values.push_back(std::to_string(product.price()));
        break;
      case SortField::kName:
        values.push_back(product.name());
        break;
      case SortField::kCreatedAt:
        values.push_back(std::to_string(product.created_at().seconds() * 1'000'000 +
                                        product.created_at().nanos() / 1000));
        break;
      case SortField::kId:
        values.push_back(std::to_string(product.id()));
        break;
    }
  }
  return values;
}

// How a search was answered. A cursor holds it, so that all pages of a search are of one kind.
enum class Match { kWords, kAllAlike, kAnyAlike };

struct SearchAfter {
  Match match = Match::kWords;
  std::optional<std::string> rank = {};
  std::optional<int64_t> id = {};
};

std::optional<SearchAfter> ReadSearchAfter(const std::vector<std::string>& values) {
  const std::optional<int64_t> match = CursorNumber(values[0]);
  const std::optional<int64_t> id = CursorNumber(values[2]);
  float rank = 0;
  const char* end = values[1].data() + values[1].size();
  const auto [rest, error] = std::from_chars(values[1].data(), end, rank);
  if (!match || *match < 0 || *match > static_cast<int64_t>(Match::kAnyAlike) || !id ||
      error != std::errc() || rest != end || !std::isfinite(rank)) {
    return std::nullopt;
  }
  return SearchAfter{static_cast<Match>(*match), fmt::to_string(rank), id};
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

std::string Array(const google::protobuf::RepeatedField<int64_t>& values) {
  return postgres::Array(std::vector<int64_t>(values.begin(), values.end()));
}

void ReadImages(std::string_view json, v1::Product* product) {
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
  product.set_id(row[0].as<int64_t>());
  product.set_name(row[1].c_str(), row[1].size());
  product.set_description(row[2].c_str(), row[2].size());
  product.set_price(row[3].as<int64_t>());
  product.set_currency(currency_);
  product.set_stock(row[4].as<int64_t>());
  if (!row[5].is_null()) product.set_seller_id(row[5].as<int64_t>());
  ReadImages({row[6].c_str(), row[6].size()}, &product);
  if (!row[7].is_null()) product.set_category(row[7].c_str(), row[7].size());
  SetTime(row[8].as<int64_t>(), product.mutable_created_at());
  SetTime(row[9].as<int64_t>(), product.mutable_updated_at());
  product.set_version(row[10].as<int64_t>());
  product.set_stock_version(row[11].as<int64_t>());
  return product;
}

ProductPage ProductStore::ToPage(const pqxx::result& rows, const Page& page) const {
  ProductPage found;
  for (const pqxx::row& row : rows) {
    if (std::ssize(found.items) < page.limit) found.items.push_back(ToProduct(row));
  }
  return found;
}

std::optional<int64_t> ProductStore::RememberedTotal(const std::string& query) {
  const std::lock_guard lock(totals_mutex_);
  const auto known = totals_.find(query);
  if (known == totals_.end() || known->second.until < std::chrono::steady_clock::now()) {
    return std::nullopt;
  }
  return known->second.total;
}

void ProductStore::RememberTotal(const std::string& query, int64_t total) {
  if (total < kWorthRemembering) return;
  const std::lock_guard lock(totals_mutex_);
  if (totals_.size() >= kMostRemembered) totals_.clear();
  totals_[query] = {total, std::chrono::steady_clock::now() + kRemembered};
}

Result<ProductPage> ProductStore::List(const ProductFilter& filter,
                                       const std::vector<SortKey>& sort, const Page& page) {
  if (page.by_cursor() && !AreSortValues(sort, page.after)) return InvalidCursor();
  const ListSql sql(filter, sort, page);
  std::optional<int64_t> total = page.by_cursor() ? 0 : RememberedTotal(page.fingerprint);

  const pqxx::result rows = Read(db_, [&](Tx& tx) {
    const int32_t wanted = page.limit + 1;
    if (page.offset() > 0) {
      return tx.ExecOnce(sql.RowsFarOff(), sql.values(), wanted, page.offset());
    }
    const std::string text = page.by_cursor() ? sql.Rows() : sql.RowsAndTotal();
    if (page.by_cursor()) {
      return sql.prepared() ? tx.Exec(Statement::Kept(text), sql.values(), wanted)
                            : tx.ExecOnce(text, sql.values(), wanted);
    }
    return sql.prepared() ? tx.Exec(Statement::Kept(text), sql.values(), wanted, !total)
                          : tx.ExecOnce(text, sql.values(), wanted, !total);
  });
  ProductPage found = ToPage(rows, page);
  if (std::ssize(rows) > page.limit) found.next = SortValues(sort, found.items.back());
  if (!total) total = page.TotalFrom(std::ssize(rows));
  if (!total) {
    const pqxx::field counted =
        rows.empty() || page.offset() > 0
            ? Read(db_, [&](Tx& tx) { return tx.ExecOnce(sql.Count(), sql.values()); })[0][0]
            : rows[0][PRODUCT_COLUMN_COUNT];
    total = counted.as<int64_t>();
    RememberTotal(page.fingerprint, *total);
  }
  found.total = *total;
  return found;
}

Result<ProductPage> ProductStore::Search(const std::string& text, const Page& page) {
  SearchAfter after;
  if (page.by_cursor()) {
    const std::optional<SearchAfter> read = ReadSearchAfter(page.after);
    if (!read) return InvalidCursor();
    after = *read;
  }
  const int32_t wanted = page.limit + 1;
  const auto answer = [&](const pqxx::result& rows, Match match) {
    ProductPage found;
    found.total = rows[0]["total"].as<int64_t>();
    if (rows[0][0].is_null()) return found;
    const int64_t total = found.total;
    found = ToPage(rows, page);
    found.total = total;
    if (std::ssize(rows) > page.limit) {
      found.next = {std::to_string(static_cast<int>(match)),
                    rows[static_cast<pqxx::result::size_type>(page.limit - 1)]["rank"].c_str(),
                    std::to_string(found.items.back().id())};
    }
    return found;
  };
  return Read(db_, [&](Tx& tx) {
    if (after.match == Match::kWords) {
      ProductPage found = answer(
          tx.Exec(kSearch, text, wanted, page.offset(), after.rank, after.id), Match::kWords);
      if (found.total > 0 || page.by_cursor()) return found;
    }
    const pqxx::result alike = tx.Exec(kAlike, text);
    for (const Match match : {Match::kAllAlike, Match::kAnyAlike}) {
      if (page.by_cursor() && match != after.match) continue;
      const pqxx::field words = alike[0][match == Match::kAllAlike ? 0 : 1];
      if (words.is_null()) break;
      ProductPage found = answer(
          tx.Exec(kSearchAlike, words.c_str(), wanted, page.offset(), after.rank, after.id, text),
          match);
      if (found.total > 0) return found;
    }
    return ProductPage();
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
                                 std::optional<int64_t> seller_id, std::optional<int64_t> by) {
  const auto [urls, indexes] = ImageArrays(product);
  const std::optional<std::string> category =
      product.has_category() ? std::optional(product.category()) : std::nullopt;
  return InTransaction(db_, [&, &urls = urls, &indexes = indexes](Tx& tx) {
    return ToProduct(tx.Exec(kInsert, product.name(), product.description(), product.price(),
                             product.stock(), seller_id, category, urls, indexes, by)[0]);
  });
}

Result<v1::Product> ProductStore::Update(const v1::UpdateProductRequest& change,
                                         std::optional<int64_t> owner, std::optional<int64_t> by) {
  const auto sent = [](bool has, const auto& value) {
    return has ? std::optional(value) : std::nullopt;
  };
  const auto cleared = [&](const char* field) {
    return std::ranges::find(change.clear(), field) != change.clear().end();
  };
  const auto [urls, indexes] = ImageArrays(change);
  const bool gallery = !change.images().empty() || cleared("images");
  const std::optional<std::string> category =
      cleared("category") ? "" : sent(change.has_category(), change.category());
  return InTransaction(db_, [&, &urls = urls, &indexes = indexes](Tx& tx) -> Result<v1::Product> {
    const pqxx::result changed =
        tx.Exec(kUpdate, change.id(), owner, sent(change.has_name(), change.name()),
                sent(change.has_description(), change.description()),
                sent(change.has_price(), change.price()), sent(change.has_stock(), change.stock()),
                category, sent(gallery, urls), sent(gallery, indexes), Array(change.if_versions()),
                Array(change.if_stock_versions()), by);
    if (changed.empty()) return NoSuchProduct(change.id());
    if (changed[0]["id"].is_null()) return VersionChanged();
    return ToProduct(changed[0]);
  });
}

Result<void> ProductStore::Delete(const v1::DeleteProductRequest& request,
                                  std::optional<int64_t> owner) {
  return InTransaction(db_, [&](Tx& tx) -> Result<void> {
    const pqxx::result gone = tx.Exec(kDelete, request.id(), owner, Array(request.if_versions()));
    if (gone.empty()) return NoSuchProduct(request.id());
    if (!gone[0][0].as<bool>()) return VersionChanged();
    return kDone;
  });
}

void ProductStore::DrainInvalidations(const Invalidate& invalidate) {
  for (int64_t taken = kInvalidationsAtOnce; taken == kInvalidationsAtOnce;) {
    taken = InTransaction(db_, [&](Tx& tx) -> int64_t {
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
