// An ORDER_CREATED of the next version, with a way to pay and fields that nobody here knows,
// handled by everybody who consumes it: during a rolling upgrade orders may be ahead of all of
// them.
#include <gmock/gmock.h>

#include "common/messaging/event.h"
#include "common/postgres/migrations.h"
#include "common/rpc/identity.h"
#include "common/rpc/server.h"
#include "common/testing/callers.h"
#include "common/testing/database.h"
#include "common/testing/deliver.h"
#include "common/testing/fake_service.h"
#include "messaging_migrations.h"
#include "notification/notification_events.h"
#include "notification_migrations.h"
#include "orders/order_events.h"
#include "orders_migrations.h"
#include "shipping/shipping_events.h"
#include "shipping_migrations.h"
#include "shop/cart/v1/cart.pb.h"
#include "shop/products/v1/products.pb.h"
#include "stock/stock_events.h"

namespace shop {
namespace {

using ::testing::HasSubstr;

constexpr char kValue[] =
    R"({"orderId":12,"orderUuid":"a7f0c3de-0000-4000-8000-000000000012","userId":7,)"
    R"("totalPrice":19.99,"currency":"EUR","paymentMethod":"NEW","gift":{"wrapped":true},)"
    R"("items":[{"productId":1,"quantity":1,"colour":"red"}],"cartVersion":3,)"
    R"("shippingAddress":{"street":"Lane 1","doorCode":"0815"}})";

std::vector<auth::PublicKey> NoKeys() {
  return {};
}

// products, which has everything, and cart.
class FakeServices {
 public:
  rpc::Service Products() {
    return testing::FakeService(rpc::Service("shop.products.v1.ProductsService")
                                    .On("BatchReserveStock", this, &FakeServices::Reserve));
  }
  rpc::Service Cart() {
    return testing::FakeService(rpc::Service("shop.cart.v1.CartService")
                                    .On("EmptyOrderedCart", this, &FakeServices::EmptyCart));
  }
  Result<products::v1::BatchReserveStockResponse> Reserve(
      const Call&, const products::v1::BatchReserveStockRequest& request) {
    products::v1::BatchReserveStockResponse response;
    for (int i = 0; i < request.requests_size(); ++i) response.add_responses()->set_reserved(true);
    return response;
  }
  Result<cart::v1::EmptyOrderedCartResponse> EmptyCart(
      const Call&, const cart::v1::EmptyOrderedCartRequest& request) {
    emptied_of = request.user_id();
    cart::v1::EmptyOrderedCartResponse response;
    response.set_settled(true);
    return response;
  }
  int64_t emptied_of = 0;
};

class NextVersionTest : public ::testing::Test {
 protected:
  NextVersionTest() {
    postgres::Migrate(db_, {kMessagingMigrations, kShippingMigrations, kNotificationMigrations,
                            kOrdersMigrations});
    event_.topic = "orders";
    event_.key = "12";
    event_.id = "e1";
    event_.type = "ORDER_CREATED";
    event_.trace = TraceContext::New();
    event_.value = kValue;
  }

  std::string Value(const std::string& sql) {
    return postgres::Read(db_,
                          [&](postgres::Tx& tx) { return tx.Run(sql)[0][0].as<std::string>(); });
  }

  testing::TestDatabase database_;
  postgres::Pool db_{database_.settings()};
  FakeServices fake_;
  rpc::Identity products_identity_{testing::IdentityOf("products"), NoKeys};
  rpc::Server products_server_{{.host = "127.0.0.1"}, products_identity_, {fake_.Products()}};
  rpc::Identity cart_identity_{testing::IdentityOf("cart"), NoKeys};
  rpc::Server cart_server_{{.host = "127.0.0.1"}, cart_identity_, {fake_.Cart()}};
  rpc::Identity stock_{testing::IdentityOf("stock"), NoKeys};
  rpc::Identity orders_{testing::IdentityOf("orders"), NoKeys};
  messaging::Envelope event_;
};

TEST_F(NextVersionTest, StockReservesAndPassesOnWhatItDoesNotKnow) {
  const rpc::Channel products("products", products_server_.address(), stock_);
  ASSERT_TRUE(testing::Deliver(db_, stock::EventHandlers(products), "stock", event_));
  EXPECT_EQ(Value("SELECT type FROM outbox"), "STOCK_RESERVED");
  EXPECT_THAT(Value("SELECT value FROM outbox"), HasSubstr(R"("paymentMethod":"NEW")"));
}

TEST_F(NextVersionTest, ShippingKeepsTheAddressAsItWasWritten) {
  ASSERT_TRUE(testing::Deliver(db_, shipping::EventHandlers(), "shipping", event_));
  EXPECT_EQ(Value("SELECT address->>'doorCode' FROM shipments"), "0815");
}

TEST_F(NextVersionTest, NotificationKeepsTheEventAsItWasWritten) {
  ASSERT_TRUE(testing::Deliver(db_, notification::EventHandlers(), "notification", event_));
  EXPECT_THAT(Value("SELECT event FROM mail_jobs"), HasSubstr("NEW"));
  EXPECT_THAT(Value("SELECT event FROM mail_jobs"), HasSubstr("gift"));
}

TEST_F(NextVersionTest, TheCartIsEmptied) {
  const rpc::Channel cart("cart", cart_server_.address(), orders_);
  ASSERT_TRUE(testing::Deliver(db_, orders::CartHandlers(cart, db_), "cart", event_));
  EXPECT_EQ(fake_.emptied_of, 7);
}

}  // namespace
}  // namespace shop
