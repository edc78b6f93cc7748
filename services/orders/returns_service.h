// The rpcs of shop.orders.v1.ReturnsService.
#pragma once

#include <string>

#include "common/postgres/pool.h"
#include "common/rpc/client.h"
#include "common/rpc/service.h"
#include "orders/order_store.h"
#include "orders/return_store.h"
#include "shop/orders/v1/returns.pb.h"
#include "shop/products/v1/products.pb.h"

namespace shop::orders {

class ReturnsService {
 public:
  ReturnsService(postgres::Pool& db, const rpc::Channel& products, const Deadlines& deadlines);

  rpc::Service Methods();

  Result<v1::Return> RequestReturn(const Call& call, const v1::RequestReturnRequest& request);
  Result<v1::ListReturnsResponse> ListReturns(const Call& call,
                                              const v1::ListReturnsRequest& request);
  Result<v1::Return> AcceptReturn(const Call& call, const v1::AcceptReturnRequest& request);
  Result<v1::Return> RejectReturn(const Call& call, const v1::RejectReturnRequest& request);

 private:
  struct Decision {
    v1::ReturnStatus status;
    std::string rejection = {};
  };
  Result<v1::Return> Decide(const Call& call, int64_t order_id, int64_t return_id,
                            const Decision& decision);
  Result<bool> MayDecide(const Call& call, const v1::Return& asked) const;
  Result<void> Note(postgres::Tx& tx, const Call& call, int64_t order_id, const Noted& noted,
                    CancelledBy by) const;

  postgres::Pool& db_;
  const Deadlines deadlines_;
  rpc::ClientMethod<products::v1::QuoteProductsRequest, products::v1::QuoteProductsResponse> quote_;
};

}  // namespace shop::orders
