#include "cart/cart_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <mutex>
#include <thread>

#include "common/rpc/identity.h"
#include "common/rpc/server.h"
#include "common/testing/callers.h"
#include "common/testing/fake_service.h"
#include "common/testing/servers.h"

namespace shop::cart {
namespace {

using ::testing::SizeIs;

constexpr int64_t kAda = 7;
constexpr int64_t kMug = 31;
constexpr int64_t kLamp = 12;
// products with nothing but quotes, in this process.
class FakeProducts {
 public:
  FakeProducts() {
    rpc::ServerSettings settings;
    settings.host = "127.0.0.1";
    server_ = std::make_unique<rpc::Server>(
        settings, identity_,
        std::vector{testing::FakeService(rpc::Service("shop.products.v1.ProductsService")
                                             .On("QuoteProducts", this, &FakeProducts::Quote))});
    address_ = server_->address();
  }

  void Sell(int64_t id, const std::string& name, int64_t price, int64_t stock) {
    const std::lock_guard lock(mutex_);
    products::v1::Quote& quote = catalogue_[id];
    quote.set_product_id(id);
    quote.set_name(name);
    quote.set_price(price);
    quote.set_stock(stock);
  }
  void Delete(int64_t id) {
    const std::lock_guard lock(mutex_);
    catalogue_.erase(id);
  }
  void Stop() { server_.reset(); }

  std::string address() const { return address_; }
  int calls() const {
    const std::lock_guard lock(mutex_);
    return calls_;
  }

 private:
  Result<products::v1::QuoteProductsResponse> Quote(
      const Call&, const products::v1::QuoteProductsRequest& request) {
    const std::lock_guard lock(mutex_);
    ++calls_;
    products::v1::QuoteProductsResponse response;
    for (const int64_t id : request.ids()) {
      if (catalogue_.contains(id)) *response.add_items() = catalogue_[id];
    }
    return response;
  }

  mutable std::mutex mutex_;
  std::map<int64_t, products::v1::Quote> catalogue_;
  int calls_ = 0;
  rpc::Identity identity_{testing::IdentityOf("products"),
                          [] { return std::vector<auth::PublicKey>(); }};
  std::unique_ptr<rpc::Server> server_;
  std::string address_;
};

class CartServiceTest : public ::testing::Test {
 protected:
  CartServiceTest() {
    products.Sell(kMug, "Mug", 1250, 10);
    products.Sell(kLamp, "Lamp", 4999, 3);
  }

  static Call As(int64_t user_id) {
    Call call = rpc::BackgroundCall(TraceContext::New(), std::chrono::seconds(5));
    call.caller.user_id = user_id;
    call.caller.role = api::v1::ROLE_USER;
    return call;
  }
  static Call AsOrders() {
    Call call = rpc::BackgroundCall(TraceContext::New(), std::chrono::seconds(5));
    call.caller.service = "orders";
    return call;
  }

  Result<v1::Cart> Add(int64_t product_id, int64_t quantity) {
    v1::AddItemRequest request;
    request.set_product_id(product_id);
    request.set_quantity(quantity);
    return service.AddItem(As(kAda), request);
  }
  Result<v1::Cart> Update(int64_t product_id, int64_t quantity) {
    v1::UpdateItemRequest request;
    request.set_product_id(product_id);
    request.set_quantity(quantity);
    return service.UpdateItem(As(kAda), request);
  }
  Result<google::protobuf::Empty> Remove(int64_t product_id) {
    v1::RemoveItemRequest request;
    request.set_product_id(product_id);
    return service.RemoveItem(As(kAda), request);
  }
  // An order of all that the cart holds.
  static v1::EmptyOrderedCartRequest Ordering(const std::string& uuid, const v1::Cart& cart) {
    v1::EmptyOrderedCartRequest request;
    request.set_user_id(cart.user_id());
    request.set_version(cart.version());
    request.set_order_uuid(uuid);
    for (const v1::CartItem& item : cart.items()) {
      v1::OrderedItem* ordered = request.add_items();
      ordered->set_product_id(item.product_id());
      ordered->set_quantity(item.quantity());
    }
    return request;
  }
  v1::Cart Get() {
    const Result<v1::Cart> cart = service.GetCart(As(kAda), {});
    EXPECT_TRUE(cart) << cart.refusal().message;
    return *cart;
  }

