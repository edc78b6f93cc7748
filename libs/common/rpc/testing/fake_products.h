// A products service for tests of the wrapper around handlers.
#pragma once

#include <functional>
#include <vector>

#include "common/auth/access_token.h"
#include "common/core/result.h"
#include "common/rpc/call.h"
#include "common/rpc/service.h"
#include "shop/products/v1/products.pb.h"

namespace shop::rpc {

inline std::vector<auth::PublicKey> NoKeys() {
  return {};
}

// A service of which each test decides what it does.
class FakeProducts {
 public:
  std::function<Result<products::v1::Product>(const Call&, const products::v1::GetProductRequest&)>
      get = [](const Call&, const products::v1::GetProductRequest& request) {
        products::v1::Product product;
        product.set_id(request.id());
        return product;
      };

  Service Methods() {
    return Service("shop.products.v1.ProductsService")
        .On("GetProduct", this, &FakeProducts::GetProduct)
        .On("ReserveStock", this, &FakeProducts::ReserveStock);
  }
  Result<products::v1::Product> GetProduct(const Call& call,
                                           const products::v1::GetProductRequest& request) {
    return get(call, request);
  }
  Result<products::v1::ReserveStockResponse> ReserveStock(
      const Call&, const products::v1::ReserveStockRequest&) {
    return products::v1::ReserveStockResponse();
  }
};

inline products::v1::GetProductRequest Product7() {
  products::v1::GetProductRequest request;
  request.set_id(7);
  return request;
}

// Which stock alone may ask for.
inline products::v1::ReserveStockRequest Reservation() {
  products::v1::ReserveStockRequest request;
  request.set_order_uuid("00000000-0000-4000-8000-000000000001");
  request.set_order_id(1);
  products::v1::ReserveLine* line = request.add_items();
  line->set_product_id(1);
  line->set_quantity(1);
  return request;
}

}  // namespace shop::rpc
