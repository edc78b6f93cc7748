// The orders service on a real database, with products and cart played by small fakes behind real
// gRPC.
#include "orders/orders_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "common/messaging/event.h"
#include "common/messaging/outbox.h"
#include "common/rpc/identity.h"
#include "common/rpc/server.h"
#include "common/testing/database.h"
#include "common/testing/deliver.h"
#include "common/testing/fake_service.h"
#include "common/testing/published_events.h"
#include "common/testing/servers.h"
#include "idempotency_migrations.h"
#include "messaging_migrations.h"
#include "orders/order_events.h"
#include "orders_migrations.h"
#include "shop/events/v1/stock.pb.h"

namespace shop::orders {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

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
    if (const auto meanwhile = std::exchange(before_answering, nullptr)) meanwhile();
    products::v1::QuoteProductsResponse response;
    for (const int64_t id : request.ids()) {
      if (id > 2) continue;
      products::v1::Quote* quote = response.add_items();
      quote->set_product_id(id);
      quote->set_name(id == 1 ? "Desk lamp \"Ada\", {black}" : "Pencil");
      quote->set_price(id == 1 ? lamp_price.load() : 500);
    }
    ++asked;
    if (after_answering) std::exchange(after_answering, nullptr)();
    return response;
  }
  std::atomic<int> asked = 0;
  std::atomic<int64_t> lamp_price = 1999;
  // Once each: before it reads the prices, and after.
  std::function<void()> before_answering;
  std::function<void()> after_answering;
};

// A cart that remembers which orders it was updated for, as cart does.
class FakeCart {
 public:
  rpc::Service Methods() {
    return rpc::Service("shop.cart.v1.CartService")
        .On("GetCart", this, &FakeCart::GetCart)
        .On("EmptyOrderedCart", this, &FakeCart::EmptyOrderedCart)
        .On("PutBackOrderedCart", this, &FakeCart::PutBackOrderedCart);
  }

  void Put(int64_t product, int64_t quantity) {
    const std::lock_guard lock(mutex_);
    quantities_[product] += quantity;
    Change();
  }
  std::map<int64_t, int64_t> quantities() const {
    const std::lock_guard lock(mutex_);
    return quantities_;
  }
  cart::v1::Cart Now() const {
    const std::lock_guard lock(mutex_);
    return Content();
  }
  // The next answer of GetCart is this one: it was on its way while the cart changed.
  void AnswerOnce(const cart::v1::Cart& stale) {
    const std::lock_guard lock(mutex_);
    stale_ = stale;
  }
  // Back to an earlier day: content, version, and what was known then.
  void Restore(const cart::v1::Cart& backup) {
    const std::lock_guard lock(mutex_);
    quantities_.clear();
    for (const cart::v1::CartItem& item : backup.items()) {
      quantities_[item.product_id()] = item.quantity();
    }
    version_ = backup.version();
    change_id_ = backup.change_id();
    taken_.clear();
  }
  // GetCart answers once this many have asked.
  void AnswerTogether(int callers) { together_ = callers; }
  // As cart does with orders of which there were many since.
  void ForgetOrders() {
    const std::lock_guard lock(mutex_);
    taken_.clear();
  }
  void RefuseAll(bool refuse) { refuse_ = refuse; }
  // Cart's first release: no change_id, and a cart is emptied at the ordered version or not at all.
  void BeOfTheFirstRelease() { first_release_ = true; }