  FakeProducts products;
  rpc::Identity identity{testing::IdentityOf("cart"),
                         [] { return std::vector<auth::PublicKey>(); }};
  rpc::Channel channel{"products", products.address(), identity};
  CartStore store{{shop::testing::Server("MONGODB_URI"), shop::testing::UniqueName()}};
  CartService service{store, channel, "EUR"};
};

void ExpectOutOfStock(const Result<v1::Cart>& answer, const std::string& message) {
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.refusal().code, Code::kFailedPrecondition);
  EXPECT_EQ(answer.refusal().reason, "OUT_OF_STOCK");
  ASSERT_THAT(answer.refusal().details, SizeIs(1));
  EXPECT_EQ(answer.refusal().details[0].field, "quantity");
  EXPECT_EQ(answer.refusal().details[0].message, message);
}

void ExpectRefused(const Result<v1::Cart>& answer, Code code, const std::string& field = "") {
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.refusal().code, code);
  if (field.empty()) return;
  ASSERT_THAT(answer.refusal().details, SizeIs(1));
  EXPECT_EQ(answer.refusal().details[0].field, field);
}

TEST_F(CartServiceTest, TheCartOfSomebodyNewIsEmptyAtVersionZero) {
  const v1::Cart cart = Get();
  EXPECT_EQ(cart.user_id(), kAda);
  EXPECT_EQ(cart.version(), 0);
  EXPECT_EQ(cart.currency(), "EUR");
  EXPECT_THAT(cart.items(), SizeIs(0));
  EXPECT_EQ(products.calls(), 0);
}

TEST_F(CartServiceTest, NamePriceAndTotalsComeFromProducts) {
  ASSERT_TRUE(Add(kMug, 2));
  const Result<v1::Cart> cart = Add(kLamp, 1);
  ASSERT_TRUE(cart);
  ASSERT_THAT(cart->items(), SizeIs(2));
  for (const v1::CartItem& item : cart->items()) {
    const bool mug = item.product_id() == kMug;
    EXPECT_EQ(item.name(), mug ? "Mug" : "Lamp");
    EXPECT_EQ(item.unit_price(), mug ? 1250 : 4999);
    EXPECT_EQ(item.total_price(), mug ? 2500 : 4999);
    EXPECT_FALSE(item.has_previous_unit_price());
    EXPECT_TRUE(item.available());
  }
  EXPECT_EQ(cart->total_price(), 7499);
  EXPECT_EQ(cart->total_items(), 3);
  EXPECT_EQ(cart->version(), 2);
}

TEST_F(CartServiceTest, OneCallToProductsAnswersTheWholeCart) {
  ASSERT_TRUE(Add(kMug, 2));
  ASSERT_TRUE(Add(kLamp, 1));
  const int before = products.calls();
  EXPECT_THAT(Get().items(), SizeIs(2));
  EXPECT_EQ(products.calls(), before + 1);
}

TEST_F(CartServiceTest, QuantitiesOfOneProductAddUp) {
  ASSERT_TRUE(Add(kMug, 2));
  const Result<v1::Cart> cart = Add(kMug, 3);
  ASSERT_TRUE(cart);
  ASSERT_THAT(cart->items(), SizeIs(1));
  EXPECT_EQ(cart->items(0).quantity(), 5);
}

TEST_F(CartServiceTest, MoreThanIsInStockInTotalNamesWhatIsLeft) {
  ASSERT_TRUE(Add(kLamp, 2));
  ExpectOutOfStock(Add(kLamp, 2), "only 3 left");
  EXPECT_EQ(Get().items(0).quantity(), 2);
  products.Sell(kMug, "Mug", 1250, 0);
  ExpectOutOfStock(Add(kMug, 1), "none left");
}

TEST_F(CartServiceTest, AddsAtOnceTakeNoMoreThanIsInStock) {
  std::vector<std::thread> buyers;
  for (int i = 0; i < 8; ++i) {
    buyers.emplace_back([&] {
      for (int round = 0; round < 4; ++round) (void)Add(kMug, 1);
    });
  }
  for (std::thread& buyer : buyers) buyer.join();
  EXPECT_EQ(Get().items(0).quantity(), 10);
}

