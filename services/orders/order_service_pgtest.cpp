// The orders service on a real database, with products and cart played by small fakes behind real
// gRPC.
#include "orders/order_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "common/kafka/events.h"
#include "common/rpc/identity.h"
#include "common/rpc/server.h"
#include "common/testing/database.h"
#include "messaging_migrations.h"
#include "orders/order_events.h"
#include "orders_migrations.h"
#include "shop/events/v1/stock.pb.h"

namespace shop::orders {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kServiceKey[] = "0123456789abcdef0123456789abcdef";

rpc::Identity::Settings IdentityOf(const std::string& name) {
  return {name, "", kServiceKey};
}

std::vector<auth::PublicKey> NoKeys() {
  return {};
}

// Sells product 1 (19.99) and product 2 (5.00).
class FakeProducts {
 public:
  rpc::Service Methods() {
    return rpc::Service("shop.products.v1.ProductsService")
        .On("QuoteProducts", this, &FakeProducts::QuoteProducts);
  }
  Result<products::v1::QuoteProductsResponse> QuoteProducts(
      const Call&, const products::v1::QuoteProductsRequest& request) {
    products::v1::QuoteProductsResponse response;
    for (const int64_t id : request.ids()) {
      if (id > 2) continue;
      products::v1::Quote* quote = response.add_items();
      quote->set_product_id(id);
      quote->set_name(id == 1 ? "Desk lamp \"Ada\", {black}" : "Pencil");
      quote->set_price(id == 1 ? 1999 : 500);
    }
    ++asked;
    return response;
  }
  std::atomic<int> asked = 0;
};

class FakeCart {
 public:
  rpc::Service Methods() {
    return rpc::Service("shop.cart.v1.CartService").On("GetCart", this, &FakeCart::GetCart);
  }
  Result<cart::v1::Cart> GetCart(const Call&, const cart::v1::GetCartRequest& request) {
    cart::v1::Cart cart = content;
    cart.set_user_id(request.user_id());
    return cart;
  }
  cart::v1::Cart content;
};

class OrderServiceTest : public ::testing::Test {
 protected:
  OrderServiceTest() { postgres::Migrate(db_, {kMessagingMigrations, kOrdersMigrations}); }

  static Call As(int64_t user, api::v1::Role role = api::v1::ROLE_USER) {
    Call call = rpc::BackgroundCall(TraceContext::New(), std::chrono::seconds(10));
    call.caller.user_id = user;
    call.caller.role = role;
    return call;
  }

  static v1::CreateOrderRequest Of(int64_t product, int64_t quantity, std::string key = "") {
    v1::CreateOrderRequest request;
    v1::OrderLine* line = request.add_items();
    line->set_product_id(product);
    line->set_quantity(quantity);
    request.set_idempotency_key(std::move(key));
    return request;
  }

  v1::Order Place(int64_t user) {
    Result<v1::Order> order = service_.CreateOrder(As(user), Of(1, 2));
    EXPECT_TRUE(order);
    return *std::move(order);
  }

  v1::Order Get(int64_t id) {
    v1::GetOrderRequest request;
    request.set_id(id);
    return *service_.GetOrder(As(1, api::v1::ROLE_ADMIN), request);
  }

  Result<v1::OrderState> MoveTo(const v1::Order& order, v1::OrderStatus status,
                                const std::string& reason = "") {
    v1::UpdateOrderStatusRequest request;
    request.set_id(order.id());
    request.set_status(status);
    request.set_reason(reason);
    return service_.UpdateOrderStatus(As(1, api::v1::ROLE_ADMIN), request);
  }

  std::vector<std::string> Announced() {
    std::vector<std::string> types;
    postgres::InTransaction(db_, [&](postgres::Tx& tx) {
      for (const auto& row : tx.Run("SELECT type FROM outbox ORDER BY id")) {
        types.push_back(row[0].as<std::string>());
      }
    });
    return types;
  }

  // What a message about an order says, as the event that has this id.
  template <typename Message>
  static kafka::Event Word(const v1::Order& order, const std::string& event_id) {
    Message message;
    message.set_order_id(order.id());
    message.set_order_uuid(order.uuid());
    kafka::Event event = kafka::Compose(message, {.source = "stock", .trace = TraceContext::New()});
    event.id = event_id;
    return event;
  }
  Result<void> Deliver(const std::vector<kafka::Event>& events) {
    return kafka::Deliver(db_, EventHandlers(), "orders", events);
  }
  template <typename Message>
  Result<void> Hear(const v1::Order& order, const std::string& event_id) {
    return Deliver({Word<Message>(order, event_id)});
  }

