// Returns on a real database, with products played by a small fake behind real gRPC.
#include "orders/returns_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <thread>
#include <vector>

#include "common/json/codec.h"
#include "common/rpc/identity.h"
#include "common/rpc/server.h"
#include "common/testing/callers.h"
#include "common/testing/database.h"
#include "common/testing/fake_service.h"
#include "common/testing/published_events.h"
#include "common/testing/servers.h"
#include "idempotency_migrations.h"
#include "messaging_migrations.h"
#include "orders_migrations.h"
#include "shop/events/v1/orders.pb.h"

namespace shop::orders {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr int64_t kCustomer = 7;
constexpr int64_t kSeller = 20;

std::vector<auth::PublicKey> NoKeys() {
  return {};
}

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
      if (!sellers.contains(id)) continue;
      products::v1::Quote& quote = *response.add_items();
      quote.set_product_id(id);
      quote.set_seller_id(sellers.at(id));
    }
    return response;
  }
  std::map<int64_t, int64_t> sellers{{1, kSeller}, {2, kSeller}};
};

class ReturnsServiceTest : public ::testing::Test {
 protected:
  ReturnsServiceTest() {
    postgres::Migrate(db_, {kMessagingMigrations, kIdempotencyMigrations, kOrdersMigrations});
  }

  static Call As(int64_t user, api::v1::Role role = api::v1::ROLE_USER) {
    Call call = rpc::BackgroundCall(TraceContext::New(), std::chrono::seconds(10));
    call.caller.user_id = user;
    call.caller.role = role;
    return call;
  }
  static Call Admin() { return As(1, api::v1::ROLE_ADMIN); }
  static Call Seller(int64_t user = kSeller) { return As(user, api::v1::ROLE_SELLER); }

  // An order of the customer: two mice at 19.99 and five pencils at 0.50.
  int64_t AnOrder(const std::string& status = "DELIVERED") {
    return postgres::InTransaction(db_, [&](postgres::Tx& tx) {
      const auto id = tx.ExecOnce(
                            "INSERT INTO orders (user_id, status, total_price, currency, "
                            "payment_method, stock, "
                            "                    payment, shipment) "
                            "VALUES ($1, $2, 4248, 'USD', 'CREDIT_CARD', 'RESERVED', 'COMPLETED', "
                            "        CASE $2 WHEN 'DELIVERED' THEN 'DELIVERED' WHEN 'SHIPPED' THEN "
                            "'DISPATCHED' END) "
                            "RETURNING id",
                            kCustomer, status)[0][0]
                          .as<int64_t>();
      tx.ExecOnce(
          "INSERT INTO order_items (order_id, line, product_id, name, quantity, unit_price) "
          "VALUES ($1, 1, 1, 'Mouse', 2, 1999), ($1, 2, 2, 'Pencil', 5, 50)",
          id);
      return id;
    });
  }

  static v1::RequestReturnRequest Of(int64_t order, int64_t product, int64_t quantity,
                                     const std::string& key = "") {
    v1::RequestReturnRequest request;
    request.set_order_id(order);
    v1::OrderLine& line = *request.add_items();
    line.set_product_id(product);
    line.set_quantity(quantity);
    request.set_reason("too short");
    request.set_idempotency_key(key);
    return request;
  }
  v1::Return Ask(int64_t order, int64_t product, int64_t quantity) {
    Result<v1::Return> asked = service_.RequestReturn(As(kCustomer), Of(order, product, quantity));
    EXPECT_TRUE(asked);
    return *std::move(asked);
  }
  Result<v1::Return> Accept(const Call& call, const v1::Return& asked) {
    v1::AcceptReturnRequest request;
    request.set_order_id(asked.order_id());
    request.set_return_id(asked.id());
    return service_.AcceptReturn(call, request);
  }
  Result<v1::Return> Reject(const Call& call, const v1::Return& asked) {
    v1::RejectReturnRequest request;
    request.set_order_id(asked.order_id());
    request.set_return_id(asked.id());
    request.set_reason("it has been used");
    return service_.RejectReturn(call, request);
  }
  Result<v1::ListReturnsResponse> List(const Call& call, int64_t order) {
    v1::ListReturnsRequest request;
    request.set_order_id(order);
    return service_.ListReturns(call, request);
  }
  std::vector<std::string> Published() { return testing::PublishedTypes(db_); }

