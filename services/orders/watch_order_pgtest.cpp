// WatchOrder over gRPC: an order's timeline as it grows.
#include "common/testing/callers.h"
#include "common/testing/stream_reader.h"
#include "orders/testing/orders_test.h"

namespace shop::orders {
namespace {

class WatchOrderTest : public OrdersServiceTest {
 protected:
  WatchOrderTest() {
    server_identity_.users().Prepare();
    EXPECT_TRUE(testing::Eventually([this] { return server_identity_.users().HasKeys(); }));
  }
  std::unique_ptr<testing::StreamReader> Watch(const v1::Order& order, const Call& who,
                                               int64_t after = 0) {
    v1::WatchOrderRequest request;
    request.set_id(order.id());
    if (after > 0) request.set_last_event_id(after);
    return std::make_unique<testing::StreamReader>(
        server_.address(), callers_.User(who.caller.user_id, who.caller.role),
        "/shop.orders.v1.OrdersService/WatchOrder", request);
  }
  // The next `count` entries; each has the number after the one before.
  static std::vector<std::string> Next(testing::StreamReader& watching, size_t count,
                                       int64_t after = 0) {
    std::vector<std::string> told;
    v1::TimelineEntry entry;
    while (told.size() < count && watching.Next(&entry)) {
      told.push_back(entry.what());
      EXPECT_EQ(entry.sequence(), after + std::ssize(told));
    }
    return told;
  }

  testing::Callers callers_;
  rpc::Identity server_identity_{testing::IdentityOf("orders"), callers_.Keys()};
  rpc::Server server_{{.host = "127.0.0.1"}, server_identity_, {service_.Methods()}};
};

TEST_F(WatchOrderTest, ShowsWhatHasHappenedAndThenWhatHappens) {
  const v1::Order order = Place(7);
  const auto watching = Watch(order, As(7));
  EXPECT_THAT(Next(*watching, 1), ElementsAre("ORDER_CREATED"));
  Confirm(Place(7));  // another one
  Confirm(order);
  EXPECT_THAT(Next(*watching, 3, 1),
              ElementsAre("STOCK_RESERVED", "PAYMENT_COMPLETED", "ORDER_CONFIRMED"));
  ASSERT_TRUE(Cancel(order, As(7)));
  EXPECT_THAT(Next(*watching, 3, 4),
              ElementsAre("CANCEL_REQUESTED", "CANCEL_DECIDED", "ORDER_CANCELLED"));
  const auto resumed = Watch(order, As(7), 5);
  EXPECT_THAT(Next(*resumed, 2, 5), ElementsAre("CANCEL_DECIDED", "ORDER_CANCELLED"));
}

// Another replica has its own pool and hub: what is committed here only its poll can find.
TEST_F(WatchOrderTest, ShowsWhatAnotherReplicaCommits) {
  const v1::Order order = Place(7);
  postgres::Pool other_db(database_.settings());
  OrdersService other(other_db, products_, cart_, shipping_, "USD");
  const rpc::Server other_server({.host = "127.0.0.1"}, server_identity_, {other.Methods()});
  v1::WatchOrderRequest request;
  request.set_id(order.id());
  testing::StreamReader watching(other_server.address(), callers_.User(7),
                                 "/shop.orders.v1.OrdersService/WatchOrder", request);
  EXPECT_THAT(Next(watching, 1), ElementsAre("ORDER_CREATED"));
  ASSERT_TRUE(Receive<events::v1::StockReserved>(order, "e1"));
  EXPECT_THAT(Next(watching, 1, 1), ElementsAre("STOCK_RESERVED"));
}

TEST_F(WatchOrderTest, AnothersOrderIsNotShown) {
  const v1::Order order = Place(7);
  for (const Call& stranger : {As(8), As(8, api::v1::ROLE_SELLER)}) {
    const auto watching = Watch(order, stranger);
    EXPECT_TRUE(Next(*watching, 1).empty());
    EXPECT_EQ(watching->End().refusal().code, Code::kNotFound);
  }
  EXPECT_THAT(Next(*Watch(order, As(1, api::v1::ROLE_ADMIN)), 1), ElementsAre("ORDER_CREATED"));
}

}  // namespace
}  // namespace shop::orders
