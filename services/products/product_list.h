// Lists of the catalogue by filter and order, with their SQL.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/core/paging.h"
#include "common/core/result.h"
#include "common/postgres/pool.h"
#include "products/product_sort.h"
#include "shop/products/v1/products.pb.h"

namespace shop::products {

struct ProductFilter {
  std::optional<std::string> category = {};
  std::optional<int64_t> min_price = {};
  std::optional<int64_t> max_price = {};
  std::optional<int64_t> seller_id = {};
  bool in_stock = false;
};

// Large totals, which are slow to count, for ten seconds each. Thread-safe.
class TotalCache {
 public:
  // By the fingerprint of a query.
  std::optional<int64_t> Find(const std::string& query);
  // Totals below a thousand are not cached: they are quick to count.
  void Put(const std::string& query, int64_t total);

 private:
  struct Cached {
    int64_t total;
    std::chrono::steady_clock::time_point until;
  };

  std::mutex mutex_;
  std::unordered_map<std::string, Cached> totals_;
};

// The products that pass the filter, in the order of `sort`, which ParseSort made. The total may be
// one from `totals`. Refuses a cursor that no list of this order has given out.
Result<v1::ListProductsResponse> List(postgres::Tx& tx, const ProductFilter& filter,
                                      const std::vector<SortKey>& sort, const Page& page,
                                      TotalCache& totals);

}  // namespace shop::products
