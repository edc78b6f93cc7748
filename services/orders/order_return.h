// What may be returned of an order, and how a return is decided. No SQL, no clock.
#pragma once

#include <google/protobuf/repeated_field.h>

#include <vector>

#include "common/core/result.h"
#include "orders/order.h"
#include "shop/orders/v1/returns.pb.h"

namespace shop::orders {

using OrderItems = google::protobuf::RepeatedPtrField<v1::OrderItem>;

// The requested lines with the names and prices of the order, one product at most once.
//   FAILED_PRECONDITION NOT_DELIVERED       the order has not been delivered
//   INVALID_ARGUMENT                        a product that is not in the order
//   FAILED_PRECONDITION TOO_MUCH_RETURNED   more of a product than `bought` less what `asked` has of
//                                           it: all that was asked for before and not rejected
Result<OrderItems> CheckReturn(v1::OrderStatus status, const OrderItems& bought,
                               const std::vector<Line>& asked,
                               const google::protobuf::RepeatedPtrField<v1::OrderLine>& requested);

// Whether a return in the status `from` is to become `to`: ACCEPTED or REJECTED. False when it is that
// already; FAILED_PRECONDITION ILLEGAL_MOVE when it was decided otherwise.
Result<bool> CheckDecision(v1::ReturnStatus from, v1::ReturnStatus to);

}  // namespace shop::orders
