#include "products/products_service.h"

#include <absl/strings/ascii.h>

#include <algorithm>
#include <cctype>
#include <set>
#include <utility>

#include "common/core/amount.h"
#include "products/product_store.h"
#include "products/stock_store.h"

namespace shop::products {
namespace {

using postgres::InTransaction;
using postgres::Read;
using postgres::Tx;

// The user whose products the caller may change; nothing means everybody's.
std::optional<int64_t> OwnerFilter(const Caller& caller) {
  if (caller.is_admin()) return std::nullopt;
  return caller.user_id;
}

// Every byte beyond ASCII counts as part of a letter.
bool HasLetterOrDigit(const std::string& text) {
  return std::ranges::any_of(text,
                             [](unsigned char c) { return c >= 0x80 || std::isalnum(c) != 0; });
}

// As PostgreSQL writes UUIDs.
std::string Stored(const std::string& uuid) {
  return absl::AsciiStrToLower(uuid);
}

std::string Object(int64_t product) {
  return "product " + std::to_string(product);
}

// What of a change has to do with money and goods; sales change the stock too, but not here.
void RecordChange(Tx& tx, const Call& call, const Offer& before, const v1::Product& now) {
  if (before.price != now.price()) {
    audit::Record(tx, call,
                  {"PRICE_CHANGED",
                   Object(now.id()),
                   {{"from", AmountText(before.price)}, {"to", AmountText(now.price())}}});
  }
  if (before.stock != now.stock()) {
    audit::Record(tx, call,
                  {"STOCK_SET",
                   Object(now.id()),
                   {{"from", std::to_string(before.stock)}, {"to", std::to_string(now.stock())}}});
  }
}

Quantities QuantitiesOf(const google::protobuf::RepeatedPtrField<v1::ReserveLine>& lines) {
  Quantities quantities;
  for (const v1::ReserveLine& line : lines) quantities[line.product_id()] += line.quantity();
  return quantities;
}

}  // namespace

rpc::Service ProductsService::Methods() {
  return rpc::Service("shop.products.v1.ProductsService")
      .On("ListProducts", this, &ProductsService::ListProducts)
      .On("SearchProducts", this, &ProductsService::SearchProducts)
      .On("GetProduct", this, &ProductsService::GetProduct)
      .On("CreateProduct", this, &ProductsService::CreateProduct)
      .On("UpdateProduct", this, &ProductsService::UpdateProduct)
      .On("DeleteProduct", this, &ProductsService::DeleteProduct)
      .On("AdjustStock", this, &ProductsService::AdjustStock)
      .On("ListStockMovements", this, &ProductsService::ListStockMovements)
      .On("QuoteProducts", this, &ProductsService::QuoteProducts)
      .On("ReserveStock", this, &ProductsService::ReserveStock)
      .On("BatchReserveStock", this, &ProductsService::BatchReserveStock)
      .On("BatchCommitStock", this, &ProductsService::BatchCommitStock)
      .On("ReleaseStock", this, &ProductsService::ReleaseStock)
      .On("ReturnStock", this, &ProductsService::ReturnStock)
      .On("ListProductAudit", &audit_, &audit::Reader::ListAudit);
}

Result<v1::ListProductsResponse> ProductsService::ListProducts(
    const Call&, const v1::ListProductsRequest& request) {
  const Result<std::vector<SortKey>> sort = ParseSort(request.sort());
  if (!sort) return sort.refusal();

  ProductFilter filter;
  if (!request.category().empty()) filter.category = request.category();
  if (request.has_min_price()) filter.min_price = request.min_price();
  if (request.has_max_price()) filter.max_price = request.max_price();
  if (request.has_seller_id()) filter.seller_id = request.seller_id();
  filter.in_stock = request.in_stock();

  const Result<Page> page = PageOf(request, sort->size());
  if (!page) return page.refusal();
  return WithCurrency(Read(db_, [&](Tx& tx) { return List(tx, filter, *sort, *page, totals_); }));
}

Result<v1::ListProductsResponse> ProductsService::SearchProducts(
    const Call&, const v1::SearchProductsRequest& request) {
  if (!HasLetterOrDigit(request.q())) return InvalidField("q", "has no letter and no digit");
  const Result<Page> page = PageOf(request, kSearchCursorValues);
  if (!page) return page.refusal();
  return WithCurrency(
      Read(db_, [&](Tx& tx) { return Search(tx, request.q(), *page, common_words_); }));
}

Result<v1::Product> ProductsService::GetProduct(const Call&, const v1::GetProductRequest& request) {
  const ProductCache::Found cached = cache_.Find(request.id());
  v1::Product copy;
  if (cached.copy) {
    // Releases that had no stock versions cached copies without one.
    if (copy.ParseFromString(*cached.copy) && copy.stock_version() != 0) return copy;
    cache_.Remove({request.id()});
  }

  std::optional<v1::Product> found = Read(db_, [&](Tx& tx) { return Find(tx, request.id()); });
  if (!found) return NoSuchProduct(request.id());
  v1::Product product = WithCurrency(*std::move(found));
  cache_.Put(request.id(), cached.lease, product.SerializeAsString());
  return product;
}

Result<v1::Product> ProductsService::CreateProduct(const Call& call,
                                                   const v1::CreateProductRequest& request) {
  std::optional<int64_t> seller_id = OwnerFilter(call.caller);
  if (!seller_id && request.has_seller_id()) seller_id = request.seller_id();
  v1::Product product = InTransaction(db_, [&](Tx& tx) {
    v1::Product made = Insert(tx, request, seller_id, call.caller.user_id);
    audit::Record(tx, call,
                  {"PRODUCT_CREATED",
                   Object(made.id()),
                   {{"price", AmountText(made.price())}, {"stock", std::to_string(made.stock())}}});
    return made;
  });
  cache_.Remove({product.id()});  // for the lists that gateways have cached without it
  return WithCurrency(std::move(product));
}

Result<v1::Product> ProductsService::UpdateProduct(const Call& call,
                                                   const v1::UpdateProductRequest& request) {
  if (!request.images().empty() &&
      std::ranges::find(request.clear(), "images") != request.clear().end()) {
    return InvalidField("clear", "names images, which are sent too");
  }
  Result<v1::Product> product = InTransaction(db_, [&](Tx& tx) -> Result<v1::Product> {
    const std::optional<Offer> before = LockOffer(tx, request.id());
    Result<v1::Product> changed =
        Update(tx, request, OwnerFilter(call.caller), call.caller.user_id);
    if (changed) RecordChange(tx, call, *before, *changed);
    return changed;
  });
  if (!product) return product;
  cache_.Remove({request.id()});
  return WithCurrency(*std::move(product));
}

Result<google::protobuf::Empty> ProductsService::DeleteProduct(
    const Call& call, const v1::DeleteProductRequest& request) {
  const Result<void> deleted = InTransaction(db_, [&](Tx& tx) -> Result<void> {
    Result<void> gone = Delete(tx, request, OwnerFilter(call.caller));
    if (gone) audit::Record(tx, call, {"PRODUCT_DELETED", Object(request.id())});
    return gone;
  });
  if (!deleted) return deleted.refusal();
  cache_.Remove({request.id()});
  return google::protobuf::Empty();
}

Result<v1::AdjustStockResponse> ProductsService::AdjustStock(
    const Call& call, const v1::AdjustStockRequest& request) {
  Result<v1::AdjustStockResponse> adjusted =
      InTransaction(db_, [&](Tx& tx) -> Result<v1::AdjustStockResponse> {
        bool repeated = false;
        Result<v1::AdjustStockResponse> done =
            Adjust(tx, request, OwnerFilter(call.caller), call.caller.user_id, &repeated);
        if (done && !repeated) {
          audit::Record(tx, call,
                        {"STOCK_ADJUSTED",
                         Object(request.id()),
                         {{"delta", std::to_string(request.delta())},
                          {"reason", ReasonText(request.reason())}}});
        }
        return done;
      });
  if (adjusted) cache_.RemoveSold({request.id()});
  return adjusted;
}

Result<v1::ListStockMovementsResponse> ProductsService::ListStockMovements(
    const Call& call, const v1::ListStockMovementsRequest& request) {
  const Result<Page> page = PageOf(request, kMovementCursorValues);
  if (!page) return page.refusal();
  return Read(db_,
              [&](Tx& tx) { return Movements(tx, request.id(), OwnerFilter(call.caller), *page); });
}

Result<v1::QuoteProductsResponse> ProductsService::QuoteProducts(
    const Call&, const v1::QuoteProductsRequest& request) {
  return Read(db_, [&](Tx& tx) { return Quote(tx, {request.ids().begin(), request.ids().end()}); });
}

Result<v1::ReserveStockResponse> ProductsService::ReserveStock(
    const Call& call, const v1::ReserveStockRequest& request) {
  v1::BatchReserveStockRequest batch;
  *batch.add_requests() = request;
  Result<v1::BatchReserveStockResponse> decided = BatchReserveStock(call, batch);
  if (!decided) return decided.refusal();
  return std::move(*decided->mutable_responses(0));
}

Result<v1::BatchReserveStockResponse> ProductsService::BatchReserveStock(
    const Call&, const v1::BatchReserveStockRequest& request) {
  std::vector<StockOrder> orders;
  std::set<std::string> uuids;
  for (const v1::ReserveStockRequest& one : request.requests()) {
    StockOrder& order =
        orders.emplace_back(StockOrder{Stored(one.order_uuid()), one.order_id(), {}});
    if (!uuids.insert(order.uuid).second) {
      return InvalidField("requests[" + std::to_string(orders.size() - 1) + "].orderUuid",
                          "is in the batch twice");
    }
    order.quantities = QuantitiesOf(one.items());
  }
  const std::vector<StockDecision> decisions =
      InTransaction(db_, [&](Tx& tx) { return Reserve(tx, orders); });

  v1::BatchReserveStockResponse response;
  std::set<int64_t> sold;
  for (size_t i = 0; i < orders.size(); ++i) {
    v1::ReserveStockResponse* one = response.add_responses();
    one->set_reserved(decisions[i].reserved);
    for (const v1::Shortage& shortage : decisions[i].shortages) *one->add_shortages() = shortage;
    if (!one->reserved()) continue;
    for (const auto& [product, quantity] : orders[i].quantities) sold.insert(product);
  }
  if (!sold.empty()) cache_.RemoveSold({sold.begin(), sold.end()});
  return response;
}

Result<v1::BatchCommitStockResponse> ProductsService::BatchCommitStock(
    const Call&, const v1::BatchCommitStockRequest& request) {
  std::vector<std::string> orders;
  for (const v1::CommitStockRequest& one : request.requests()) {
    orders.push_back(Stored(one.order_uuid()));
  }
  // Copies stay as they are: what can be bought does not change.
  v1::BatchCommitStockResponse response;
  for (const bool committed : InTransaction(db_, [&](Tx& tx) { return Commit(tx, orders); })) {
    response.add_responses()->set_committed(committed);
  }
  return response;
}

Result<v1::ReleaseStockResponse> ProductsService::ReleaseStock(
    const Call&, const v1::ReleaseStockRequest& request) {
  const ReleaseOutcome outcome = InTransaction(
      db_, [&](Tx& tx) { return Release(tx, Stored(request.order_uuid()), request.order_id()); });
  if (!outcome.products.empty()) cache_.RemoveSold(outcome.products);
  v1::ReleaseStockResponse response;
  response.set_released(outcome.released);
  return response;
}

Result<v1::ReturnStockResponse> ProductsService::ReturnStock(
    const Call&, const v1::ReturnStockRequest& request) {
  const ReturnOutcome outcome = InTransaction(db_, [&](Tx& tx) {
    return Return(tx, Stored(request.order_uuid()), Stored(request.return_uuid()),
                  QuantitiesOf(request.items()));
  });
  if (!outcome.products.empty()) cache_.RemoveSold(outcome.products);
  v1::ReturnStockResponse response;
  response.set_pieces(outcome.pieces);
  return response;
}

v1::Product ProductsService::WithCurrency(v1::Product product) const {
  product.set_currency(currency_);
  return product;
}

Result<v1::ListProductsResponse> ProductsService::WithCurrency(
    Result<v1::ListProductsResponse> list) const {
  if (!list) return list;
  for (v1::Product& product : *list->mutable_items()) product.set_currency(currency_);
  return list;
}

}  // namespace shop::products
