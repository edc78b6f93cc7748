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

// The best of the first thousand products that match `words` with their names and, if there are
// fewer, of the first thousand that match with all of their words: so a word that every tenth product
// has costs no more than others. `likeness` is added to the rank. $2 rows from $3 on, after the rank
// $4 and the id $5 of a cursor. Without a product, one row holds the total alone.
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
  " LEFT JOIN (SELECT " SHOP_LISTED_PRODUCT_COLUMNS                                      \
  ", rank FROM page JOIN products USING (id)) AS product ON true"                        \
  " ORDER BY rank DESC, product.id"

constexpr Statement kSearch{SEARCH("websearch_to_tsquery('english', $1)", "")};
constexpr Statement kSearchAlike{SEARCH("$1::tsquery", " + word_similarity($6, name)")};

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

Result<v1::ListProductsResponse> Search(Tx& tx, const std::string& text, const Page& page) {
  SearchAfter after;
  if (page.by_cursor()) {
    const std::optional<SearchAfter> read = ReadSearchAfter(page.after);
    if (!read) return InvalidCursor();
    after = *read;
  }
  const int32_t wanted = page.limit + 1;
  if (after.match == Match::kWords) {
    const pqxx::result rows = tx.Exec(kSearch, text, wanted, page.offset(), after.rank, after.id);
    if (Total(rows) > 0 || page.by_cursor()) return ToResponse(rows, Match::kWords, page);
  }
  const pqxx::result alike = tx.Exec(kAlike, text);
  for (const Match match : {Match::kAllAlike, Match::kAnyAlike}) {
    if (page.by_cursor() && match != after.match) continue;
    const pqxx::field words = alike[0][match == Match::kAllAlike ? 0 : 1];
    if (words.is_null()) break;
    const pqxx::result rows =
        tx.Exec(kSearchAlike, words.c_str(), wanted, page.offset(), after.rank, after.id, text);
    if (Total(rows) > 0) return ToResponse(rows, match, page);
  }
  v1::ListProductsResponse nothing;
  Describe(page, 0, {}, &nothing);
  return nothing;
}

}  // namespace shop::products
