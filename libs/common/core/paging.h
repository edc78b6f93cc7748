// Pages of lists, by number or by cursor.
//
// A cursor says where the page before ended: the last row's values in the list's order. The next
// page is what comes after them, so none is repeated or left out while rows come and go, and a deep
// page costs what the first one does. It is opaque to clients, and of use for the query that gave
// it alone: it carries a fingerprint of the request. It is not signed: a client can make one up,
// and gets no further by it than by a page number. Whoever reads its values checks them.
//
// Deep pages go by cursor alone: kMostByNumber rows can be reached by number, and no more are
// counted.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/core/result.h"

namespace shop {

inline constexpr int64_t kMostByNumber = 10'000;

// The refusal of a cursor that this list has not given out.
Refusal InvalidCursor();

// A decimal number in a cursor.
std::optional<int64_t> CursorNumber(const std::string& value);

struct Page {
  int32_t limit = 20;
  int32_t number = 1;                   // counted from 1; of no meaning by cursor
  std::vector<std::string> after = {};  // the cursor's values; none by number
  std::string fingerprint = {};         // of the request but for what chooses the page

  bool by_cursor() const { return !after.empty(); }
  int64_t offset() const { return by_cursor() ? 0 : (int64_t{number} - 1) * limit; }
  // How many rows there are in all, where that is known of `rows` that were found from the offset
  // on when one more than the page holds was asked for.
  std::optional<int64_t> TotalFrom(int64_t rows) const;
};

// Of a request's number, limit and cursor; `query` is the rest of it. A cursor must have `values`
// values. Refuses, naming the field, a cursor of another query, one together with a number, and a
// number that is too deep.
Result<Page> MakePage(std::optional<int32_t> number, std::optional<int32_t> limit,
                      const std::string& cursor, const std::string& query, size_t values);
std::string MakeCursor(const Page& page, const std::vector<std::string>& values);

// The page that a request with page, limit and cursor asks for.
template <typename Request>
Result<Page> PageOf(const Request& request, size_t values) {
  Request query = request;
  query.clear_page();
  query.clear_limit();
  query.clear_cursor();
  return MakePage(request.has_page() ? std::optional(request.page()) : std::nullopt,
                  request.has_limit() ? std::optional(request.limit()) : std::nullopt,
                  request.cursor(), Request::descriptor()->full_name() + query.SerializeAsString(),
                  values);
}

// What a list answers beside its items. `next` are the last item's values, none at the end of the
// list; page and total are left out by cursor.
template <typename Response>
void Describe(const Page& page, int64_t total, const std::vector<std::string>& next,
              Response* response) {
  response->set_limit(page.limit);
  if (!next.empty()) response->set_next_cursor(MakeCursor(page, next));
  if (page.by_cursor()) return;
  response->set_page(page.number);
  response->set_total(total);
  response->set_total_pages(static_cast<int32_t>((total + page.limit - 1) / page.limit));
}

}  // namespace shop
