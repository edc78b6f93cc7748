#include "orders/order_return.h"

#include <algorithm>

#include "common/json/codec.h"

namespace shop::orders {
namespace {

std::string FieldOf(int line, const char* name) {
  return "items[" + std::to_string(line) + "]." + name;
}

}  // namespace

Result<OrderItems> CheckReturn(v1::OrderStatus status, const OrderItems& bought,
                               const std::vector<Line>& asked,
                               const google::protobuf::RepeatedPtrField<v1::OrderLine>& requested) {
  if (status != v1::ORDER_STATUS_DELIVERED) {
    return Refusal{.code = Code::kFailedPrecondition,
                   .message = "only what was delivered can be returned",
                   .reason = "NOT_DELIVERED"};
  }
  OrderItems items;
  for (int i = 0; i < requested.size(); ++i) {
    const int64_t product = requested[i].product_id();
    const auto line = std::ranges::find(bought, product, &v1::OrderItem::product_id);
    if (line == bought.end()) return InvalidField(FieldOf(i, "productId"), "is not in the order");

    auto item = std::ranges::find(items, product, &v1::OrderItem::product_id);
    if (item == items.end()) {
      *items.Add() = *line;
      item = items.end() - 1;
      item->set_quantity(0);
    }
    item->set_quantity(item->quantity() + requested[i].quantity());
    item->set_total_price(item->quantity() * item->unit_price());

    int64_t left = line->quantity();
    for (const Line& before : asked) {
      if (before.product_id == product) left -= before.quantity;
    }
    if (item->quantity() > left) {
      return Refusal{.code = Code::kFailedPrecondition,
                     .message = "more than can still be returned",
                     .details = {{FieldOf(i, "quantity"),
                                  "only " + std::to_string(left) + " can still be returned"}},
                     .reason = "TOO_MUCH_RETURNED"};
    }
  }
  return items;
}

Result<bool> CheckDecision(v1::ReturnStatus from, v1::ReturnStatus to) {
  if (from == to) return false;
  if (from == v1::RETURN_STATUS_REQUESTED) return true;
  const auto* value = v1::ReturnStatus_descriptor()->FindValueByNumber(from);
  return Refusal{.code = Code::kFailedPrecondition,
                 .message = "the return is " + std::string(json::BareName(value)),
                 .reason = "ILLEGAL_MOVE"};
}

}  // namespace shop::orders