TEST_F(CartServiceTest, AnUnknownProductIsNotFound) {
  ExpectRefused(Add(999, 1), Code::kNotFound);
}

TEST_F(CartServiceTest, ALineHoldsAtMostAThousand) {
  products.Sell(kMug, "Mug", 1250, 5000);
  ASSERT_TRUE(Add(kMug, 999));
  ExpectRefused(Add(kMug, 2), Code::kFailedPrecondition, "quantity");
  EXPECT_TRUE(Add(kMug, 1));
}

TEST_F(CartServiceTest, ACartHoldsAtMostAHundredProducts) {
  for (int64_t id = 1000; id < 1100; ++id) {
    products.Sell(id, "Thing", 100, 10);
    ASSERT_TRUE(Add(id, 1));
  }
  ExpectRefused(Add(kMug, 1), Code::kFailedPrecondition, "productId");
  EXPECT_TRUE(Add(1000, 1));
}

TEST_F(CartServiceTest, UpdatingSetsTheQuantity) {
  ASSERT_TRUE(Add(kMug, 2));
  const Result<v1::Cart> cart = Update(kMug, 9);
  ASSERT_TRUE(cart);
  EXPECT_EQ(cart->items(0).quantity(), 9);
  EXPECT_EQ(cart->total_price(), 11250);
}

TEST_F(CartServiceTest, UpdatingWhatIsNotInTheCartIsNotFound) {
  ExpectRefused(Update(kMug, 1), Code::kNotFound);
}

TEST_F(CartServiceTest, UpdatingToMoreThanIsInStockIsRefused) {
  ASSERT_TRUE(Add(kLamp, 1));
  ExpectOutOfStock(Update(kLamp, 4), "only 3 left");
}

TEST_F(CartServiceTest, TakingOutTwiceIsHarmless) {
  ASSERT_TRUE(Add(kMug, 2));
  ASSERT_TRUE(Add(kLamp, 1));
  ASSERT_TRUE(Remove(kMug));
  ASSERT_TRUE(Remove(kMug));
  EXPECT_EQ(Get().total_price(), 4999);
  EXPECT_EQ(Get().version(), 3);
}

TEST_F(CartServiceTest, ClearingKeepsTheVersionGoing) {
  ASSERT_TRUE(Add(kMug, 2));
  ASSERT_TRUE(service.ClearCart(As(kAda), {}));
  EXPECT_THAT(Get().items(), SizeIs(0));
  EXPECT_EQ(Get().version(), 2);
}

TEST_F(CartServiceTest, APriceThatChangedIsShownWithTheOldOne) {
  ASSERT_TRUE(Add(kMug, 2));
  products.Sell(kMug, "Large mug", 1500, 10);
  const v1::Cart cart = Get();
  EXPECT_EQ(cart.items(0).name(), "Large mug");
  EXPECT_EQ(cart.items(0).unit_price(), 1500);
  EXPECT_EQ(cart.items(0).previous_unit_price(), 1250);
  EXPECT_EQ(cart.total_price(), 3000);
}

TEST_F(CartServiceTest, WhatIsShortIsNotAvailable) {
  ASSERT_TRUE(Add(kMug, 2));
  products.Sell(kMug, "Mug", 1250, 1);
  EXPECT_FALSE(Get().items(0).available());
}

TEST_F(CartServiceTest, AProductThatIsGoneIsShownButNotCounted) {
  ASSERT_TRUE(Add(kMug, 2));
  ASSERT_TRUE(Add(kLamp, 1));
  products.Delete(kMug);
  const v1::Cart cart = Get();
  ASSERT_THAT(cart.items(), SizeIs(2));
  const v1::CartItem& mug = cart.items(cart.items(0).product_id() == kMug ? 0 : 1);
  EXPECT_EQ(mug.name(), "Mug");
  EXPECT_EQ(mug.unit_price(), 1250);
  EXPECT_FALSE(mug.available());
  EXPECT_FALSE(mug.has_previous_unit_price());
  EXPECT_EQ(cart.total_price(), 4999);
  EXPECT_EQ(cart.total_items(), 1);
}

