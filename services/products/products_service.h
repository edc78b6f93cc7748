// The gRPC edge of products: shop.products.v1.ProductsService, one method an rpc.
#pragma once

#include <google/protobuf/empty.pb.h>

#include "common/core/result.h"
#include "common/postgres/pool.h"
#include "common/rpc/service.h"
#include "products/product_cache.h"
#include "products/product_store.h"
#include "shop/products/v1/products.pb.h"

namespace shop::products {

class ProductsService {
 public:
  ProductsService(postgres::Pool& db, ProductStore& store, ProductCache& cache)
      : db_(db), store_(store), cache_(cache) {}

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
  Result<v1::ReleaseStockResponse> ReleaseStock(const Call& call,
                                                const v1::ReleaseStockRequest& request);

 private:
  postgres::Pool& db_;
  ProductStore& store_;
  ProductCache& cache_;
};

}  // namespace shop::products
