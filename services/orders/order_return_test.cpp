#include "orders/order_return.h"

#include <gmock/gmock.h>

namespace shop::orders {
namespace {

// Two mice at 19.99 and five pencils at 0.50.
OrderItems Bought() {
  OrderItems items;
  const auto add = [&](int64_t id, const char* name, int64_t quantity, int64_t price) {
    v1::OrderItem& item = *items.Add();
    item.set_product_id(id);
    item.set_name(name);
    item.set_quantity(quantity);
    item.set_unit_price(price);
    item.set_total_price(quantity * price);
  };
  add(1, "Mouse", 2, 1999);
  add(2, "Pencil", 5, 50);
  return items;
}

Result<OrderItems> Check(const std::vector<Line>& requested, const std::vector<Line>& asked = {},
                         v1::OrderStatus status = v1::ORDER_STATUS_DELIVERED) {
  google::protobuf::RepeatedPtrField<v1::OrderLine> lines;
  for (const Line& line : requested) {
    v1::OrderLine& added = *lines.Add();
    added.set_product_id(line.product_id);
    added.set_quantity(line.quantity);
  }
  return CheckReturn(status, Bought(), asked, lines);
}

TEST(CheckReturn, GivesTheNamesAndPricesOfTheOrder) {
  const Result<OrderItems> items = Check({{2, 3}, {1, 1}});
  ASSERT_TRUE(items);
  ASSERT_EQ(items->size(), 2);
  EXPECT_EQ((*items)[0].ShortDebugString(),
            R"(product_id: 2 name: "Pencil" quantity: 3 unit_price: 50 total_price: 150)");
  EXPECT_EQ((*items)[1].total_price(), 1999);
}

TEST(CheckReturn, MergesLinesOfOneProduct) {
  const Result<OrderItems> items = Check({{1, 1}, {2, 1}, {1, 1}});
  ASSERT_TRUE(items);
  ASSERT_EQ(items->size(), 2);
  EXPECT_EQ((*items)[0].quantity(), 2);
  EXPECT_EQ((*items)[0].total_price(), 3998);
}

TEST(CheckReturn, OnlyOfWhatWasDelivered) {
  for (const auto status : {v1::ORDER_STATUS_PENDING, v1::ORDER_STATUS_PROCESSING,
                            v1::ORDER_STATUS_SHIPPED, v1::ORDER_STATUS_CANCELLED}) {
    const Result<OrderItems> items = Check({{1, 1}}, {}, status);
    ASSERT_FALSE(items) << status;
    EXPECT_EQ(items.refusal().code, Code::kFailedPrecondition);
    EXPECT_EQ(items.refusal().reason, "NOT_DELIVERED");
  }
}

TEST(CheckReturn, NamesAProductThatIsNotInTheOrder) {
  const Result<OrderItems> items = Check({{1, 1}, {9, 1}});
  ASSERT_FALSE(items);
  EXPECT_EQ(items.refusal().code, Code::kInvalidArgument);
  EXPECT_EQ(items.refusal().details.at(0).field, "items[1].productId");
}

TEST(CheckReturn, NoMoreThanWasBoughtLessWhatWasAskedForBefore) {
  EXPECT_TRUE(Check({{1, 2}}));
  EXPECT_TRUE(Check({{1, 1}}, {{1, 1}, {2, 5}}));
  for (const Result<OrderItems>& items :
       {Check({{1, 3}}), Check({{1, 2}}, {{1, 1}}), Check({{1, 1}}, {{1, 1}, {1, 1}}),
        Check({{1, 1}, {1, 1}, {1, 1}})}) {
    ASSERT_FALSE(items);
    EXPECT_EQ(items.refusal().code, Code::kFailedPrecondition);
    EXPECT_EQ(items.refusal().reason, "TOO_MUCH_RETURNED");
  }
  EXPECT_EQ(Check({{2, 5}, {1, 2}}, {{1, 1}}).refusal().details.at(0).field, "items[1].quantity");
}

TEST(CheckDecision, OfEveryPairOfStatuses) {
  const auto says = [](v1::ReturnStatus from, v1::ReturnStatus to) {
    const Result<bool> moves = CheckDecision(from, to);
    return !moves ? moves.refusal().reason : *moves ? "moves" : "stays";
  };
  EXPECT_EQ(says(v1::RETURN_STATUS_REQUESTED, v1::RETURN_STATUS_ACCEPTED), "moves");
  EXPECT_EQ(says(v1::RETURN_STATUS_REQUESTED, v1::RETURN_STATUS_REJECTED), "moves");
  EXPECT_EQ(says(v1::RETURN_STATUS_ACCEPTED, v1::RETURN_STATUS_ACCEPTED), "stays");
  EXPECT_EQ(says(v1::RETURN_STATUS_REJECTED, v1::RETURN_STATUS_REJECTED), "stays");
  EXPECT_EQ(says(v1::RETURN_STATUS_ACCEPTED, v1::RETURN_STATUS_REJECTED), "ILLEGAL_MOVE");
  EXPECT_EQ(says(v1::RETURN_STATUS_REJECTED, v1::RETURN_STATUS_ACCEPTED), "ILLEGAL_MOVE");
}

}  // namespace
}  // namespace shop::orders