TEST_F(CartServiceTest, AUserAlwaysGetsTheirOwnCart) {
  ASSERT_TRUE(Add(kMug, 2));
  v1::GetCartRequest request;
  request.set_user_id(kAda);
  const Result<v1::Cart> cart = service.GetCart(As(kAda + 1), request);
  ASSERT_TRUE(cart);
  EXPECT_EQ(cart->user_id(), kAda + 1);
  EXPECT_THAT(cart->items(), SizeIs(0));
}

TEST_F(CartServiceTest, OrdersReadsTheCartOfTheUserItNames) {
  ASSERT_TRUE(Add(kMug, 2));
  v1::GetCartRequest request;
  request.set_user_id(kAda);
  const Result<v1::Cart> cart = service.GetCart(AsOrders(), request);
  ASSERT_TRUE(cart);
  EXPECT_EQ(cart->items(0).product_id(), kMug);
}

TEST_F(CartServiceTest, OrdersHasToNameAUser) {
  ExpectRefused(service.GetCart(AsOrders(), {}), Code::kInvalidArgument, "userId");
}

TEST_F(CartServiceTest, EmptyingAnOrderedCartLeavesWhatWasAddedMeanwhile) {
  ASSERT_TRUE(Add(kMug, 2));
  const v1::EmptyOrderedCartRequest request = Ordering("a", Get());
  ASSERT_TRUE(Add(kMug, 1));
  ASSERT_TRUE(Add(kLamp, 1));
  const auto emptied = service.EmptyOrderedCart(AsOrders(), request);
  ASSERT_TRUE(emptied);
  EXPECT_TRUE(emptied->emptied());
  EXPECT_TRUE(emptied->settled());
  EXPECT_EQ(Get().total_price(), 1250 + 4999);
}

TEST_F(CartServiceTest, EmptyingAnOrderedCartAgainSaysThatItIsSettled) {
  ASSERT_TRUE(Add(kMug, 2));
  const v1::EmptyOrderedCartRequest request = Ordering("a", Get());
  ASSERT_TRUE(service.EmptyOrderedCart(AsOrders(), request));
  ASSERT_TRUE(Add(kMug, 1));
  const auto again = service.EmptyOrderedCart(AsOrders(), request);
  ASSERT_TRUE(again);
  EXPECT_FALSE(again->emptied());
  EXPECT_TRUE(again->settled());
  EXPECT_EQ(Get().total_items(), 1);
}

TEST_F(CartServiceTest, OrdersOfTheFirstReleaseEmptiesTheVersionThatItNames) {
  ASSERT_TRUE(Add(kMug, 2));
  v1::EmptyOrderedCartRequest request;
  request.set_user_id(kAda);
  request.set_version(Get().version() + 1);
  EXPECT_FALSE(service.EmptyOrderedCart(AsOrders(), request)->emptied());
  EXPECT_EQ(Get().total_items(), 2);
  request.set_version(Get().version());
  EXPECT_TRUE(service.EmptyOrderedCart(AsOrders(), request)->emptied());
  EXPECT_THAT(Get().items(), SizeIs(0));
}

TEST_F(CartServiceTest, ARejectedOrderHasItsLinesInTheCartAgain) {
  ASSERT_TRUE(Add(kMug, 2));
  const v1::Cart ordered = Get();
  ASSERT_TRUE(service.EmptyOrderedCart(AsOrders(), Ordering("a", ordered)));
  v1::PutBackOrderedCartRequest request;
  request.set_user_id(kAda);
  request.set_order_uuid("a");
  EXPECT_TRUE(service.PutBackOrderedCart(AsOrders(), request)->put_back());
  EXPECT_FALSE(service.PutBackOrderedCart(AsOrders(), request)->put_back());
  EXPECT_EQ(Get().total_items(), 2);
  EXPECT_GT(Get().version(), ordered.version());
  EXPECT_NE(Get().change_id(), ordered.change_id());
}

TEST_F(CartServiceTest, WithoutProductsNothingIsAdded) {
  ASSERT_TRUE(Add(kMug, 2));
  products.Stop();
  EXPECT_THROW((void)Add(kMug, 1), Unavailable);
  EXPECT_THROW((void)service.GetCart(As(kAda), {}), Unavailable);
  EXPECT_EQ(store.Find(kAda).Find(kMug)->quantity, 2);
}

}  // namespace
}  // namespace shop::cart
