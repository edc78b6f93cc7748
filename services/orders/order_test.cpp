#include "orders/order.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <set>

namespace shop::orders {
namespace {

using google::protobuf::RepeatedPtrField;
using testing::ElementsAre;
using testing::FieldsAre;

RepeatedPtrField<v1::OrderLine> Lines(std::vector<std::pair<int64_t, int64_t>> lines) {
  RepeatedPtrField<v1::OrderLine> made;
  for (const auto& [product, quantity] : lines) {
    v1::OrderLine* line = made.Add();
    line->set_product_id(product);
    line->set_quantity(quantity);
  }
  return made;
}

std::unordered_map<int64_t, products::v1::Quote> Quotes(
    const std::vector<std::pair<int64_t, int64_t>>& prices) {
  std::unordered_map<int64_t, products::v1::Quote> made;
  for (const auto& [product, price] : prices) {
    products::v1::Quote& quote = made[product];
    quote.set_product_id(product);
    quote.set_name("Product " + std::to_string(product));
    quote.set_price(price);
  }
  return made;
}

TEST(OrderStatus, FollowsFromTheFacts) {
  using enum StockFact;
  EXPECT_EQ(StatusOf({}), v1::ORDER_STATUS_PENDING);
  EXPECT_EQ(StatusOf({.stock = kReserved}), v1::ORDER_STATUS_PENDING);
  EXPECT_EQ(StatusOf({.stock = kReserved, .payment = PaymentFact::kCompleted}),
            v1::ORDER_STATUS_PROCESSING);
  EXPECT_EQ(StatusOf({.stock = kRejected}), v1::ORDER_STATUS_CANCELLED);
  EXPECT_EQ(StatusOf({.payment = PaymentFact::kFailed}), v1::ORDER_STATUS_CANCELLED);
  EXPECT_EQ(StatusOf({.stock = kReserved,
                      .payment = PaymentFact::kCompleted,
                      .cancel = CancelFact::kRequested}),
            v1::ORDER_STATUS_PROCESSING);
  EXPECT_EQ(
      StatusOf(
          {.stock = kReserved, .payment = PaymentFact::kCompleted, .cancel = CancelFact::kDecided}),
      v1::ORDER_STATUS_CANCELLED);
}

template <typename Enum>
void ExpectReadAsWritten(std::initializer_list<Enum> facts) {
  for (const Enum fact : facts) EXPECT_EQ(ParseFact<Enum>(FactText(fact)), fact);
  EXPECT_THROW((void)ParseFact<Enum>("SOLD"), std::runtime_error);
}

TEST(Fact, IsReadAsItIsWritten) {
  ExpectReadAsWritten({StockFact::kNone, StockFact::kReserved, StockFact::kRejected});
  ExpectReadAsWritten(
      {PaymentFact::kNone, PaymentFact::kNotDue, PaymentFact::kCompleted, PaymentFact::kFailed});
  ExpectReadAsWritten({ShipmentFact::kNone, ShipmentFact::kDispatched, ShipmentFact::kDelivered});
  ExpectReadAsWritten(
      {CancelFact::kNone, CancelFact::kRequested, CancelFact::kRefused, CancelFact::kDecided});
  ExpectReadAsWritten(
      {CancelledBy::kNobody, CancelledBy::kCustomer, CancelledBy::kShop, CancelledBy::kDeadline});
}

TEST(MergeLines, AddsUpAProductThatIsNamedTwice) {
  const auto merged = MergeLines(Lines({{7, 2}, {8, 1}, {7, 3}}));
  ASSERT_TRUE(merged);
  EXPECT_THAT(*merged, ElementsAre(FieldsAre(7, 5), FieldsAre(8, 1)));
}

TEST(MergeLines, RefusesNoLines) {
  const auto merged = MergeLines({});
  ASSERT_FALSE(merged);
  EXPECT_EQ(merged.refusal().code, Code::kInvalidArgument);
  EXPECT_EQ(merged.refusal().details.at(0).field, "items");
}

TEST(MergeLines, RefusesASumThatNoSingleLineCouldHold) {
  const auto merged = MergeLines(Lines({{7, 600}, {7, 600}}));
  ASSERT_FALSE(merged);
  EXPECT_EQ(merged.refusal().details.at(0).field, "items[1].quantity");
}

TEST(Price, TakesNameAndPriceFromTheQuoteAndAddsUpExactly) {
  const auto priced = Price({{7, 3}, {8, 1}}, Quotes({{8, 1}, {7, 1999}}));
  ASSERT_TRUE(priced);
  EXPECT_EQ(priced->total_price, 5998);
  EXPECT_EQ(priced->items.at(0).name(), "Product 7");
  EXPECT_EQ(priced->items.at(0).total_price(), 5997);
}

TEST(Price, NamesEveryProductThatIsNotInTheCatalogue) {
  const auto priced = Price({{7, 1}, {8, 1}, {9, 1}}, Quotes({{8, 100}}));
  ASSERT_FALSE(priced);
  EXPECT_EQ(priced.refusal().code, Code::kNotFound);
  ASSERT_EQ(priced.refusal().details.size(), 2u);
  EXPECT_EQ(priced.refusal().details[0].field, "items[0].productId");
  EXPECT_EQ(priced.refusal().details[1].field, "items[2].productId");
}

TEST(Price, RefusesATotalBeyondWhatAnOrderMayCost) {
  const auto priced = Price({{7, 1000}}, Quotes({{7, 9'000'000'000'000'000}}));
  ASSERT_FALSE(priced);
  EXPECT_EQ(priced.refusal().code, Code::kInvalidArgument);
}

TEST(OrderLimits, ATotalIsNotPassed) {
  EXPECT_TRUE(CheckSize(10'000, {.total = 10'000}));
  const auto large = CheckSize(10'001, {.total = 10'000});
  ASSERT_FALSE(large);
  EXPECT_EQ(large.refusal().message,
            "the total is 100.01, more than the 100.00 that an order may have");
}

TEST(CheckTotal, NamesBothTotalsWhenTheyDiffer) {
  EXPECT_TRUE(CheckTotal(3998, 3998));
  const auto checked = CheckTotal(4005, 3998);
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.refusal().code, Code::kFailedPrecondition);
  EXPECT_EQ(checked.refusal().reason, "TOTAL_CHANGED");
  ASSERT_EQ(checked.refusal().details.size(), 2u);
  EXPECT_EQ(checked.refusal().details[0].field, "expectedTotal");
  EXPECT_EQ(checked.refusal().details[0].message, "40.05");
  EXPECT_EQ(checked.refusal().details[1].field, "totalPrice");
  EXPECT_EQ(checked.refusal().details[1].message, "39.98");
}

TEST(OrderNumber, IsTheSameForEver) {
  EXPECT_EQ(OrderNumber(1), "AVWG-9W58");
  EXPECT_EQ(OrderNumber(2), "AHVJ-8F75");
  EXPECT_EQ(OrderNumber(1'000'000'000), "257V-80GZ");
}

TEST(OrderNumber, NamesOneOrder) {
  std::set<std::string> numbers;
  for (int64_t id = 1; id <= 20'000; ++id) {
    const std::string number = OrderNumber(id);
    EXPECT_EQ(OrderOfNumber(number), id);
    numbers.insert(number);
  }
  EXPECT_EQ(numbers.size(), 20'000u);
  const int64_t last = (int64_t{1} << 40) - 1;
  EXPECT_EQ(OrderOfNumber(OrderNumber(last)), last);
}

TEST(OrderNumber, IsReadAsPeopleWriteIt) {
  const std::string number = OrderNumber(42);
  std::string lower = number;
  std::ranges::transform(lower, lower.begin(), [](char c) { return std::tolower(c); });
  EXPECT_EQ(OrderOfNumber(lower), 42);
  EXPECT_EQ(OrderOfNumber(number.substr(0, 4) + number.substr(5)), 42);
  EXPECT_EQ(OrderOfNumber("OIL0-0000"), OrderOfNumber("0110-0000"));
}

TEST(OrderNumber, IsNotReadFromAnythingElse) {
  for (const char* text : {"", "7K3M", "7K3M-9QXDD", "UUUU-UUUU", "7K3M-9Q\xc3\xa4"}) {
    EXPECT_FALSE(OrderOfNumber(text)) << text;
  }
}

TEST(RejectionReason, NamesWhatWasShort) {
  RepeatedPtrField<products::v1::Shortage> shortages;
  products::v1::Shortage* shortage = shortages.Add();
  shortage->set_product_id(7);
  shortage->set_requested(2);
  shortage->set_available(1);
  EXPECT_EQ(RejectionReason(shortages), "not enough stock: 2 of product 7 wanted, 1 left");
}

}  // namespace
}  // namespace shop::orders
