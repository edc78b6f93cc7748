#include "common/quotes/quotes.h"

#include <algorithm>
#include <set>
#include <utility>

namespace shop {
namespace {

// One slow call does not hold up the others.
constexpr int kAtOnce = 2;
constexpr size_t kMostTogether = 64;
// What QuoteProducts takes.
constexpr size_t kMostIds = 1000;

}  // namespace

QuoteClient::QuoteClient(const rpc::Channel& products)
    : quote_(products, "shop.products.v1.ProductsService", "QuoteProducts"),
      questions_(kAtOnce, kMostTogether,
                 [this](const std::vector<Question*>& batch) { AskTogether(batch); }) {}

Result<SharedQuotes> QuoteClient::Get(const Call& call, const std::vector<int64_t>& ids) {
  Question question{call, ids};
  (void)questions_.Do(question);
  if (question.fault) std::rethrow_exception(question.fault);
  if (question.answer) return *std::move(question.answer);
  return Ask(call, ids);
}

void QuoteClient::AskTogether(const std::vector<Question*>& batch) const {
  Question& first = *batch.front();
  if (batch.size() == 1) {
    try {
      first.answer = Ask(first.call, first.ids);
    } catch (...) {
      first.fault = std::current_exception();
    }
    return;
  }
  std::set<int64_t> ids;
  for (const Question* question : batch) ids.insert(question->ids.begin(), question->ids.end());
  const Result<SharedQuotes> answer = Ask(first.call, {ids.begin(), ids.end()});
  if (!answer) return;
  for (Question* question : batch) question->answer = answer;
}

Result<SharedQuotes> QuoteClient::Ask(const Call& call, const std::vector<int64_t>& ids) const {
  auto quotes = std::make_shared<Quotes>();
  for (size_t begin = 0; begin < ids.size(); begin += kMostIds) {
    products::v1::QuoteProductsRequest request;
    request.mutable_ids()->Assign(ids.begin() + begin,
                                  ids.begin() + std::min(begin + kMostIds, ids.size()));
    Result<products::v1::QuoteProductsResponse> part = quote_(call, request);
    if (!part) return part.refusal();
    for (products::v1::Quote& quote : *part->mutable_items()) {
      const int64_t product = quote.product_id();
      quotes->emplace(product, std::move(quote));
    }
  }
  return SharedQuotes(std::move(quotes));
}

}  // namespace shop
