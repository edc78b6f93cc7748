// What stock does with an order, on a real database, with products played by a fake behind real
// gRPC.
#include "stock/stock_events.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <set>

#include "common/messaging/handlers.h"
#include "common/rpc/identity.h"
#include "common/rpc/server.h"
#include "common/testing/callers.h"
#include "common/testing/database.h"
#include "common/testing/deliver.h"
#include "common/testing/fake_service.h"
#include "common/testing/published_events.h"
#include "messaging_migrations.h"
#include "shop/events/v1/orders.pb.h"
#include "shop/products/v1/products.pb.h"

namespace shop::stock {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

std::vector<auth::PublicKey> NoKeys() {
  return {};
}

// Has three of everything.
class FakeProducts {
 public:
  rpc::Service Methods() {
    return rpc::Service("shop.products.v1.ProductsService")
        .On("BatchReserveStock", this, &FakeProducts::BatchReserveStock)
        .On("BatchCommitStock", this, &FakeProducts::BatchCommitStock)
        .On("ReleaseStock", this, &FakeProducts::ReleaseStock)
        .On("ReturnStock", this, &FakeProducts::ReturnStock);
  }
  Result<products::v1::BatchCommitStockResponse> BatchCommitStock(
      const Call&, const products::v1::BatchCommitStockRequest& batch) {
    ++calls;
    products::v1::BatchCommitStockResponse answers;
    for (const products::v1::CommitStockRequest& request : batch.requests()) {
      const bool held = holding.contains(request.order_uuid());
      if (held) sold.insert(request.order_uuid());
      answers.add_responses()->set_committed(held);
    }
    return answers;
  }
  Result<products::v1::ReturnStockResponse> ReturnStock(
      const Call&, const products::v1::ReturnStockRequest& request) {
    products::v1::ReturnStockResponse response;
    for (const products::v1::ReserveLine& line : request.items()) {
      response.set_pieces(response.pieces() + line.quantity());
    }
    returned[request.order_uuid() + " " + request.return_uuid()] = response.pieces();
    return response;
  }
  Result<products::v1::ReleaseStockResponse> ReleaseStock(
      const Call&, const products::v1::ReleaseStockRequest& request) {
    products::v1::ReleaseStockResponse response;
    response.set_released(holding.contains(request.order_uuid()));
    if (response.released()) released.insert(request.order_uuid());
    return response;
  }
  Result<products::v1::BatchReserveStockResponse> BatchReserveStock(
      const Call&, const products::v1::BatchReserveStockRequest& batch) {
    ++calls;
    products::v1::BatchReserveStockResponse answers;
    for (const products::v1::ReserveStockRequest& request : batch.requests()) {
      products::v1::ReserveStockResponse& response = *answers.add_responses();
      for (const products::v1::ReserveLine& line : request.items()) {
        if (line.quantity() <= 3) continue;
        products::v1::Shortage* shortage = response.add_shortages();
        shortage->set_product_id(line.product_id());
        shortage->set_requested(line.quantity());
        shortage->set_available(3);
      }
      response.set_reserved(response.shortages().empty());
      if (response.reserved()) holding.insert(request.order_uuid());
    }
    return answers;
  }
  int calls = 0;
  std::set<std::string> holding;  // orders, by UUID; what was released stays known
  std::set<std::string> released;
  std::set<std::string> sold;
  std::map<std::string, int64_t> returned;  // pieces, by order and return
};

class StockEventsTest : public ::testing::Test {
 protected:
  StockEventsTest() { postgres::Migrate(db_, {kMessagingMigrations}); }

  static messaging::Envelope AnOrderOf(int64_t quantity, int64_t id = 12) {
    events::v1::OrderCreated order;
    order.set_order_id(id);
    order.set_order_uuid("a7f0c3de-0000-4000-8000-0000000000" + std::to_string(id));
    order.set_user_id(7);
    order.set_total_price(1999 * quantity);
    order.set_currency("USD");
    order.set_payment_method(orders::v1::PAYMENT_METHOD_PAYPAL);
    order.set_payment_token("tok_decline");
    order.set_order_number("7K3M-9QXD");
    orders::v1::OrderItem* item = order.add_items();
    item->set_product_id(1);
    item->set_quantity(quantity);
    return messaging::MakeEvent(order, {.source = "orders", .trace = TraceContext::New()});
  }

  static messaging::Envelope TheConfirmationOf(int64_t id) {
    events::v1::OrderConfirmed order;
    order.set_order_id(id);
    order.set_order_uuid("a7f0c3de-0000-4000-8000-0000000000" + std::to_string(id));
    order.set_user_id(7);
    return messaging::MakeEvent(order, {.source = "orders", .trace = TraceContext::New()});
  }