  testing::TestDatabase database_;
  postgres::Pool db_{database_.settings()};
  FakeProducts fake_products_;
  FakeCart fake_cart_;
  rpc::Identity products_identity_{IdentityOf("products"), NoKeys};
  rpc::Server products_server_{
      {.host = "127.0.0.1", .every_method = false}, products_identity_, {fake_products_.Methods()}};
  rpc::Server cart_server_{
      {.host = "127.0.0.1", .every_method = false}, products_identity_, {fake_cart_.Methods()}};
  rpc::Identity identity_{IdentityOf("orders"), NoKeys};
  rpc::Channel products_{products_server_.address(), &identity_};
  rpc::Channel cart_{cart_server_.address(), &identity_};
  std::atomic<int> wakes_ = 0;
  OrderService service_{db_, products_, cart_, "USD", [this] { ++wakes_; }};
};

TEST_F(OrderServiceTest, AnOrderHasTheNamesAndPricesOfTheMomentItWasPlaced) {
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

TEST_F(OrderServiceTest, PlacingAnOrderAnnouncesItOnce) {
  Place(7);
  EXPECT_THAT(Announced(), ElementsAre("ORDER_CREATED"));
  EXPECT_EQ(wakes_, 1);
}

TEST_F(OrderServiceTest, AnOrderOfAnUnknownProductLeavesNothingBehind) {
  const Result<v1::Order> placed = service_.CreateOrder(As(7), Of(99, 1));
  ASSERT_FALSE(placed);
  EXPECT_EQ(placed.refusal().code, Code::kNotFound);
  EXPECT_THAT(Announced(), ElementsAre());
}

TEST_F(OrderServiceTest, ARepeatedKeyAnswersTheOrderOfTheFirstRequest) {
  const Result<v1::Order> first = service_.CreateOrder(As(7), Of(1, 2, "k1"));
  const Result<v1::Order> second = service_.CreateOrder(As(7), Of(1, 2, "k1"));
  ASSERT_TRUE(first);
  ASSERT_TRUE(second);
  EXPECT_EQ(first->id(), second->id());
  EXPECT_THAT(Announced(), ElementsAre("ORDER_CREATED"));
}

TEST_F(OrderServiceTest, AKeyWithAnotherRequestIsRefused) {
  ASSERT_TRUE(service_.CreateOrder(As(7), Of(1, 2, "k1")));
  const Result<v1::Order> other = service_.CreateOrder(As(7), Of(1, 3, "k1"));
  ASSERT_FALSE(other);
  EXPECT_EQ(other.refusal().reason, "IDEMPOTENCY_KEY_REUSED");
}

TEST_F(OrderServiceTest, AKeyIsItsUsersOwn) {
  const Result<v1::Order> mine = service_.CreateOrder(As(7), Of(1, 2, "k1"));
  const Result<v1::Order> theirs = service_.CreateOrder(As(8), Of(1, 2, "k1"));
  ASSERT_TRUE(mine);
  ASSERT_TRUE(theirs);
  EXPECT_NE(mine->id(), theirs->id());
}

TEST_F(OrderServiceTest, ARefusedRequestLeavesItsKeyFree) {
  ASSERT_FALSE(service_.CreateOrder(As(7), Of(99, 1, "k1")));
  EXPECT_TRUE(service_.CreateOrder(As(7), Of(1, 1, "k1")));
}

TEST_F(OrderServiceTest, ManyAtOnceWithOneKeyMakeOneOrder) {
  std::atomic<int> answered = 0;
  std::vector<std::thread> clients;
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back([&] {
      if (service_.CreateOrder(As(7), Of(1, 2, "k1"))) ++answered;
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(answered, 8);
  EXPECT_THAT(Announced(), ElementsAre("ORDER_CREATED"));
}

TEST_F(OrderServiceTest, OneVersionOfACartMakesOneOrder) {
  fake_cart_.content.set_version(4);
  cart::v1::CartItem* item = fake_cart_.content.add_items();
  item->set_product_id(2);
  item->set_quantity(3);
  v1::CreateOrderRequest request;
  request.set_from_cart(true);
  const Result<v1::Order> first = service_.CreateOrder(As(7), request);
  const Result<v1::Order> second = service_.CreateOrder(As(7), request);
  ASSERT_TRUE(first) << first.refusal().message;
  ASSERT_TRUE(second) << second.refusal().message;
  EXPECT_EQ(first->total_price(), 1500);
  EXPECT_EQ(first->id(), second->id());
  EXPECT_EQ(second->items_size(), 1);
  EXPECT_THAT(Announced(), ElementsAre("ORDER_CREATED"));
}

TEST_F(OrderServiceTest, AnEmptyCartCannotBeOrdered) {
  v1::CreateOrderRequest request;
  request.set_from_cart(true);
  const Result<v1::Order> placed = service_.CreateOrder(As(7), request);
  ASSERT_FALSE(placed);
  EXPECT_EQ(placed.refusal().code, Code::kFailedPrecondition);
}

TEST_F(OrderServiceTest, AnothersOrderIsNotFound) {
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

TEST_F(OrderServiceTest, AUserListsTheirOwnOrdersNewestFirstAndAnAdminEverybodys) {
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

TEST_F(OrderServiceTest, ByCursorNoOrderIsRepeatedOrLeftOutWhileOthersArePlaced) {
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

TEST_F(OrderServiceTest, ReservedStockConfirmsTheOrder) {
  const v1::Order order = Place(7);
  ASSERT_TRUE(Hear<events::v1::StockReserved>(order, "e1"));
  EXPECT_EQ(Get(order.id()).status(), v1::ORDER_STATUS_PROCESSING);
  EXPECT_THAT(Announced(), ElementsAre("ORDER_CREATED", "ORDER_CONFIRMED"));
}

TEST_F(OrderServiceTest, RejectedStockCancelsTheOrderWithTheReason) {
  const v1::Order order = Place(7);
  ASSERT_TRUE(Hear<events::v1::StockRejected>(order, "e1"));
  EXPECT_EQ(Get(order.id()).status(), v1::ORDER_STATUS_CANCELLED);
  EXPECT_THAT(Get(order.id()).reason(), HasSubstr("not enough stock"));
  EXPECT_THAT(Announced(), ElementsAre("ORDER_CREATED", "ORDER_CANCELLED"));
}

TEST_F(OrderServiceTest, WordsOfStockThatComeTogetherEachMoveTheirOrder) {
  const v1::Order first = Place(7);
  const v1::Order second = Place(8);
  ASSERT_TRUE(Deliver({Word<events::v1::StockReserved>(second, "e1"),
                       Word<events::v1::StockReserved>(first, "e2"),
                       Word<events::v1::StockReserved>(second, "e3")}));
  EXPECT_EQ(Get(first.id()).status(), v1::ORDER_STATUS_PROCESSING);
  EXPECT_EQ(Get(second.id()).status(), v1::ORDER_STATUS_PROCESSING);
  EXPECT_THAT(Announced(),
              ElementsAre("ORDER_CREATED", "ORDER_CREATED", "ORDER_CONFIRMED", "ORDER_CONFIRMED"));
}

TEST_F(OrderServiceTest, AWordAboutAnUnknownOrderMovesNoneOfThoseItCameWith) {
  const v1::Order order = Place(7);
  v1::Order unknown = order;
  unknown.set_id(order.id() + 1);
  EXPECT_FALSE(Deliver({Word<events::v1::StockReserved>(order, "e1"),
                        Word<events::v1::StockReserved>(unknown, "e2")}));
  EXPECT_EQ(Get(order.id()).status(), v1::ORDER_STATUS_PENDING);
}

TEST_F(OrderServiceTest, TheFirstWordOfStockStands) {
  const v1::Order order = Place(7);
  ASSERT_TRUE(Hear<events::v1::StockReserved>(order, "e1"));
  ASSERT_TRUE(Hear<events::v1::StockReserved>(order, "e2"));
  ASSERT_TRUE(Hear<events::v1::StockRejected>(order, "e3"));
  EXPECT_EQ(Get(order.id()).status(), v1::ORDER_STATUS_PROCESSING);
  EXPECT_THAT(Announced(), ElementsAre("ORDER_CREATED", "ORDER_CONFIRMED"));
}

TEST_F(OrderServiceTest, MovingAnOrderByHandAnnouncesTheMoveOnce) {
  const v1::Order order = Place(7);
  ASSERT_TRUE(Hear<events::v1::StockReserved>(order, "e1"));
  ASSERT_TRUE(MoveTo(order, v1::ORDER_STATUS_SHIPPED));
  ASSERT_TRUE(MoveTo(order, v1::ORDER_STATUS_SHIPPED));
  ASSERT_TRUE(MoveTo(order, v1::ORDER_STATUS_DELIVERED));
  EXPECT_THAT(Announced(),
              ElementsAre("ORDER_CREATED", "ORDER_CONFIRMED", "ORDER_SHIPPED", "ORDER_DELIVERED"));
  EXPECT_EQ(Get(order.id()).status(), v1::ORDER_STATUS_DELIVERED);
}

TEST_F(OrderServiceTest, AnIllegalMoveChangesNothing) {
  const v1::Order order = Place(7);
  const Result<v1::OrderState> moved = MoveTo(order, v1::ORDER_STATUS_DELIVERED);
  ASSERT_FALSE(moved);
  EXPECT_EQ(moved.refusal().code, Code::kFailedPrecondition);
  EXPECT_EQ(Get(order.id()).status(), v1::ORDER_STATUS_PENDING);
  EXPECT_THAT(Announced(), ElementsAre("ORDER_CREATED"));
}

TEST_F(OrderServiceTest, AnOrderCancelledByHandStaysSoWhenItsStockIsReservedLater) {
  const v1::Order order = Place(7);
  ASSERT_TRUE(MoveTo(order, v1::ORDER_STATUS_CANCELLED, "out of season"));
  ASSERT_TRUE(Hear<events::v1::StockReserved>(order, "e1"));
  EXPECT_EQ(Get(order.id()).status(), v1::ORDER_STATUS_CANCELLED);
  EXPECT_EQ(Get(order.id()).reason(), "out of season");
  EXPECT_THAT(Announced(), ElementsAre("ORDER_CREATED", "ORDER_CANCELLED"));
}

TEST_F(OrderServiceTest, AnAdminFindsOrdersByUserStateAndTime) {
  const v1::Order first = Place(7);
  Place(8);
  ASSERT_TRUE(Hear<events::v1::StockReserved>(first, "e1"));
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

}  // namespace
}  // namespace shop::orders
