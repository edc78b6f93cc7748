// Full-text search of the catalogue, with its SQL.
#pragma once

#include <chrono>
#include <mutex>
#include <optional>
#include <string>

#include "common/core/paging.h"
#include "common/core/result.h"
#include "common/postgres/pool.h"
#include "shop/products/v1/products.pb.h"

namespace shop::products {

// How many values the cursor of a search has.
inline constexpr size_t kSearchCursorValues = 3;

// The words that so many products have that the index of words is the slower way to a thousand of them;
// read from the statistics of the last ANALYZE, and kept for ten minutes. Thread-safe.
class CommonWords {
 public:
  // As arrays of tsquery; nothing where there is none.
  struct Words {
    std::optional<std::string> in_names = {};
    std::optional<std::string> in_all = {};
  };
  Words Find(postgres::Tx& tx);

 private:
  std::mutex mutex_;
  Words words_;
  std::chrono::steady_clock::time_point until_{};
};

// Best match first: words in the name count more than in the category, and those more than in the
// description. Where no product has all of the words, the known words of names that are most like
// them are searched for, all of them and then any. Ranks at most a thousand matches by name and a
// thousand by all words; the total counts those. Refuses a cursor that no search has given out.
Result<v1::ListProductsResponse> Search(postgres::Tx& tx, const std::string& text, const Page& page,
                                        CommonWords& common_words);

}  // namespace shop::products
