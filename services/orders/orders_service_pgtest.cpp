// The rpcs by which orders are placed and read, and what becomes of carts.
#include <google/protobuf/util/time_util.h>

#include "orders/testing/orders_test.h"

namespace shop::orders {
namespace {

TEST_F(OrdersServiceTest, AnOrderHasTheNamesAndPricesOfTheMomentItWasPlaced) {
  v1::CreateOrderRequest request = Of(1, 2);
  request.mutable_shipping_address()->set_city("Málaga");
  const Result<v1::Order> placed = service_.CreateOrder(As(7), request);
  ASSERT_TRUE(placed) << placed.refusal().message;
  const v1::Order order = Get(placed->id());
  EXPECT_EQ(order.SerializeAsString(), placed->SerializeAsString());
  EXPECT_EQ(order.status(), v1::ORDER_STATUS_PENDING);
  EXPECT_EQ(order.total_price(), 3998);
  EXPECT_EQ(order.items(0).name(), "Desk lamp \"Ada\", {black}");
  EXPECT_EQ(order.shipping_address().city(), "Málaga");
  EXPECT_EQ(order.payment_method(), v1::PAYMENT_METHOD_CREDIT_CARD);
}

TEST_F(OrdersServiceTest, TheUuidBeginsWithTheTimeAtWhichTheOrderWasPlaced) {
  const v1::Order order = Place(7);
  const std::string& uuid = order.uuid();
  EXPECT_THAT(uuid, ::testing::MatchesRegex(
                        "[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"));
  const int64_t time = std::stoll(uuid.substr(0, 8) + uuid.substr(9, 4), nullptr, 16);
  const int64_t placed =
      google::protobuf::util::TimeUtil::TimestampToMilliseconds(order.created_at());
  EXPECT_NEAR(static_cast<double>(time), static_cast<double>(placed), 60'000);
}

TEST_F(OrdersServiceTest, PlacingAnOrderPublishesItOnce) {
  Place(7);
  EXPECT_THAT(Published(), ElementsAre("ORDER_CREATED"));
  EXPECT_EQ(wakes_, 1);
}

TEST_F(OrdersServiceTest, AnOrderOfAnUnknownProductLeavesNothingBehind) {
  const Result<v1::Order> placed = service_.CreateOrder(As(7), Of(99, 1));
  ASSERT_FALSE(placed);
  EXPECT_EQ(placed.refusal().code, Code::kNotFound);
  EXPECT_THAT(Published(), ElementsAre());
}

TEST_F(OrdersServiceTest, ARepeatedKeyAnswersTheOrderOfTheFirstRequest) {
  const Result<v1::Order> first = service_.CreateOrder(As(7), Of(1, 2, "k1"));
  const Result<v1::Order> second = service_.CreateOrder(As(7), Of(1, 2, "k1"));
  ASSERT_TRUE(first);
  ASSERT_TRUE(second);
  EXPECT_EQ(first->id(), second->id());
  EXPECT_THAT(Published(), ElementsAre("ORDER_CREATED"));
}

TEST_F(OrdersServiceTest, ARepeatedKeyGetsTheFirstAnswerWhateverHasBecomeOfTheOrder) {
  const Result<v1::Order> first = service_.CreateOrder(As(7), Of(1, 2, "k1"));
  ASSERT_TRUE(first);
  ASSERT_TRUE(MoveTo(*first, v1::ORDER_STATUS_CANCELLED));
  const Call repeating = As(7);
  const Result<v1::Order> repeat = service_.CreateOrder(repeating, Of(1, 2, "k1"));
  ASSERT_TRUE(repeat);
  EXPECT_EQ(repeat->SerializeAsString(), first->SerializeAsString());
  EXPECT_TRUE(repeating.replayed);
}

// The client gave up waiting for its first request, sent it again, read the refusal and ordered
// anew under another key; then the first request goes on.
TEST_F(OrdersServiceTest, ARequestThatWasGivenUpPlacesNothingAfterItsRepeatWasRefused) {
  v1::CreateOrderRequest request = Of(1, 2, "k1");
  request.set_expected_total(3998);
  std::optional<Result<v1::Order>> repeat, anew;
  fake_products_.after_answering = [&] {
    fake_products_.lamp_price = 2999;
    repeat = service_.CreateOrder(As(7), request);
    request.set_expected_total(5998);
    request.set_idempotency_key("k2");
    anew = service_.CreateOrder(As(7), request);
  };
  const v1::CreateOrderRequest given_up = request;
  const Result<v1::Order> first = service_.CreateOrder(As(7), given_up);
  ASSERT_FALSE(*repeat);
  EXPECT_EQ(repeat->refusal().reason, "TOTAL_CHANGED");
  ASSERT_TRUE(*anew) << anew->refusal().message;
  ASSERT_FALSE(first);
  EXPECT_EQ(first.refusal().code, Code::kAborted);
  EXPECT_THAT(Published(), ElementsAre("ORDER_CREATED"));
}

TEST_F(OrdersServiceTest, AKeyWithAnotherRequestIsRefused) {
  ASSERT_TRUE(service_.CreateOrder(As(7), Of(1, 2, "k1")));
  const Result<v1::Order> other = service_.CreateOrder(As(7), Of(1, 3, "k1"));
  ASSERT_FALSE(other);
  EXPECT_EQ(other.refusal().reason, "IDEMPOTENCY_KEY_REUSED");
}

TEST_F(OrdersServiceTest, AKeyIsItsUsersOwn) {
  const Result<v1::Order> mine = service_.CreateOrder(As(7), Of(1, 2, "k1"));
  const Result<v1::Order> theirs = service_.CreateOrder(As(8), Of(1, 2, "k1"));
  ASSERT_TRUE(mine);
  ASSERT_TRUE(theirs);
  EXPECT_NE(mine->id(), theirs->id());
}

TEST_F(OrdersServiceTest, ARefusedRequestLeavesItsKeyFree) {
  ASSERT_FALSE(service_.CreateOrder(As(7), Of(99, 1, "k1")));
  EXPECT_TRUE(service_.CreateOrder(As(7), Of(1, 1, "k1")));
}

// The client gave up waiting for its first request and sends it again; the first one is placed after
// the second has looked for the key, and then the price changes.
TEST_F(OrdersServiceTest, ARepeatAtAnotherTotalGetsTheOrderThatWasPlacedMeanwhile) {
  v1::CreateOrderRequest request = Of(1, 2, "k1");
  request.set_expected_total(3998);
  std::optional<Result<v1::Order>> first;
  fake_products_.before_answering = [&] {
    first = service_.CreateOrder(As(7), request);
    fake_products_.lamp_price = 2999;
  };
  const Result<v1::Order> repeat = service_.CreateOrder(As(7), request);
  ASSERT_TRUE(first && *first);
  ASSERT_TRUE(repeat) << repeat.refusal().message;
  EXPECT_EQ(repeat->id(), (*first)->id());
  EXPECT_THAT(Published(), ElementsAre("ORDER_CREATED"));
}

// The first request waits in its transaction, after it has claimed the key.
TEST_F(OrdersServiceTest, ARepeatThatFindsTheCartEmptyWaitsForTheFirstRequest) {
  const cart::v1::Cart empty = fake_cart_.Now();
  fake_cart_.Put(1, 1);
  std::optional<Result<v1::Order>> first, repeat;
  std::thread first_client, repeating_client;
  std::atomic<bool> answered = false;
  postgres::InTransaction(db_, [&](postgres::Tx& tx) {
    LockNewestCartOrder(tx, 7);
    first_client = std::thread([&] { first = service_.CreateOrder(As(7), OfTheCart("k1")); });
    EXPECT_TRUE(shop::testing::Eventually([&] { return shop::testing::CountLockWaits(db_) == 1; }));
    fake_cart_.AnswerOnce(empty);
    repeating_client = std::thread([&] {
      repeat = service_.CreateOrder(As(7), OfTheCart("k1"));
      answered = true;
    });
    EXPECT_TRUE(shop::testing::Eventually(
        [&] { return answered || shop::testing::CountLockWaits(db_) == 2; }));
  });
  first_client.join();
  repeating_client.join();
  ASSERT_TRUE(*first) << first->refusal().message;
  ASSERT_TRUE(*repeat) << repeat->refusal().message;
  EXPECT_EQ((*repeat)->id(), (*first)->id());
}

TEST_F(OrdersServiceTest, ManyAtOnceWithOneKeyMakeOneOrder) {
  std::atomic<int> answered = 0;
  std::vector<std::thread> clients;
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back([&] {
      if (service_.CreateOrder(As(7), Of(1, 2, "k1"))) ++answered;
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(answered, 8);
  EXPECT_THAT(Published(), ElementsAre("ORDER_CREATED"));
}

TEST_F(OrdersServiceTest, AKeyWithAnotherAddressIsRefused) {
  v1::CreateOrderRequest request = Of(1, 2, "k1");
  request.mutable_shipping_address()->set_city("Málaga");
  ASSERT_TRUE(service_.CreateOrder(As(7), request));
  request.mutable_shipping_address()->set_city("Cádiz");
  const Result<v1::Order> other = service_.CreateOrder(As(7), request);
  ASSERT_FALSE(other);
  EXPECT_EQ(other.refusal().reason, "IDEMPOTENCY_KEY_REUSED");
}

TEST_F(OrdersServiceTest, AnotherTotalThanExpectedPlacesNothing) {
  v1::CreateOrderRequest request = Of(1, 2, "k1");
  request.set_expected_total(3990);
  const Result<v1::Order> refused = service_.CreateOrder(As(7), request);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.refusal().reason, "TOTAL_CHANGED");
  EXPECT_THAT(Published(), ElementsAre());
  // The key is still free.
  request.set_expected_total(3998);
  EXPECT_TRUE(service_.CreateOrder(As(7), request));
}

TEST_F(OrdersServiceTest, AnOrderThatIsTooLargeIsRefused) {
  OrdersService careful(db_, products_, cart_, shipping_, "USD", {}, {.total = 3998});
  EXPECT_TRUE(careful.CreateOrder(As(7), Of(1, 2)));
  const Result<v1::Order> refused = careful.CreateOrder(As(7), Of(1, 3, "k1"));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.refusal().reason, "ORDER_TOO_LARGE");
  EXPECT_TRUE(careful.CreateOrder(As(7), Of(1, 2, "k1"))) << "the key is still free";
}

TEST_F(OrdersServiceTest, ACustomerHasABoundedNumberOfOrdersThatWait) {
  OrdersService careful(db_, products_, cart_, shipping_, "USD", {}, {.pending = 2});
  const Result<v1::Order> first = careful.CreateOrder(As(7), Of(1, 1, "k1"));
  ASSERT_TRUE(first);
  ASSERT_TRUE(careful.CreateOrder(As(7), Of(1, 1)));
  const Result<v1::Order> third = careful.CreateOrder(As(7), Of(1, 1));
  ASSERT_FALSE(third);
  EXPECT_EQ(third.refusal().code, Code::kResourceExhausted);
  EXPECT_EQ(third.refusal().reason, "TOO_MANY_PENDING_ORDERS");
  EXPECT_EQ(careful.CreateOrder(As(7), Of(1, 1, "k1"))->id(), first->id()) << "this is a repeat";
  EXPECT_TRUE(careful.CreateOrder(As(8), Of(1, 1))) << "another customer";
  v1::CancelOrderRequest cancel;
  cancel.set_id(first->id());
  ASSERT_TRUE(careful.CancelOrder(As(7), cancel));
  EXPECT_TRUE(careful.CreateOrder(As(7), Of(1, 1)));
}

TEST_F(OrdersServiceTest, TheSameRequestForACartIsAnsweredWithItsOrder) {
  fake_cart_.Put(2, 3);
  const Result<v1::Order> first = service_.CreateOrder(As(7), OfTheCart());
  const Result<v1::Order> second = service_.CreateOrder(As(7), OfTheCart());
  ASSERT_TRUE(first) << first.refusal().message;
  ASSERT_TRUE(second) << second.refusal().message;
  EXPECT_EQ(first->total_price(), 1500);
  EXPECT_EQ(first->id(), second->id());
  EXPECT_EQ(second->items_size(), 1);
  EXPECT_THAT(Published(), ElementsAre("ORDER_CREATED"));
}

TEST_F(OrdersServiceTest, AnotherRequestForAnOrderedCartIsRefusedWithTheOrder) {
  fake_cart_.Put(2, 3);
  const Result<v1::Order> first = service_.CreateOrder(As(7), OfTheCart("k1"));
  ASSERT_TRUE(first);
  v1::CreateOrderRequest elsewhere = OfTheCart();
  elsewhere.mutable_shipping_address()->set_city("Cádiz");
  for (const v1::CreateOrderRequest& other : {elsewhere, OfTheCart("k2"), OfTheCart()}) {
    const Result<v1::Order> second = service_.CreateOrder(As(7), other);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.refusal().code, Code::kFailedPrecondition);
    EXPECT_EQ(second.refusal().reason, "CART_ORDERED");
    ASSERT_EQ(second.refusal().details.size(), 2u);
    EXPECT_EQ(second.refusal().details[0].field, "orderId");
    EXPECT_EQ(second.refusal().details[0].message, std::to_string(first->id()));
    EXPECT_EQ(second.refusal().details[1].message, first->number());
  }
  EXPECT_THAT(Published(), ElementsAre("ORDER_CREATED"));
  // The key of the refused one is free.
  EXPECT_TRUE(service_.CreateOrder(As(7), Of(1, 1, "k2")));
}

TEST_F(OrdersServiceTest, OfTwoRequestsForOneCartAtOnceOneIsRefusedWithTheOthersOrder) {
  fake_cart_.Put(2, 3);
  fake_cart_.AnswerTogether(2);
  std::vector<std::optional<Result<v1::Order>>> answers(2);
  std::vector<std::thread> clients;
  for (size_t i = 0; i < 2; ++i) {
    clients.emplace_back([&, i] {
      v1::CreateOrderRequest request = OfTheCart("k" + std::to_string(i));
      request.mutable_shipping_address()->set_city(i == 0 ? "Málaga" : "Cádiz");
      answers[i] = service_.CreateOrder(As(7), request);
    });
  }
  for (std::thread& client : clients) client.join();
  const size_t placed = *answers[0] ? 0 : 1;
  ASSERT_TRUE(*answers[placed]);
  ASSERT_FALSE(*answers[1 - placed]);
  EXPECT_EQ(answers[1 - placed]->refusal().reason, "CART_ORDERED");
  EXPECT_EQ((*answers[placed])->shipping_address().city(), placed == 0 ? "Málaga" : "Cádiz");
  EXPECT_THAT(Published(), ElementsAre("ORDER_CREATED"));
}

// The first request waits between reading the cart and placing its order, while the second reads
// the cart as it was before something was added, and is placed first.
TEST_F(OrdersServiceTest, OfTwoOrdersAtOnceTheLaterDoesNotBuyAgainWhatTheOtherBought) {
  fake_cart_.Put(1, 1);
  const cart::v1::Cart before = fake_cart_.Now();
  fake_cart_.Put(2, 3);
  std::optional<Result<v1::Order>> second;
  fake_products_.before_answering = [&] {
    fake_cart_.AnswerOnce(before);
    second = service_.CreateOrder(As(7), OfTheCart("k2"));
  };
  const Result<v1::Order> first = service_.CreateOrder(As(7), OfTheCart("k1"));
  ASSERT_TRUE(second && *second);
  EXPECT_EQ((*second)->items(0).product_id(), 1);
  ASSERT_TRUE(first) << first.refusal().message;
  ASSERT_EQ(first->items_size(), 1);
  EXPECT_EQ(first->items(0).product_id(), 2);
}

TEST_F(OrdersServiceTest, TheSameRequestForACartAtOnceMakesOneOrder) {
  fake_cart_.Put(2, 3);
  fake_cart_.AnswerTogether(2);
  std::vector<int64_t> ids(2);
  std::vector<std::thread> clients;
  for (int64_t& id : ids) {
    clients.emplace_back([&] {
      const Result<v1::Order> order = service_.CreateOrder(As(7), OfTheCart());
      if (order) id = order->id();
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_GT(ids[0], 0);
  EXPECT_EQ(ids[0], ids[1]);
}

TEST_F(OrdersServiceTest, WhatAnEarlierOrderBoughtIsNotBoughtAgainWhileItsEventWaits) {
  fake_cart_.Put(1, 1);
  const Result<v1::Order> first = service_.CreateOrder(As(7), OfTheCart());
  ASSERT_TRUE(first);
  fake_cart_.Put(2, 3);
  const Result<v1::Order> second = service_.CreateOrder(As(7), OfTheCart());
  ASSERT_TRUE(second) << second.refusal().message;
  ASSERT_EQ(second->items_size(), 1);
  EXPECT_EQ(second->items(0).product_id(), 2);
  fake_cart_.Put(1, 5);
  ASSERT_TRUE(DeliverToCart());
  EXPECT_THAT(fake_cart_.quantities(), ElementsAre(Pair(1, 5)));
}

TEST_F(OrdersServiceTest, WhatWasReadBeforeTheCartWasEmptiedMakesNoSecondOrder) {
  fake_cart_.Put(2, 3);
  const cart::v1::Cart before = fake_cart_.Now();
  const Result<v1::Order> first = service_.CreateOrder(As(7), OfTheCart());
  ASSERT_TRUE(first);
  ASSERT_TRUE(DeliverToCart());
  fake_cart_.AnswerOnce(before);
  const Result<v1::Order> second = service_.CreateOrder(As(7), OfTheCart());
  ASSERT_TRUE(second) << second.refusal().message;
  EXPECT_EQ(second->id(), first->id());
}

TEST_F(OrdersServiceTest, ACancelledOrderAnswersNoNewRequest) {
  fake_cart_.Put(2, 3);
  const Result<v1::Order> first = service_.CreateOrder(As(7), OfTheCart());
  ASSERT_TRUE(first);
  ASSERT_TRUE(Receive<events::v1::StockRejected>(*first, "e1"));
  // Neither event has reached the cart yet.
  const Result<v1::Order> second = service_.CreateOrder(As(7), OfTheCart());
  ASSERT_TRUE(second) << second.refusal().message;
  EXPECT_NE(second->id(), first->id());
  EXPECT_EQ(second->status(), v1::ORDER_STATUS_PENDING);
  ASSERT_TRUE(DeliverToCart());
  EXPECT_THAT(fake_cart_.quantities(), ElementsAre());
}

TEST_F(OrdersServiceTest, ACartRestoredFromABackupIsOrderedAnew) {
  fake_cart_.Put(2, 3);
  const cart::v1::Cart backup = fake_cart_.Now();
  const Result<v1::Order> first = service_.CreateOrder(As(7), OfTheCart());
  ASSERT_TRUE(first);
  ASSERT_TRUE(DeliverToCart());
  fake_cart_.Restore(backup);
  const Result<v1::Order> second = service_.CreateOrder(As(7), OfTheCart());
  ASSERT_TRUE(second) << second.refusal().message;
  EXPECT_NE(second->id(), first->id());
}

TEST_F(OrdersServiceTest, AVersionThatComesAgainAfterABackupIsAnotherCart) {
  fake_cart_.Put(1, 1);
  const cart::v1::Cart backup = fake_cart_.Now();
  fake_cart_.Put(2, 3);
  const Result<v1::Order> first = service_.CreateOrder(As(7), OfTheCart());
  ASSERT_TRUE(first);
  fake_cart_.Restore(backup);
  fake_cart_.Put(2, 1);
  const Result<v1::Order> second = service_.CreateOrder(As(7), OfTheCart());
  ASSERT_FALSE(second && second->id() == first->id());
  // The first order's event has not been handled: what it bought is out of the restored cart.
  ASSERT_FALSE(second);
  EXPECT_EQ(second.refusal().reason, "CART_EMPTY");
  fake_cart_.Restore(backup);
  fake_cart_.Put(2, 1);
  EXPECT_TRUE(service_.CreateOrder(As(7), OfTheCart()));
}

TEST_F(OrdersServiceTest, WhatWasOrderedLeavesTheCartOnceAndWhatWasAddedStays) {
  fake_cart_.Put(1, 1);
  ASSERT_TRUE(service_.CreateOrder(As(7), OfTheCart()));
  fake_cart_.Put(1, 1);
  fake_cart_.Put(2, 1);
  ASSERT_TRUE(DeliverToCart());
  ASSERT_TRUE(DeliverToCart("another group, to which everything is new"));
  EXPECT_THAT(fake_cart_.quantities(), ElementsAre(Pair(1, 1), Pair(2, 1)));
}

TEST_F(OrdersServiceTest, AnOrderThatTheCartHasForgottenRemovesNothingThatWasAddedSince) {
  fake_cart_.Put(1, 1);
  ASSERT_TRUE(service_.CreateOrder(As(7), OfTheCart()));
  ASSERT_TRUE(DeliverToCart());
  fake_cart_.ForgetOrders();
  fake_cart_.Put(1, 2);
  ASSERT_TRUE(DeliverToCart("another group, to which everything is new"));
  EXPECT_THAT(fake_cart_.quantities(), ElementsAre(Pair(1, 2)));
}

// Two transactions that lock the same orders in different sequences may wait for each other.
TEST_F(OrdersServiceTest, CartsAreMarkedUpdatedInTheOrderOfTheOrdersIds) {
  fake_cart_.Put(1, 1);
  const Result<v1::Order> first = service_.CreateOrder(As(7), OfTheCart());
  fake_cart_.Put(1, 1);
  const Result<v1::Order> second = service_.CreateOrder(As(7), OfTheCart());
  ASSERT_TRUE(first && second);
  postgres::InTransaction(db_, [&](postgres::Tx& tx) {
    // The first one's row is behind the second one's from here on.
    tx.Run("UPDATE orders SET cart_settled = false, seq = seq + 1 WHERE id = " +
           std::to_string(first->id()));
  });
  std::thread marking;
  postgres::InTransaction(db_, [&](postgres::Tx& tx) {
    FindForUpdate(tx, {first->id()});
    marking = std::thread([&] {
      postgres::InTransaction(db_, [&](postgres::Tx& other) {
        // As the rows of a larger table are found: in their places' order.
        other.Run("SET LOCAL enable_indexscan = off");
        MarkCartUpdated(other, {first->id(), second->id()});
      });
    });
    EXPECT_TRUE(shop::testing::Eventually([&] { return shop::testing::CountLockWaits(db_) > 0; }));
    const auto free = tx.Run("SELECT FROM orders WHERE id = " + std::to_string(second->id()) +
                             " FOR UPDATE SKIP LOCKED");
    EXPECT_EQ(free.size(), 1);
  });
  marking.join();
  const auto waiting =
      postgres::Read(db_, [](postgres::Tx& tx) { return FindCartOrders(tx, 7, 99); });
  EXPECT_THAT(waiting, ::testing::IsEmpty());
}

TEST_F(OrdersServiceTest, AnOrderOfLinesLeavesTheCartAlone) {
  fake_cart_.Put(1, 5);
  const v1::Order order = Place(7);
  ASSERT_TRUE(Receive<events::v1::StockRejected>(order, "e1"));
  const int64_t version = fake_cart_.Now().version();
  ASSERT_TRUE(DeliverToCart());
  EXPECT_EQ(fake_cart_.Now().version(), version);
}

TEST_F(OrdersServiceTest, ARejectedOrderHasItsLinesInTheCartAgain) {
  fake_cart_.Put(2, 3);
  const Result<v1::Order> order = service_.CreateOrder(As(7), OfTheCart());
  ASSERT_TRUE(order);
  ASSERT_TRUE(Receive<events::v1::StockRejected>(*order, "e1"));
  ASSERT_TRUE(DeliverToCart());
  EXPECT_THAT(fake_cart_.quantities(), ElementsAre(Pair(2, 3)));
  EXPECT_EQ(service_.CreateOrder(As(7), OfTheCart())->items_size(), 1);
}

TEST_F(OrdersServiceTest, AnOrderThatSomebodyCancelledStaysOutOfTheCart) {
  fake_cart_.Put(2, 3);
  const Result<v1::Order> order = service_.CreateOrder(As(7), OfTheCart());
  ASSERT_TRUE(order);
  ASSERT_TRUE(MoveTo(*order, v1::ORDER_STATUS_CANCELLED));
  ASSERT_TRUE(Receive<events::v1::StockRejected>(*order, "e1"));
  ASSERT_TRUE(DeliverToCart());
  EXPECT_THAT(fake_cart_.quantities(), ElementsAre());
}

TEST_F(OrdersServiceTest, WhatTheCartRefusesIsNotTakenForDone) {
  fake_cart_.Put(2, 3);
  const Result<v1::Order> order = service_.CreateOrder(As(7), OfTheCart());
  ASSERT_TRUE(order);
  fake_cart_.RefuseAll(true);
  EXPECT_FALSE(DeliverToCart());
  fake_cart_.RefuseAll(false);
  ASSERT_TRUE(DeliverToCart());
  EXPECT_THAT(fake_cart_.quantities(), ElementsAre());
  ASSERT_TRUE(Receive<events::v1::StockRejected>(*order, "e1"));
  fake_cart_.RefuseAll(true);
  EXPECT_FALSE(DeliverToCart());
  fake_cart_.RefuseAll(false);
  ASSERT_TRUE(DeliverToCart());
  EXPECT_THAT(fake_cart_.quantities(), ElementsAre(Pair(2, 3)));
}

TEST_F(OrdersServiceTest, ACartOfTheFirstReleaseIsAskedAgainUntilItEmptiesTheCart) {
  fake_cart_.BeOfTheFirstRelease();
  fake_cart_.Put(1, 1);
  ASSERT_TRUE(service_.CreateOrder(As(7), OfTheCart()));
  EXPECT_TRUE(DeliverToCart());
  EXPECT_THAT(fake_cart_.quantities(), ElementsAre());
  fake_cart_.Put(1, 1);
  ASSERT_TRUE(service_.CreateOrder(As(7), OfTheCart()));
  fake_cart_.Put(2, 1);
  EXPECT_FALSE(DeliverToCart());
}

TEST_F(OrdersServiceTest, OrderingTheCartOfAnOrderOfTheFirstReleaseIsRefused) {
  fake_cart_.Put(2, 3);
  postgres::InTransaction(db_, [&](postgres::Tx& tx) {
    tx.Run(
        "INSERT INTO orders (user_id, total_price, currency, payment_method, cart_version)"
        " VALUES (7, 1500, 'USD', 'CREDIT_CARD', " +
        std::to_string(fake_cart_.Now().version()) +
        ") ON CONFLICT (user_id, cart_version) WHERE cart_version IS NOT NULL DO NOTHING");
  });
  const Result<v1::Order> second = service_.CreateOrder(As(7), OfTheCart());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.refusal().reason, "CART_ORDERED");
}

TEST_F(OrdersServiceTest, AnEmptyCartCannotBeOrdered) {
  const Result<v1::Order> placed = service_.CreateOrder(As(7), OfTheCart());
  ASSERT_FALSE(placed);
  EXPECT_EQ(placed.refusal().code, Code::kFailedPrecondition);
  EXPECT_EQ(placed.refusal().reason, "CART_EMPTY");
}

TEST_F(OrdersServiceTest, AnOrderIsReadByItsNumberAndByItsUuid) {
  const v1::Order order = Place(7);
  v1::GetOrderByNumberRequest by_number;
  by_number.set_number(order.number());
  v1::GetOrderByUuidRequest by_uuid;
  by_uuid.set_uuid(order.uuid());
  EXPECT_EQ(service_.GetOrderByNumber(As(7), by_number)->id(), order.id());
  EXPECT_EQ(service_.GetOrderByUuid(As(7), by_uuid)->id(), order.id());
  EXPECT_EQ(service_.GetOrderByUuid(As(7), by_uuid)->items_size(), 1);
  EXPECT_EQ(service_.GetOrderByNumber(As(8), by_number).refusal().code, Code::kNotFound);
  EXPECT_EQ(service_.GetOrderByUuid(As(8), by_uuid).refusal().code, Code::kNotFound);
  by_number.set_number("UUUU-UUUU");
  EXPECT_EQ(service_.GetOrderByNumber(As(7), by_number).refusal().code, Code::kNotFound);
}

TEST_F(OrdersServiceTest, ASellerReadsTheirOwnOrdersAlone) {
  const Call seller = As(9, api::v1::ROLE_SELLER);
  const v1::Order others = Place(7);
  v1::GetOrderRequest get;
  get.set_id(others.id());
  v1::GetOrderStatusRequest status;
  status.set_id(others.id());
  v1::GetOrderByNumberRequest by_number;
  by_number.set_number(others.number());
  EXPECT_EQ(service_.GetOrder(seller, get).refusal().code, Code::kNotFound);
  EXPECT_EQ(service_.GetOrderStatus(seller, status).refusal().code, Code::kNotFound);
  EXPECT_EQ(service_.GetOrderByNumber(seller, by_number).refusal().code, Code::kNotFound);
  const v1::Order own = Place(9);
  v1::ListOrdersRequest of_another;
  of_another.set_user_id(7);
  const auto listed = service_.ListOrders(seller, of_another);
  ASSERT_TRUE(listed);
  ASSERT_EQ(listed->items_size(), 1);
  EXPECT_EQ(listed->items(0).id(), own.id());
}

TEST_F(OrdersServiceTest, AnothersOrderIsNotFound) {
  const v1::Order order = Place(7);
  v1::GetOrderRequest get;
  get.set_id(order.id());
  const Result<v1::Order> stranger = service_.GetOrder(As(8), get);
  ASSERT_FALSE(stranger);
  EXPECT_EQ(stranger.refusal().code, Code::kNotFound);
  v1::GetOrderStatusRequest status;
  status.set_id(order.id());
  EXPECT_FALSE(service_.GetOrderStatus(As(8), status));
  EXPECT_TRUE(service_.GetOrderStatus(As(7), status));
}

TEST_F(OrdersServiceTest, AUserListsTheirOwnOrdersNewestFirstAndAnAdminEverybodys) {
  const v1::Order first = Place(7);
  Place(8);
  const v1::Order last = Place(7);
  const auto mine = service_.ListOrders(As(7), {});
  ASSERT_TRUE(mine);
  ASSERT_EQ(mine->items_size(), 2);
  EXPECT_EQ(mine->items(0).id(), last.id());
  EXPECT_EQ(mine->items(1).id(), first.id());
  EXPECT_EQ(mine->items(1).items_size(), 1);
  EXPECT_EQ(service_.ListOrders(As(1, api::v1::ROLE_ADMIN), {})->total(), 3);
}

TEST_F(OrdersServiceTest, ByCursorNoOrderIsRepeatedOrLeftOutWhileOthersArePlaced) {
  std::vector<int64_t> placed;
  for (int i = 0; i < 5; ++i) placed.insert(placed.begin(), Place(7).id());
  v1::ListOrdersRequest request;
  request.set_limit(2);
  for (const int64_t user : {7, 1}) {
    std::vector<int64_t> seen;
    request.clear_cursor();
    do {
      const auto page = service_.ListOrders(
          As(user, user == 1 ? api::v1::ROLE_ADMIN : api::v1::ROLE_USER), request);
      ASSERT_TRUE(page) << page.refusal().message;
      EXPECT_EQ(page->has_total(), request.cursor().empty());
      for (const v1::Order& order : page->items()) seen.push_back(order.id());
      request.set_cursor(page->next_cursor());
      placed.insert(placed.begin(), Place(7).id());
    } while (!request.cursor().empty() && seen.size() < 50);
    EXPECT_EQ(seen, std::vector<int64_t>(placed.end() - std::ssize(seen), placed.end()));
    EXPECT_GE(seen.size(), 5u);
  }
  request.set_cursor("bm9uZQ");
  EXPECT_EQ(service_.ListOrders(As(7), request).refusal().details.at(0).field, "cursor");
}

TEST_F(OrdersServiceTest, AnAdminFindsOrdersByUserStateAndTime) {
  const v1::Order first = Place(7);
  Place(8);
  Confirm(first);
  v1::ListOrdersRequest of_user;
  of_user.set_user_id(7);
  EXPECT_EQ(service_.ListOrders(As(1, api::v1::ROLE_ADMIN), of_user)->total(), 1);
  EXPECT_EQ(service_.ListOrders(As(8), of_user)->items(0).user_id(), 8);
  v1::ListOrdersRequest pending;
  pending.set_status(v1::ORDER_STATUS_PENDING);
  EXPECT_EQ(service_.ListOrders(As(1, api::v1::ROLE_ADMIN), pending)->total(), 1);
  v1::ListOrdersRequest earlier;
  *earlier.mutable_created_before() = first.created_at();
  EXPECT_EQ(service_.ListOrders(As(1, api::v1::ROLE_ADMIN), earlier)->total(), 0);
  v1::ListOrdersRequest since;
  *since.mutable_created_from() = first.created_at();
  EXPECT_EQ(service_.ListOrders(As(1, api::v1::ROLE_ADMIN), since)->total(), 2);
}

TEST(OrderMigrations, CartsOfOrdersFromBeforeAreUpdatedUnlessTheirEventWaits) {
  testing::TestDatabase database;
  postgres::Pool db(database.settings());
  postgres::MigrationSet first = kOrdersMigrations;
  first.migrations.resize(2);
  postgres::Migrate(db, {kMessagingMigrations, first});
  postgres::InTransaction(db, [](postgres::Tx& tx) {
    tx.Run(
        "INSERT INTO orders (id, user_id, total_price, currency, payment_method, cart_version, "
        "status) "
        "VALUES (1, 7, 100, 'USD', 'PAYPAL', 1, 'SHIPPED'), (2, 7, 100, 'USD', 'PAYPAL', 2, "
        "'SHIPPED'),"
        " (3, 7, 100, 'USD', 'PAYPAL', 3, 'SHIPPED')");
    tx.Run(
        "INSERT INTO outbox (topic, key, event_id, type, source, time, traceparent, value) "
        "SELECT 'orders', id, 'event ' || id, 'ORDER_CREATED', '', '', '', '' "
        "FROM unnest(ARRAY['2', '3']) AS o (id)");
    tx.Run("INSERT INTO inbox (consumer, event_id) VALUES ('cart', 'event 2')");
  });
  const auto written = [&] {
    std::map<int64_t, std::string> places;
    for (const auto& row : postgres::Read(
             db, [](postgres::Tx& tx) { return tx.Run("SELECT id, ctid::text FROM orders"); })) {
      places.emplace(row[0].as<int64_t>(), row[1].as<std::string>());
    }
    return places;
  };
  const std::map<int64_t, std::string> before = written();
  postgres::Migrate(db, {kMessagingMigrations, kOrdersMigrations});
  const auto waiting = postgres::Read(db, [](postgres::Tx& tx) {
    std::vector<int64_t> ids;
    for (const CartOrder& order : FindCartOrders(tx, 7, 99)) ids.push_back(order.order.id());
    return ids;
  });
  EXPECT_THAT(waiting, ElementsAre(3));
  // Most carts are updated, and none of their orders is written anew.
  const std::map<int64_t, std::string> after = written();
  EXPECT_EQ(after.at(1), before.at(1));
  EXPECT_EQ(after.at(2), before.at(2));
  EXPECT_NE(after.at(3), before.at(3));
}

}  // namespace
}  // namespace shop::orders
