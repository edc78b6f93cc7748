// What the service products asks for its products now: name, price, stock and seller.
//
//   QuoteClient quotes(products);
//   const Result<SharedQuotes> found = quotes.Get(call, {31, 12});
//   if (!found) return found.refusal();
//   const auto mug = (*found)->find(31);  // end() where there is no such product
//
// Those who ask at the same moment share a call of QuoteProducts (common/core/batcher.h). It is sent after the last of them
// has come, so nobody gets a price from before the question, and nobody waits for others to come.
#pragma once

#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "common/core/batcher.h"
#include "common/rpc/client.h"
#include "shop/products/v1/products.pb.h"

namespace shop {

// By product. Those that are not in the catalogue have none.
using Quotes = std::unordered_map<int64_t, products::v1::Quote>;
using SharedQuotes = std::shared_ptr<const Quotes>;

// Thread-safe.
class QuoteClient {
 public:
  // The channel must outlive the client.
  explicit QuoteClient(const rpc::Channel& products);

  // The quotes for these products, among those that others have asked for with it. Where a shared call fails each calls by
  // itself, and gets the refusal or exception of its own call (common/rpc/client.h). It only reads, so it may be repeated.
  Result<SharedQuotes> Get(const Call& call, const std::vector<int64_t>& ids);

  // How many wait for a call that has not begun.
  size_t waiting() const { return questions_.waiting(); }

 private:
  struct Question {
    const Call& call;
    const std::vector<int64_t>& ids;
    std::optional<Result<SharedQuotes>> answer = {};  // none where a shared call has failed
    std::exception_ptr fault = {};                    // of a call that was for this one alone
  };

  Result<SharedQuotes> Ask(const Call& call, const std::vector<int64_t>& ids) const;
  void AskTogether(const std::vector<Question*>& batch) const;

  rpc::ClientMethod<products::v1::QuoteProductsRequest, products::v1::QuoteProductsResponse> quote_;
  Batcher<Question> questions_;
};

}  // namespace shop