 private:
  Result<cart::v1::Cart> GetCart(const Call&, const cart::v1::GetCartRequest& request) {
    std::unique_lock lock(mutex_);
    if (together_ > 0) {
      --together_;
      asked_.notify_all();
      asked_.wait_for(lock, std::chrono::seconds(20), [this] { return together_ == 0; });
    }
    cart::v1::Cart cart = stale_ ? *std::exchange(stale_, std::nullopt) : Content();
    cart.set_user_id(request.user_id());
    return cart;
  }
  Result<cart::v1::EmptyOrderedCartResponse> EmptyOrderedCart(
      const Call&, const cart::v1::EmptyOrderedCartRequest& request) {
    const std::lock_guard lock(mutex_);
    if (refuse_) return Refusal{Code::kFailedPrecondition, "not today"};
    cart::v1::EmptyOrderedCartResponse response;
    if (first_release_) {
      response.set_emptied(request.version() == version_);
      if (response.emptied()) quantities_.clear();
      if (response.emptied()) Change();
      return response;
    }
    response.set_settled(true);
    if (taken_.contains(request.order_uuid())) return response;
    response.set_emptied(true);
    auto& taken = taken_[request.order_uuid()];
    for (const cart::v1::OrderedItem& item : request.items()) {
      const auto line = quantities_.find(item.product_id());
      if (line == quantities_.end()) continue;
      taken[item.product_id()] = std::min(line->second, item.quantity());
      if ((line->second -= item.quantity()) <= 0) quantities_.erase(line);
    }
    Change();
    return response;
  }
  Result<cart::v1::PutBackOrderedCartResponse> PutBackOrderedCart(
      const Call&, const cart::v1::PutBackOrderedCartRequest& request) {
    const std::lock_guard lock(mutex_);
    if (refuse_) return Refusal{Code::kFailedPrecondition, "not today"};
    for (const auto& [product, quantity] : taken_[request.order_uuid()]) {
      quantities_[product] += quantity;
    }
    taken_[request.order_uuid()].clear();
    Change();
    return cart::v1::PutBackOrderedCartResponse();
  }

  void Change() {
    ++version_;
    change_id_ = "change " + std::to_string(++changes_);
  }
  cart::v1::Cart Content() const {
    cart::v1::Cart cart;
    cart.set_version(version_);
    if (!first_release_) cart.set_change_id(change_id_);
    for (const auto& [product, quantity] : quantities_) {
      cart::v1::CartItem* item = cart.add_items();
      item->set_product_id(product);
      item->set_quantity(quantity);
    }
    return cart;
  }

  mutable std::mutex mutex_;
  std::condition_variable asked_;
  std::map<int64_t, int64_t> quantities_;
  int64_t version_ = 0;
  std::string change_id_;
  int changes_ = 0;  // never goes back, as chance does not either
  std::map<std::string, std::map<int64_t, int64_t>> taken_;  // by order
  std::optional<cart::v1::Cart> stale_;
  int together_ = 0;
  bool refuse_ = false;
  bool first_release_ = false;
};

class OrdersServiceTest : public ::testing::Test {
 protected:
  OrdersServiceTest() {
    postgres::Migrate(db_, {kMessagingMigrations, kIdempotencyMigrations, kOrdersMigrations});
  }

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

