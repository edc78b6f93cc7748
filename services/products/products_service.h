// The gRPC edge of products: shop.products.v1.ProductsService, one method for each rpc. Thread-safe.
#pragma once

#include <google/protobuf/empty.pb.h>

#include <string>
#include <utility>

#include "common/audit/audit.h"
#include "common/core/result.h"
#include "common/postgres/pool.h"
#include "common/rpc/service.h"
#include "products/product_cache.h"
#include "products/product_list.h"
#include "products/product_search.h"
#include "shop/products/v1/products.pb.h"

namespace shop::products {

class ProductsService {
 public:
  // `currency` is that of every price. The pool and the cache must outlive the service.
  ProductsService(postgres::Pool& db, ProductCache& cache, std::string currency)
      : db_(db), cache_(cache), currency_(std::move(currency)) {}

  rpc::Service Methods();

  Result<v1::ListProductsResponse> ListProducts(const Call& call,
                                                const v1::ListProductsRequest& request);
  Result<v1::ListProductsResponse> SearchProducts(const Call& call,
                                                  const v1::SearchProductsRequest& request);
  Result<v1::Product> GetProduct(const Call& call, const v1::GetProductRequest& request);
  Result<v1::Product> CreateProduct(const Call& call, const v1::CreateProductRequest& request);
  Result<v1::Product> UpdateProduct(const Call& call, const v1::UpdateProductRequest& request);
  Result<google::protobuf::Empty> DeleteProduct(const Call& call,
                                                const v1::DeleteProductRequest& request);
  Result<v1::AdjustStockResponse> AdjustStock(const Call& call,
                                              const v1::AdjustStockRequest& request);
  Result<v1::ListStockMovementsResponse> ListStockMovements(
      const Call& call, const v1::ListStockMovementsRequest& request);
  Result<v1::QuoteProductsResponse> QuoteProducts(const Call& call,
                                                  const v1::QuoteProductsRequest& request);
  Result<v1::ReserveStockResponse> ReserveStock(const Call& call,
                                                const v1::ReserveStockRequest& request);
  Result<v1::BatchReserveStockResponse> BatchReserveStock(
      const Call& call, const v1::BatchReserveStockRequest& request);
  Result<v1::BatchCommitStockResponse> BatchCommitStock(const Call& call,
                                                        const v1::BatchCommitStockRequest& request);
  Result<v1::ReleaseStockResponse> ReleaseStock(const Call& call,
                                                const v1::ReleaseStockRequest& request);
  Result<v1::ReturnStockResponse> ReturnStock(const Call& call,
                                              const v1::ReturnStockRequest& request);

 private:
  v1::Product WithCurrency(v1::Product product) const;
  Result<v1::ListProductsResponse> WithCurrency(Result<v1::ListProductsResponse> list) const;

  postgres::Pool& db_;
  audit::Reader audit_{db_};
  ProductCache& cache_;
  TotalCache totals_;
  CommonWords common_words_;
  const std::string currency_;
};

}  // namespace shop::products
