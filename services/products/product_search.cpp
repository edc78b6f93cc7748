#include "products/product_search.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <optional>
#include <vector>

#include "products/product_rows.h"

namespace shop::products {
namespace {

using postgres::Statement;
using postgres::Tx;

// The table `name`: the first thousand products that match, with their rank, where `wanted`. Of a word
// that a great share of them has, the thousand are among the first rows of the table, so that these are
// looked at one after the other, where the index would first say all of its rows. Where they are not, the
// index says them after all. Either way they are the first in the order of the table.
#define THOUSAND(name, match, common, wanted, rank)                                 \
  " walked_" name                                                                   \
  " AS MATERIALIZED ("                                                              \
  "  SELECT id, " rank                                                              \
  " AS rank FROM asked, (SELECT id, name, search FROM products"                     \
  "                      WHERE deleted_at IS NULL LIMIT 40000) AS beginning"        \
  "  WHERE " common " AND " wanted " AND " match                                    \
  " LIMIT 1000),"                                                                   \
  " " name                                                                          \
  " AS MATERIALIZED ("                                                              \
  "  SELECT id, rank FROM walked_" name " WHERE (SELECT count(*) FROM walked_" name \
  ") = 1000 UNION ALL (SELECT id, " rank                                            \
  " AS rank FROM products, asked"                                                   \
  "  WHERE (SELECT count(*) FROM walked_" name ") < 1000 AND " wanted               \
  "   AND deleted_at IS NULL AND " match " LIMIT 1000))"

// The best of the first thousand products that match `words` with their names and, if there are
// fewer, of the first thousand that match with all of their words: so a word that every tenth product
// has costs no more than others. $2 rows from $3 on, after the rank $4 and the id $5 of a cursor; $6
// are the words that are common in names, $7 those that are common in all. Without a product, one row
// holds the total alone.
#define SEARCH(words, rank) \
  "WITH asked AS MATERIALIZED ("                                                         \
  "  SELECT words, words = ANY ($6::tsquery[]) AS common_in_names,"                      \
  "         words = ANY ($7::tsquery[]) AS common"                                       \
  "  FROM (SELECT " words                                                                \
  " AS words OFFSET 0) AS read),"                                                        \
  THOUSAND("named", "ts_filter(search, '{a}') @@ words", "common_in_names", "true", rank) \
  ","                                                                                    \
  THOUSAND("matching", "search @@ words", "common",                                      \
           "(SELECT count(*) FROM named) < 1000", rank)                                  \
  ","                                                                                    \
  " found AS MATERIALIZED ("                                                             \
  "  SELECT id, rank FROM named UNION SELECT id, rank FROM matching),"                   \
  " page AS ("                                                                           \
  "  SELECT id, rank FROM found"                                                         \
  "  WHERE $4::real IS NULL OR rank < $4::real OR (rank = $4::real AND id > $5::bigint)" \
  "  ORDER BY rank DESC, id LIMIT $2 OFFSET $3)"                                         \
  " SELECT product.*, total FROM (SELECT count(*) AS total FROM found) AS counted"       \
  " LEFT JOIN (SELECT " SHOP_LISTED_PRODUCT_COLUMNS                                      \
  ", rank FROM page JOIN products USING (id)) AS product ON true"                        \
  " ORDER BY rank DESC, product.id"

constexpr Statement kSearch{
    SEARCH("websearch_to_tsquery('english', $1)", "ts_rank(search, words)")};
constexpr Statement kSearchAlike{
    SEARCH("$1::tsquery", "ts_rank(search, words) + word_similarity($8, name)")};

// The words for which looking at one row after the other is quicker than the index, by what ANALYZE has
// found, in names and in all. A thousand products that have a word are among the first 1,000 / share rows,
// and the index has share * rows of it; a row that is looked at costs some 2.7 times as much as one of the
// index.
constexpr Statement kCommonWords{R"sql(
    SELECT array_agg(query) FILTER (WHERE tablename <> 'products'),
           array_agg(query) FILTER (WHERE tablename = 'products')
    FROM (SELECT tablename, unnest(most_common_elems::text::text[]) AS word,
                 unnest(most_common_elem_freqs) AS share
          FROM pg_stats
          WHERE schemaname = current_schema() AND (tablename, attname) IN (
            ('products', 'search'), ('products_by_name_words', 'ts_filter'))) AS known,
         plainto_tsquery('simple', word) AS query
    WHERE numnode(query) = 1 AND share * share *
          (SELECT reltuples FROM pg_class WHERE oid = 'products'::regclass) > 2700)sql"};
constexpr std::chrono::minutes kKept{10};

// For each of the longest words of $1, the known words that are most like it: as a query for all of
// them, and as one for any.
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

// How a search was answered. The cursor contains it, so that all pages of a search are of one kind.
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

std::optional<std::string> Text(const pqxx::field& field) {
  if (field.is_null()) return std::nullopt;
  return field.as<std::string>();
}

int64_t Total(const pqxx::result& rows) {
  return rows[0]["total"].as<int64_t>();
}

v1::ListProductsResponse ToResponse(const pqxx::result& rows, Match match, const Page& page) {
  v1::ListProductsResponse response;
  std::vector<std::string> next;
  if (!rows[0][0].is_null()) AddItems(rows, page, &response);
  if (std::ssize(rows) > page.limit) {
    const auto last = static_cast<pqxx::result::size_type>(page.limit - 1);
    next = {std::to_string(static_cast<int>(match)), rows[last]["rank"].c_str(),
            std::to_string(response.items().rbegin()->id())};
  }
  Describe(page, Total(rows), next, &response);
  return response;
}

}  // namespace

CommonWords::Words CommonWords::Find(Tx& tx) {
  {
    const std::lock_guard lock(mutex_);
    if (std::chrono::steady_clock::now() < until_) return words_;
  }
  const pqxx::result found = tx.Exec(kCommonWords);
  const std::lock_guard lock(mutex_);
  words_ = {Text(found[0][0]), Text(found[0][1])};
  until_ = std::chrono::steady_clock::now() + kKept;
  return words_;
}

Result<v1::ListProductsResponse> Search(Tx& tx, const std::string& text, const Page& page,
                                        CommonWords& common_words) {
  SearchAfter after;
  if (page.by_cursor()) {
    const std::optional<SearchAfter> read = ReadSearchAfter(page.after);
    if (!read) return InvalidCursor();
    after = *read;
  }
  const int32_t wanted = page.limit + 1;
  const CommonWords::Words common = common_words.Find(tx);
  if (after.match == Match::kWords) {
    const pqxx::result rows = tx.Exec(kSearch, text, wanted, page.offset(), after.rank, after.id,
                                      common.in_names, common.in_all);
    if (Total(rows) > 0 || page.by_cursor()) return ToResponse(rows, Match::kWords, page);
  }
  const pqxx::result alike = tx.Exec(kAlike, text);
  for (const Match match : {Match::kAllAlike, Match::kAnyAlike}) {
    if (page.by_cursor() && match != after.match) continue;
    const pqxx::field words = alike[0][match == Match::kAllAlike ? 0 : 1];
    if (words.is_null()) break;
    const pqxx::result rows = tx.Exec(kSearchAlike, words.c_str(), wanted, page.offset(),
                                      after.rank, after.id, common.in_names, common.in_all, text);
    if (Total(rows) > 0) return ToResponse(rows, match, page);
  }
  v1::ListProductsResponse nothing;
  Describe(page, 0, {}, &nothing);
  return nothing;
}

}  // namespace shop::products