  static messaging::Envelope ItsReturn() {
    events::v1::OrderReturned order;
    order.set_order_id(12);
    order.set_order_uuid("a7f0c3de-0000-4000-8000-000000000012");
    order.set_user_id(7);
    order.set_return_uuid("5a0e0000-0000-4000-8000-000000000001");
    orders::v1::OrderItem* item = order.add_items();
    item->set_product_id(1);
    item->set_quantity(2);
    return messaging::MakeEvent(order, {.source = "orders", .trace = TraceContext::New()});
  }

  static messaging::Envelope ItsCancellation() {
    events::v1::OrderCancelled order;
    order.set_order_id(12);
    order.set_order_uuid("a7f0c3de-0000-4000-8000-000000000012");
    order.set_user_id(7);
    return messaging::MakeEvent(order, {.source = "orders", .trace = TraceContext::New()});
  }

  std::vector<messaging::Envelope> Published() { return testing::PublishedEvents(db_); }

  testing::TestDatabase database_;
  postgres::Pool db_{database_.settings()};
  FakeProducts fake_;
  rpc::Identity products_identity_{testing::IdentityOf("products"), NoKeys};
  std::optional<rpc::Server> server_{
      std::in_place, rpc::ServerSettings{.host = "127.0.0.1"}, products_identity_,
      std::vector<rpc::Service>{testing::FakeService(fake_.Methods())}};
  rpc::Identity identity_{testing::IdentityOf("stock"), NoKeys};
  rpc::Channel products_{"products", server_->address(), identity_};
  messaging::Handlers handlers_ = EventHandlers(products_);
};

TEST_F(StockEventsTest, AnOrderThatCanBeFilledIsReservedWithAllThatPaymentsNeeds) {
  ASSERT_TRUE(testing::Deliver(db_, handlers_, "stock", AnOrderOf(2)));
  const auto published = Published();
  ASSERT_EQ(published.size(), 1u);
  EXPECT_EQ(published[0].type, "STOCK_RESERVED");
  EXPECT_EQ(published[0].key, "12");
  EXPECT_THAT(published[0].value, HasSubstr(R"("totalPrice":39.98)"));
  EXPECT_THAT(published[0].value, HasSubstr(R"("paymentMethod":"PAYPAL")"));
  EXPECT_THAT(published[0].value, HasSubstr(R"("paymentToken":"tok_decline")"));
  EXPECT_THAT(published[0].value, HasSubstr(R"("productId":1)"));
  EXPECT_THAT(published[0].value, HasSubstr(R"("orderNumber":"7K3M-9QXD")"));
}

TEST_F(StockEventsTest, AnOrderThatCannotBeFilledIsRejectedWithWhatWasShort) {
  ASSERT_TRUE(testing::Deliver(db_, handlers_, "stock", AnOrderOf(5)));
  const auto published = Published();
  ASSERT_EQ(published.size(), 1u);
  EXPECT_EQ(published[0].type, "STOCK_REJECTED");
  EXPECT_THAT(published[0].value, HasSubstr(R"("requested":5,"available":3)"));
}

TEST_F(StockEventsTest, OrdersConsumedTogetherAreReservedByOneCallAndPublishedOneByOne) {
  ASSERT_TRUE(testing::Deliver(db_, handlers_, "stock",
                               {AnOrderOf(2, 12), AnOrderOf(5, 13), AnOrderOf(1, 14)}));
  EXPECT_EQ(fake_.calls, 1);
  const auto published = Published();
  ASSERT_EQ(published.size(), 3u);
  EXPECT_EQ(published[0].type + published[0].key, "STOCK_RESERVED12");
  EXPECT_EQ(published[1].type + published[1].key, "STOCK_REJECTED13");
  EXPECT_EQ(published[2].type + published[2].key, "STOCK_RESERVED14");
}

TEST_F(StockEventsTest, AnOrderIsReservedBeforeItsCancellationIsConsumed) {
  ASSERT_TRUE(testing::Deliver(db_, handlers_, "stock",
                               {AnOrderOf(2), ItsCancellation(), AnOrderOf(1, 13)}));
  const auto published = Published();
  ASSERT_EQ(published.size(), 3u);
  EXPECT_EQ(published[0].type + published[0].key, "STOCK_RESERVED12");
  EXPECT_EQ(published[1].type + published[1].key, "STOCK_RELEASED12");
  EXPECT_EQ(published[2].type + published[2].key, "STOCK_RESERVED13");
}

TEST_F(StockEventsTest, ASecondDeliveryChangesNothing) {
  const messaging::Envelope order = AnOrderOf(2);
  ASSERT_TRUE(testing::Deliver(db_, handlers_, "stock", order));
  ASSERT_TRUE(testing::Deliver(db_, handlers_, "stock", order));
  EXPECT_EQ(Published().size(), 1u);
}

TEST_F(StockEventsTest, TheIdOfThePublishedEventFollowsFromItsCause) {
  const messaging::Envelope order = AnOrderOf(2);
  ASSERT_TRUE(testing::Deliver(db_, handlers_, "stock", order));
  const std::string first = Published().at(0).id;
  postgres::InTransaction(db_, [](postgres::Tx& tx) { tx.Run("TRUNCATE inbox, outbox"); });
  ASSERT_TRUE(testing::Deliver(db_, handlers_, "stock", order));
  EXPECT_EQ(Published().at(0).id, first);
}

TEST_F(StockEventsTest, ACancelledOrderGivesBackWhatItHolds) {
  ASSERT_TRUE(testing::Deliver(db_, handlers_, "stock", AnOrderOf(2)));
  ASSERT_TRUE(testing::Deliver(db_, handlers_, "stock", ItsCancellation()));
  EXPECT_EQ(fake_.released, fake_.holding);
  ASSERT_EQ(Published().size(), 2u);
  EXPECT_EQ(Published()[1].type, "STOCK_RELEASED");
}

TEST_F(StockEventsTest, AReleaseWhoseEventWasLostIsPublishedWhenTheCancellationComesAgain) {
  const messaging::Envelope cancellation = ItsCancellation();
  ASSERT_TRUE(testing::Deliver(db_, handlers_, "stock", AnOrderOf(2)));
  ASSERT_TRUE(testing::Deliver(db_, handlers_, "stock", cancellation));
  const std::string first = Published().at(1).id;
  postgres::InTransaction(db_, [](postgres::Tx& tx) { tx.Run("TRUNCATE inbox, outbox"); });
  ASSERT_TRUE(testing::Deliver(db_, handlers_, "stock", cancellation));
  EXPECT_EQ(Published().at(0).id, first);
}

TEST_F(StockEventsTest, ACancelledOrderThatHeldNothingReleasesNothing) {
  ASSERT_TRUE(testing::Deliver(db_, handlers_, "stock", AnOrderOf(5)));
  ASSERT_TRUE(testing::Deliver(db_, handlers_, "stock", ItsCancellation()));
  ASSERT_EQ(Published().size(), 1u);
  EXPECT_EQ(Published()[0].type, "STOCK_REJECTED");
}

TEST_F(StockEventsTest, OrdersThatAreConfirmedTogetherAreSoldByOneCall) {
  ASSERT_TRUE(testing::Deliver(db_, handlers_, "stock", {AnOrderOf(2, 12), AnOrderOf(2, 13)}));
  fake_.calls = 0;
  ASSERT_TRUE(
      testing::Deliver(db_, handlers_, "stock", {TheConfirmationOf(12), TheConfirmationOf(13)}));
  EXPECT_EQ(fake_.calls, 1);
  EXPECT_EQ(fake_.sold, fake_.holding);
  EXPECT_EQ(Published().size(), 2u) << "what was reserved, and no more";
}

TEST_F(StockEventsTest, AConfirmationOfWhatIsNotHeldIsNoRefusal) {
  EXPECT_TRUE(testing::Deliver(db_, handlers_, "stock", TheConfirmationOf(12)));
  EXPECT_TRUE(fake_.sold.empty());
}

TEST_F(StockEventsTest, ThePaymentTokenIsForgottenOnceTheOrderIsDecided) {
  for (const int64_t id : {12, 13, 14}) {
    ASSERT_TRUE(testing::Deliver(db_, handlers_, "stock", AnOrderOf(2, id)));
  }
  ASSERT_TRUE(
      testing::Deliver(db_, handlers_, "stock", {TheConfirmationOf(13), ItsCancellation()}));
  const auto published = Published();
  EXPECT_THAT(published[0].value, HasSubstr(R"("paymentToken":"erased")"));
  EXPECT_THAT(published[1].value, HasSubstr(R"("paymentToken":"erased")"));
  EXPECT_THAT(published[2].value, HasSubstr(R"("paymentToken":"tok_decline")"));
}

TEST_F(StockEventsTest, WhatIsReturnedComesBackUnderTheNameOfItsReturn) {
  ASSERT_TRUE(testing::Deliver(db_, handlers_, "stock", AnOrderOf(3)));
  ASSERT_TRUE(testing::Deliver(db_, handlers_, "stock", {TheConfirmationOf(12), ItsReturn()}));
  EXPECT_THAT(fake_.returned, ElementsAre(Pair("a7f0c3de-0000-4000-8000-000000000012 "
                                               "5a0e0000-0000-4000-8000-000000000001",
                                               2)));
}

TEST_F(StockEventsTest, WhileProductsIsAwayConfirmationsAndReturnsWait) {
  server_.reset();
  EXPECT_THROW((void)testing::Deliver(db_, handlers_, "stock", TheConfirmationOf(12)), Unavailable);
  EXPECT_THROW((void)testing::Deliver(db_, handlers_, "stock", ItsReturn()), Unavailable);
}

TEST_F(StockEventsTest, WhileProductsIsAwayNothingIsDecided) {
  server_.reset();
  EXPECT_THROW((void)testing::Deliver(db_, handlers_, "stock", AnOrderOf(2)), Unavailable);
  EXPECT_TRUE(Published().empty());
}

}  // namespace
}  // namespace shop::stock