  testing::TestDatabase database_;
  postgres::Pool db_{database_.settings()};
  FakeProducts fake_products_;
  rpc::Identity products_identity_{testing::IdentityOf("products"), NoKeys};
  rpc::Server products_server_{
      {.host = "127.0.0.1"}, products_identity_, {testing::FakeService(fake_products_.Methods())}};
  rpc::Identity identity_{testing::IdentityOf("orders"), NoKeys};
  rpc::Channel products_{"products", products_server_.address(), identity_};
  ReturnsService service_{db_, products_, Deadlines()};
};

TEST_F(ReturnsServiceTest, AReturnIsAskedForAtThePricesOfTheOrder) {
  const int64_t order = AnOrder();
  const v1::Return asked = Ask(order, 1, 2);
  EXPECT_EQ(asked.order_id(), order);
  EXPECT_EQ(asked.status(), v1::RETURN_STATUS_REQUESTED);
  EXPECT_EQ(asked.items(0).name(), "Mouse");
  EXPECT_EQ(asked.total_price(), 3998);
  EXPECT_EQ(asked.reason(), "too short");
  EXPECT_FALSE(asked.has_decided_at());
  EXPECT_THAT(Published(), IsEmpty());
}

TEST_F(ReturnsServiceTest, SomebodyElsesOrderIsNotFound) {
  const int64_t order = AnOrder();
  const v1::Return asked = Ask(order, 1, 1);
  for (const Call& call : {As(8), Seller()}) {
    EXPECT_EQ(service_.RequestReturn(call, Of(order, 1, 1)).refusal().code, Code::kNotFound);
    EXPECT_EQ(List(call, order).refusal().code, Code::kNotFound);
  }
  EXPECT_EQ(List(Admin(), order)->items_size(), 1);
  EXPECT_EQ(List(Admin(), order + 1).refusal().code, Code::kNotFound);
}

TEST_F(ReturnsServiceTest, OnlyADeliveredOrderIsReturned) {
  const Result<v1::Return> asked =
      service_.RequestReturn(As(kCustomer), Of(AnOrder("SHIPPED"), 1, 1));
  ASSERT_FALSE(asked);
  EXPECT_EQ(asked.refusal().reason, "NOT_DELIVERED");
}

TEST_F(ReturnsServiceTest, NoMoreIsReturnedThanWasBoughtUnlessItWasRejected) {
  const int64_t order = AnOrder();
  const v1::Return first = Ask(order, 1, 1);
  const v1::Return second = Ask(order, 1, 1);
  const Result<v1::Return> third = service_.RequestReturn(As(kCustomer), Of(order, 1, 1));
  ASSERT_FALSE(third);
  EXPECT_EQ(third.refusal().reason, "TOO_MUCH_RETURNED");
  ASSERT_TRUE(Accept(Admin(), first));
  EXPECT_FALSE(service_.RequestReturn(As(kCustomer), Of(order, 1, 1)));
  ASSERT_TRUE(Reject(Admin(), second));
  EXPECT_TRUE(service_.RequestReturn(As(kCustomer), Of(order, 1, 1)));
}

