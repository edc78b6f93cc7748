// Products, one by one, with their SQL: reading, quoting, creating, changing and deleting them.
//
// Functions that take a Tx belong to the caller's transaction. A change records in it that the
// cached copy of the product is stale (cache_invalidations), and every change of stock is a row of
// the ledger. A deleted product is kept for the orders that name it, and nothing here finds it. The
// products carry no currency: the service adds it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "common/core/result.h"
#include "common/postgres/pool.h"
#include "shop/products/v1/products.pb.h"

namespace shop::products {

Refusal NoSuchProduct(int64_t id);

std::optional<v1::Product> Find(postgres::Tx& tx, int64_t id);

// What a product is offered for, and how many of it.
struct Offer {
  int64_t price = 0;  // minor units
  int64_t stock = 0;
};
// Locks the product until the end of the transaction.
std::optional<Offer> LockOffer(postgres::Tx& tx, int64_t id);

// Quotes for those of the ids that are in the catalogue.
v1::QuoteProductsResponse Quote(postgres::Tx& tx, const std::vector<int64_t>& ids);

// `by` is the user who does it, for the ledger of its stock.
v1::Product Insert(postgres::Tx& tx, const v1::CreateProductRequest& product,
                   std::optional<int64_t> seller_id, std::optional<int64_t> by = {});
// With an owner, only a product of theirs is found. If the request names versions, a product at
// another version is refused with VersionChanged(), and if it sets the stock also one at another
// stock version. Of two changes for one version, at the same time or not, one is made.
Result<v1::Product> Update(postgres::Tx& tx, const v1::UpdateProductRequest& change,
                           std::optional<int64_t> owner, std::optional<int64_t> by = {});
Result<void> Delete(postgres::Tx& tx, const v1::DeleteProductRequest& request,
                    std::optional<int64_t> owner);

// Calls `invalidate` with products whose cached copies are stale, those that have changed and those
// of which only stock moved, until none is left; each call is a transaction that forgets them once
// `invalidate` has returned. May name a product more than once, and in both lists. If `invalidate`
// throws, or the process dies, the next drain names them again.
using Invalidate =
    std::function<void(const std::vector<int64_t>& changed, const std::vector<int64_t>& sold)>;
void DrainInvalidations(postgres::Pool& db, const Invalidate& invalidate);

}  // namespace shop::products