  static v1::CreateOrderRequest OfTheCart(std::string key = "") {
    v1::CreateOrderRequest request;
    request.set_from_cart(true);
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

  std::vector<std::string> Published() { return testing::PublishedTypes(db_); }

  // A message about an order, as an event with this id.
  template <typename Message>
  static messaging::Envelope EventOf(const v1::Order& order, const std::string& event_id) {
    Message message;
    message.set_order_id(order.id());
    message.set_order_uuid(order.uuid());
    messaging::Envelope event =
        messaging::MakeEvent(message, {.source = "stock", .trace = TraceContext::New()});
    event.id = event_id;
    return event;
  }
  Result<void> Deliver(const std::vector<messaging::Envelope>& events) {
    return testing::Deliver(db_, EventHandlers(), "orders", events);
  }
  template <typename Message>
  Result<void> Receive(const v1::Order& order, const std::string& event_id) {
    return Deliver({EventOf<Message>(order, event_id)});
  }

  // Hands the cart consumer all events that were published, in their sequence.
  Result<void> DeliverToCart(const std::string& group = "cart") {
    return testing::Deliver(db_, CartHandlers(cart_, db_), group, testing::PublishedEvents(db_));
  }
  // How many statements wait for a lock in this database.
  int Waiting() {
    return postgres::Read(db_, [](postgres::Tx& tx) {
      return tx
          .Run(
              "SELECT count(*) FROM pg_stat_activity "
              "WHERE datname = current_database() AND wait_event_type = 'Lock'")[0][0]
          .as<int>();
    });
  }
  bool SomebodyWaits() { return Waiting() > 0; }

  testing::TestDatabase database_;
  postgres::Pool db_{database_.settings()};
  FakeProducts fake_products_;
  FakeCart fake_cart_;
  rpc::Identity products_identity_{IdentityOf("products"), NoKeys};
  rpc::Server products_server_{
      {.host = "127.0.0.1"}, products_identity_, {testing::FakeService(fake_products_.Methods())}};
  rpc::Server cart_server_{
      {.host = "127.0.0.1"}, products_identity_, {testing::FakeService(fake_cart_.Methods())}};
  rpc::Identity identity_{IdentityOf("orders"), NoKeys};
  rpc::Channel products_{products_server_.address(), &identity_};
  rpc::Channel cart_{cart_server_.address(), &identity_};
  std::atomic<int> wakes_ = 0;
  const std::shared_ptr<const void> woken_ =
      db_.Subscribe(messaging::kOutboxSignal, [this] { ++wakes_; });
  OrdersService service_{db_, products_, cart_, "USD"};
};

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

// What a process of the release before does in its transaction.
constexpr postgres::Statement kUseOldKey{
    "INSERT INTO idempotency_keys (user_id, key, fingerprint, order_id) VALUES ($1, $2, $3, $4)"};

TEST_F(OrdersServiceTest, AKeyOfTheReleaseBeforeAnswersItsOrder) {
  const v1::Order placed = Place(7);
  postgres::InTransaction(db_, [&](postgres::Tx& tx) {
    tx.Exec(kUseOldKey, 7, "k1", idempotency::Fingerprint(Of(1, 2)), placed.id());
  });
  fake_products_.lamp_price = 2999;
  v1::CreateOrderRequest request = Of(1, 2, "k1");
  for (int i = 0; i < 2; ++i) {
    const Call repeating = As(7);
    const Result<v1::Order> repeat = service_.CreateOrder(repeating, request);
    ASSERT_TRUE(repeat) << repeat.refusal().message;
    EXPECT_EQ(repeat->SerializeAsString(), placed.SerializeAsString());
    EXPECT_TRUE(repeating.replayed);
  }
  const Result<v1::Order> other = service_.CreateOrder(As(7), Of(1, 3, "k1"));
  ASSERT_FALSE(other);
  EXPECT_EQ(other.refusal().reason, "IDEMPOTENCY_KEY_REUSED");
}

TEST_F(OrdersServiceTest, AProcessOfTheReleaseBeforeFindsTheOrderOfAKey) {
  const Result<v1::Order> placed = service_.CreateOrder(As(7), Of(1, 2, "k1"));
  ASSERT_TRUE(placed);
  const auto key = postgres::Read(db_, [](postgres::Tx& tx) { return FindOldKey(tx, 7, "k1"); });
  ASSERT_TRUE(key);
  EXPECT_EQ(key->order_id, placed->id());
  EXPECT_EQ(key->fingerprint, idempotency::Fingerprint(Of(1, 2)));
}

// The process of the release before places its order after this one has looked for the key.
TEST_F(OrdersServiceTest, AKeyThatTheReleaseBeforeUsesAtTheSameTimeMakesOneOrder) {
  const v1::Order placed = Place(7);
  fake_products_.before_answering = [&] {
    postgres::InTransaction(db_, [&](postgres::Tx& tx) {
      tx.Exec(kUseOldKey, 7, "k1", idempotency::Fingerprint(Of(1, 2)), placed.id());
    });
  };
  const Result<v1::Order> busy = service_.CreateOrder(As(7), Of(1, 2, "k1"));
  ASSERT_FALSE(busy);
  EXPECT_EQ(busy.refusal().code, Code::kAborted);
  const Result<v1::Order> repeat = service_.CreateOrder(As(7), Of(1, 2, "k1"));
  ASSERT_TRUE(repeat) << repeat.refusal().message;
  EXPECT_EQ(repeat->id(), placed.id());
  EXPECT_THAT(Published(), ElementsAre("ORDER_CREATED"));
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
    EXPECT_TRUE(shop::testing::Eventually([&] { return Waiting() == 1; }));
    fake_cart_.AnswerOnce(empty);
    repeating_client = std::thread([&] {
      repeat = service_.CreateOrder(As(7), OfTheCart("k1"));
      answered = true;
    });
    EXPECT_TRUE(shop::testing::Eventually([&] { return answered || Waiting() == 2; }));
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
    EXPECT_TRUE(shop::testing::Eventually([&] { return SomebodyWaits(); }));
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

TEST_F(OrdersServiceTest, ReservedStockConfirmsTheOrder) {
  const v1::Order order = Place(7);
  ASSERT_TRUE(Receive<events::v1::StockReserved>(order, "e1"));
  EXPECT_EQ(Get(order.id()).status(), v1::ORDER_STATUS_PROCESSING);
  EXPECT_THAT(Published(), ElementsAre("ORDER_CREATED", "ORDER_CONFIRMED"));
}

TEST_F(OrdersServiceTest, RejectedStockCancelsTheOrderWithTheReason) {
  const v1::Order order = Place(7);
  ASSERT_TRUE(Receive<events::v1::StockRejected>(order, "e1"));
  EXPECT_EQ(Get(order.id()).status(), v1::ORDER_STATUS_CANCELLED);
  EXPECT_THAT(Get(order.id()).reason(), HasSubstr("not enough stock"));
  EXPECT_THAT(Published(), ElementsAre("ORDER_CREATED", "ORDER_CANCELLED"));
}

TEST_F(OrdersServiceTest, DecisionsOfStockThatComeTogetherEachMoveTheirOrder) {
  const v1::Order first = Place(7);
  const v1::Order second = Place(8);
  ASSERT_TRUE(Deliver({EventOf<events::v1::StockReserved>(second, "e1"),
                       EventOf<events::v1::StockReserved>(first, "e2"),
                       EventOf<events::v1::StockReserved>(second, "e3")}));
  EXPECT_EQ(Get(first.id()).status(), v1::ORDER_STATUS_PROCESSING);
  EXPECT_EQ(Get(second.id()).status(), v1::ORDER_STATUS_PROCESSING);
  EXPECT_THAT(Published(),
              ElementsAre("ORDER_CREATED", "ORDER_CREATED", "ORDER_CONFIRMED", "ORDER_CONFIRMED"));
}

TEST_F(OrdersServiceTest, AnEventOfAnUnknownOrderMovesNoneOfThoseItCameWith) {
  const v1::Order order = Place(7);
  v1::Order unknown = order;
  unknown.set_id(order.id() + 1);
  EXPECT_FALSE(Deliver({EventOf<events::v1::StockReserved>(order, "e1"),
                        EventOf<events::v1::StockReserved>(unknown, "e2")}));
  EXPECT_EQ(Get(order.id()).status(), v1::ORDER_STATUS_PENDING);
}

TEST_F(OrdersServiceTest, TheFirstDecisionOfStockStands) {
  const v1::Order order = Place(7);
  ASSERT_TRUE(Receive<events::v1::StockReserved>(order, "e1"));
  ASSERT_TRUE(Receive<events::v1::StockReserved>(order, "e2"));
  ASSERT_TRUE(Receive<events::v1::StockRejected>(order, "e3"));
  EXPECT_EQ(Get(order.id()).status(), v1::ORDER_STATUS_PROCESSING);
  EXPECT_THAT(Published(), ElementsAre("ORDER_CREATED", "ORDER_CONFIRMED"));
}

TEST_F(OrdersServiceTest, MovingAnOrderByHandPublishesTheMoveOnce) {
  const v1::Order order = Place(7);
  ASSERT_TRUE(Receive<events::v1::StockReserved>(order, "e1"));
  ASSERT_TRUE(MoveTo(order, v1::ORDER_STATUS_SHIPPED));
  ASSERT_TRUE(MoveTo(order, v1::ORDER_STATUS_SHIPPED));
  ASSERT_TRUE(MoveTo(order, v1::ORDER_STATUS_DELIVERED));
  EXPECT_THAT(Published(),
              ElementsAre("ORDER_CREATED", "ORDER_CONFIRMED", "ORDER_SHIPPED", "ORDER_DELIVERED"));
  EXPECT_EQ(Get(order.id()).status(), v1::ORDER_STATUS_DELIVERED);
}

TEST_F(OrdersServiceTest, AnIllegalMoveChangesNothing) {
  const v1::Order order = Place(7);
  const Result<v1::OrderState> moved = MoveTo(order, v1::ORDER_STATUS_DELIVERED);
  ASSERT_FALSE(moved);
  EXPECT_EQ(moved.refusal().code, Code::kFailedPrecondition);
  EXPECT_EQ(Get(order.id()).status(), v1::ORDER_STATUS_PENDING);
  EXPECT_THAT(Published(), ElementsAre("ORDER_CREATED"));
}

TEST_F(OrdersServiceTest, AnOrderCancelledByHandStaysSoWhenItsStockIsReservedLater) {
  const v1::Order order = Place(7);
  ASSERT_TRUE(MoveTo(order, v1::ORDER_STATUS_CANCELLED, "out of season"));
  ASSERT_TRUE(Receive<events::v1::StockReserved>(order, "e1"));
  EXPECT_EQ(Get(order.id()).status(), v1::ORDER_STATUS_CANCELLED);
  EXPECT_EQ(Get(order.id()).reason(), "out of season");
  EXPECT_THAT(Published(), ElementsAre("ORDER_CREATED", "ORDER_CANCELLED"));
}

TEST_F(OrdersServiceTest, AMoveByHandAndADecisionOfStockAtOnceTakeTurns) {
  const v1::Order order = Place(7);
  std::atomic<bool> done = false;
  std::thread stock;
  postgres::InTransaction(db_, [&](postgres::Tx& tx) {
    // As UpdateOrderStatus does, with stock's decision between its reading and its writing.
    LockedOrder locked = FindForUpdate(tx, {order.id()}).at(order.id());
    stock = std::thread([&] {
      EXPECT_TRUE(Receive<events::v1::StockReserved>(order, "e1"));
      done = true;
    });
    EXPECT_TRUE(shop::testing::Eventually([&] { return done || SomebodyWaits(); }));
    ASSERT_TRUE(Apply(&locked, MovedByHand{v1::ORDER_STATUS_CANCELLED}));
    Update(tx, {locked});
  });
  stock.join();
  postgres::InTransaction(db_, [&](postgres::Tx& tx) {
    const LockedOrder locked = FindForUpdate(tx, {order.id()}).at(order.id());
    EXPECT_EQ(locked.facts.stock, StockFact::kReserved);
    EXPECT_EQ(locked.facts.manual, v1::ORDER_STATUS_CANCELLED);
  });
  EXPECT_EQ(Get(order.id()).status(), v1::ORDER_STATUS_CANCELLED);
}

TEST_F(OrdersServiceTest, AnAdminFindsOrdersByUserStateAndTime) {
  const v1::Order first = Place(7);
  Place(8);
  ASSERT_TRUE(Receive<events::v1::StockReserved>(first, "e1"));
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
        "INSERT INTO orders (id, user_id, total_price, currency, payment_method, cart_version) "
        "VALUES (1, 7, 100, 'USD', 'PAYPAL', 1), (2, 7, 100, 'USD', 'PAYPAL', 2),"
        " (3, 7, 100, 'USD', 'PAYPAL', 3)");
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