TEST_F(ReturnsServiceTest, ManyAtOnceReturnNoMoreThanWasBought) {
  const int64_t order = AnOrder();
  std::atomic<int> asked = 0;
  std::vector<std::thread> clients;
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back([&] {
      if (service_.RequestReturn(As(kCustomer), Of(order, 1, 1))) ++asked;
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(asked, 2);
}

TEST_F(ReturnsServiceTest, ARepeatedKeyAsksOnce) {
  const int64_t order = AnOrder();
  const Result<v1::Return> first = service_.RequestReturn(As(kCustomer), Of(order, 1, 1, "k"));
  ASSERT_TRUE(first);
  ASSERT_TRUE(Accept(Admin(), *first));
  const Call repeating = As(kCustomer);
  const Result<v1::Return> repeat = service_.RequestReturn(repeating, Of(order, 1, 1, "k"));
  ASSERT_TRUE(repeat);
  EXPECT_TRUE(repeating.replayed);
  EXPECT_EQ(repeat->SerializeAsString(), first->SerializeAsString());
  EXPECT_EQ(List(As(kCustomer), order)->items_size(), 1);
}

TEST_F(ReturnsServiceTest, AnAcceptedReturnIsPublishedOnce) {
  const int64_t order = AnOrder();
  const v1::Return asked = Ask(order, 2, 3);
  const Result<v1::Return> accepted = Accept(Seller(), asked);
  ASSERT_TRUE(accepted) << accepted.refusal().message;
  EXPECT_EQ(accepted->status(), v1::RETURN_STATUS_ACCEPTED);
  EXPECT_TRUE(accepted->has_decided_at());
  EXPECT_EQ(Accept(Admin(), asked)->SerializeAsString(), accepted->SerializeAsString());

  const auto published = testing::PublishedEvents(db_);
  ASSERT_EQ(published.size(), 1u);
  EXPECT_EQ(published[0].type, "ORDER_RETURNED");
  events::v1::OrderReturned event;
  ASSERT_TRUE(json::Read(published[0].value, &event));
  EXPECT_EQ(event.order_id(), order);
  EXPECT_EQ(event.user_id(), kCustomer);
  EXPECT_EQ(event.return_uuid().size(), 36u);
  EXPECT_EQ(event.seq(), 2);
  ASSERT_EQ(event.items_size(), 1);
  EXPECT_EQ(event.items(0).product_id(), 2);
  EXPECT_EQ(event.items(0).quantity(), 3);
  EXPECT_EQ(event.items(0).total_price(), 150);
}

TEST_F(ReturnsServiceTest, TwoWhoDecideAtOnceTakeTurns) {
  const v1::Return asked = Ask(AnOrder(), 1, 1);
  std::atomic<int> accepted = 0, rejected = 0;
  std::vector<std::thread> deciding;
  for (int i = 0; i < 8; ++i) {
    deciding.emplace_back([&, i] {
      if (i % 2 == 0 && Accept(Admin(), asked)) ++accepted;
      if (i % 2 == 1 && Reject(Admin(), asked)) ++rejected;
    });
  }
  for (std::thread& one : deciding) one.join();
  EXPECT_EQ(accepted + rejected, 4);
  EXPECT_TRUE(accepted == 0 || rejected == 0);
  EXPECT_EQ(Published().size(), accepted > 0 ? 1u : 0u);
}

TEST_F(ReturnsServiceTest, ARejectedReturnSaysWhyAndPublishesNothing) {
  const v1::Return asked = Ask(AnOrder(), 1, 1);
  const Result<v1::Return> rejected = Reject(Seller(), asked);
  ASSERT_TRUE(rejected);
  EXPECT_EQ(rejected->status(), v1::RETURN_STATUS_REJECTED);
  EXPECT_EQ(rejected->rejection(), "it has been used");
  EXPECT_EQ(Accept(Admin(), asked).refusal().reason, "ILLEGAL_MOVE");
  EXPECT_THAT(Published(), IsEmpty());
}

TEST_F(ReturnsServiceTest, OnlyTheSellerOfEveryProductDecides) {
  const int64_t order = AnOrder();
  v1::RequestReturnRequest both = Of(order, 1, 1);
  *both.add_items() = Of(order, 2, 1).items(0);
  const Result<v1::Return> asked = service_.RequestReturn(As(kCustomer), both);
  ASSERT_TRUE(asked);
  EXPECT_EQ(Accept(Seller(21), *asked).refusal().code, Code::kNotFound);
  fake_products_.sellers[2] = 21;
  EXPECT_EQ(Accept(Seller(), *asked).refusal().code, Code::kNotFound);
  fake_products_.sellers.erase(2);
  EXPECT_EQ(Reject(Seller(), *asked).refusal().code, Code::kNotFound);
  EXPECT_THAT(Published(), IsEmpty());
  EXPECT_TRUE(Accept(Admin(), *asked));
}

TEST_F(ReturnsServiceTest, AReturnOfAnotherOrderIsNotFound) {
  v1::Return asked = Ask(AnOrder(), 1, 1);
  asked.set_order_id(AnOrder());
  EXPECT_EQ(Accept(Admin(), asked).refusal().code, Code::kNotFound);
  asked.set_id(asked.id() + 100);
  EXPECT_EQ(Reject(Seller(), asked).refusal().code, Code::kNotFound);
}

TEST_F(ReturnsServiceTest, ReturnsAreListedFirstToLast) {
  const int64_t order = AnOrder();
  EXPECT_EQ(List(As(kCustomer), order)->items_size(), 0);
  const v1::Return first = Ask(order, 1, 1);
  const v1::Return second = Ask(order, 2, 2);
  const Result<v1::ListReturnsResponse> list = List(As(kCustomer), order);
  ASSERT_TRUE(list);
  ASSERT_EQ(list->items_size(), 2);
  EXPECT_EQ(list->items(0).SerializeAsString(), first.SerializeAsString());
  EXPECT_EQ(list->items(1).SerializeAsString(), second.SerializeAsString());
}

}  // namespace
}  // namespace shop::orders
