#include "products/product_list.h"

#include <fmt/format.h>
#include <google/protobuf/util/time_util.h>
#include <simdjson.h>

#include <algorithm>

#include "products/product_rows.h"

// The most that a page holds, and one more to see whether another follows.
#define ROWS_READ "101"

namespace shop::products {
namespace {

using google::protobuf::util::TimeUtil;
using postgres::Statement;
using postgres::Tx;

constexpr int64_t kWorthCaching = 1000;
constexpr std::chrono::seconds kCached{10};
constexpr size_t kMostCached = 1000;

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

// The SQL of a list. All of its values are in $1, as one array.
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
      where_ += " AND " + Row(columns, "price") + " >= " + Row(values, Value(*filter.min_price));
    }
    if (filter.max_price) {
      where_ += " AND " + Row(columns, "price") + " <= " + Row(values, Value(*filter.max_price));
    }
    if (filter.in_stock) where_ += " AND on_hand > reserved";

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

  // The first $2 rows; the plan expects ROWS_READ at the most.
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
  // Whether one plan fits all values, because an index has the rows in the list's order. There are
  // fewer than two hundred such lists; the others are planned for each call.
  bool prepared() const { return prepared_; }

 private:
  // Gives $1 its type, also in a list that has no values. Costs nothing.
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

  // Only rows with this value. A plan that is made for any value must not assume that many rows have
  // it and look for them along another index: with the column as bounds and first in the order, only
  // an index that begins with it fits.
  void Within(const std::string& column, const std::string& value,
              std::vector<std::string>* columns, std::vector<std::string>* values) {
    if (!prepared_) {
      where_ += " AND " + column + " = " + value;
      return;
    }
    where_ += " AND " + column + " >= " + value + " AND " + column + " <= " + value;
    columns->push_back(column);
    values->push_back(value);
  }
  static std::string Row(const std::vector<std::string>& head, const std::string& tail) {
    return fmt::format("({}{}{})", fmt::join(head, ", "), head.empty() ? "" : ", ", tail);
  }

  std::string SortValue(SortField field, const std::string& value) {
    if (field == SortField::kName) return Value(value, "text");
    const std::string number = Value(value, "bigint");
    if (field != SortField::kCreatedAt) return number;
    return "timestamptz 'epoch' + " + number + " * interval '1 microsecond'";
  }

  // The condition for rows after one with these values: a comparison of rows if all keys have one
  // direction. Otherwise a comparison by the first key that differs, with a bound of the first key
  // beside it, for an index.
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
    return "SELECT " SHOP_LISTED_PRODUCT_COLUMNS " FROM products WHERE " + where_ + after_ +
           " ORDER BY " + order_;
  }

  std::vector<std::string> values_;
  std::string where_ = "deleted_at IS NULL";
  std::string after_;
  std::string order_;
  bool prepared_ = false;
};

// Whether a cursor's values, which the client sends, can be those of a row.
bool AreSortValues(const std::vector<SortKey>& sort, const std::vector<std::string>& after) {
  // The range of PostgreSQL's timestamps, in microseconds.
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
        values.push_back(std::to_string(TimeUtil::TimestampToMicroseconds(product.created_at())));
        break;
      case SortField::kId:
        values.push_back(std::to_string(product.id()));
        break;
    }
  }
  return values;
}

pqxx::result ReadRows(Tx& tx, const ListSql& sql, const Page& page, bool with_total) {
  const int32_t wanted = page.limit + 1;
  if (page.offset() > 0) {
    return tx.ExecOnce(sql.RowsFarOff(), sql.values(), wanted, page.offset());
  }
  if (page.by_cursor()) {
    return sql.prepared() ? tx.Exec(Statement::Kept(sql.Rows()), sql.values(), wanted)
                          : tx.ExecOnce(sql.Rows(), sql.values(), wanted);
  }
  const std::string text = sql.RowsAndTotal();
  return sql.prepared() ? tx.Exec(Statement::Kept(text), sql.values(), wanted, with_total)
                        : tx.ExecOnce(text, sql.values(), wanted, with_total);
}

}  // namespace

std::optional<int64_t> TotalCache::Find(const std::string& query) {
  const std::lock_guard lock(mutex_);
  const auto cached = totals_.find(query);
  if (cached == totals_.end() || cached->second.until < std::chrono::steady_clock::now()) {
    return std::nullopt;
  }
  return cached->second.total;
}

void TotalCache::Put(const std::string& query, int64_t total) {
  if (total < kWorthCaching) return;
  const std::lock_guard lock(mutex_);
  if (totals_.size() >= kMostCached) totals_.clear();
  totals_[query] = {total, std::chrono::steady_clock::now() + kCached};
}

Result<v1::ListProductsResponse> List(Tx& tx, const ProductFilter& filter,
                                      const std::vector<SortKey>& sort, const Page& page,
                                      TotalCache& totals) {
  if (page.by_cursor() && !AreSortValues(sort, page.after)) return InvalidCursor();
  const ListSql sql(filter, sort, page);
  std::optional<int64_t> total = page.by_cursor() ? 0 : totals.Find(page.fingerprint);

  const pqxx::result rows = ReadRows(tx, sql, page, !total);
  v1::ListProductsResponse response;
  AddItems(rows, page, &response);
  std::vector<std::string> next;
  if (std::ssize(rows) > page.limit) next = SortValues(sort, *response.items().rbegin());
  if (!total) total = page.TotalFrom(std::ssize(rows));
  if (!total) {
    total = rows.empty() || page.offset() > 0
                ? tx.ExecOnce(sql.Count(), sql.values())[0][0].as<int64_t>()
                : rows[0][kProductColumns].as<int64_t>();
    totals.Put(page.fingerprint, *total);
  }
  Describe(page, *total, next, &response);
  return response;
}

}  // namespace shop::products
