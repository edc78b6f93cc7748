// The products service over gRPC, with a real database and a real Redis.
#include "products/products_service.h"

#include <gmock/gmock.h>
#include <google/protobuf/empty.pb.h>

#include "audit_migrations.h"
#include "common/audit/testing/entries.h"
#include "common/postgres/migrations.h"
#include "common/rpc/identity.h"
#include "common/rpc/server.h"
#include "common/testing/callers.h"
#include "common/testing/database.h"
#include "common/testing/listener.h"
#include "common/testing/servers.h"
#include "products/product_store.h"
#include "products_migrations.h"

namespace shop::products {
namespace {

using api::v1::ROLE_ADMIN;
using api::v1::ROLE_SELLER;
using api::v1::ROLE_SUPER_ADMIN;
using api::v1::ROLE_USER;
using google::protobuf::Empty;
using ::testing::ElementsAre;
using ::testing::SizeIs;

constexpr int64_t kSeller = 12;
constexpr int64_t kRival = 13;
constexpr char kUuid[] = "00000000-0000-4000-8000-000000000001";

class ProductsServiceTest : public ::testing::Test {
 protected:
  explicit ProductsServiceTest(ProductCache::Settings cache = WithRedis(std::chrono::hours(1)))
      : redis_(cache), cache_(std::move(cache), [this](const ProductCache::Invalidate& remove) {
          DrainInvalidations(db_, remove);
        }) {}

  // Pending invalidations are drained at the start alone, unless a case says otherwise: what a case sees
  // is then the handler's own work.
  static ProductCache::Settings WithRedis(std::chrono::milliseconds drain_every) {
    Env env([](const std::string& name) {
      return name == "REDIS_URL" ? std::optional(testing::Server(name)) : std::nullopt;
    });
    ProductCache::Settings settings = ProductCache::Settings::Read(env);
    settings.prefix = testing::UniqueName() + ":";
    settings.changed_channel = settings.prefix + "changed";
    settings.sold_channel = settings.prefix + "sold";
    settings.drain_every = drain_every;
    return settings;
  }

  template <typename Response, typename Request>
  Result<Response> Call(const testing::Credentials& who, const char* method,
                        const Request& request) {
    return testing::Client(server_.address(), who)
        .Call<Response>("shop.products.v1.ProductsService", method, request);
  }
  testing::Credentials As(int64_t id, api::v1::Role role) { return callers_.User(id, role); }
  testing::Credentials Admin() { return As(1, ROLE_ADMIN); }
  testing::Credentials Seller() { return As(kSeller, ROLE_SELLER); }

  static v1::CreateProductRequest Draft(const std::string& name = "Lamp", int64_t stock = 5) {
    v1::CreateProductRequest draft;
    draft.set_name(name);
    draft.set_price(4999);
    draft.set_stock(stock);
    return draft;
  }
  Result<v1::Product> Create(const testing::Credentials& who,
                             const v1::CreateProductRequest& draft) {
    return Call<v1::Product>(who, "CreateProduct", draft);
  }
  int64_t Made(int64_t stock = 5) {
    const Result<v1::Product> product = Create(Seller(), Draft("Lamp", stock));
    EXPECT_TRUE(product) << product.refusal().message;
    return product ? product->id() : 0;
  }
  Result<v1::Product> Get(int64_t id) {
    v1::GetProductRequest request;
    request.set_id(id);
    return Call<v1::Product>({}, "GetProduct", request);
  }
  Result<v1::Product> Reprice(const testing::Credentials& who, int64_t id, int64_t price) {
    v1::UpdateProductRequest change;
    change.set_id(id);
    change.set_price(price);
    return Call<v1::Product>(who, "UpdateProduct", change);
  }
  Result<Empty> Delete(const testing::Credentials& who, int64_t id) {
    v1::DeleteProductRequest request;
    request.set_id(id);
    return Call<Empty>(who, "DeleteProduct", request);
  }
  Result<v1::QuoteProductsResponse> Quote(const testing::Credentials& who, int64_t id) {
    v1::QuoteProductsRequest request;
    request.add_ids(id);
    return Call<v1::QuoteProductsResponse>(who, "QuoteProducts", request);
  }
  static v1::ReserveStockRequest Order(int64_t id, std::vector<int64_t> quantities,
                                       const std::string& uuid = kUuid) {
    v1::ReserveStockRequest request;
    request.set_order_uuid(uuid);
    request.set_order_id(1);
    for (const int64_t quantity : quantities) {
      v1::ReserveLine* line = request.add_items();
      line->set_product_id(id);
      line->set_quantity(quantity);
    }
    return request;
  }
  Result<v1::ReserveStockResponse> Reserve(const v1::ReserveStockRequest& request) {
    return Call<v1::ReserveStockResponse>(callers_.Service("stock"), "ReserveStock", request);
  }
  Result<v1::AdjustStockResponse> Adjust(const testing::Credentials& who, int64_t id, int64_t delta,
                                         v1::StockReason reason = v1::STOCK_REASON_CORRECTION) {
    v1::AdjustStockRequest request;
    request.set_id(id);
    request.set_delta(delta);
    request.set_reason(reason);
    return Call<v1::AdjustStockResponse>(who, "AdjustStock", request);
  }
  Result<v1::ListStockMovementsResponse> Ledger(const testing::Credentials& who, int64_t id) {
    v1::ListStockMovementsRequest request;
    request.set_id(id);
    return Call<v1::ListStockMovementsResponse>(who, "ListStockMovements", request);
  }
  Result<v1::ListProductsResponse> Search(const std::string& q) {
    v1::SearchProductsRequest request;
    request.set_q(q);
    return Call<v1::ListProductsResponse>({}, "SearchProducts", request);
  }
  Result<v1::ListProductsResponse> List(const std::string& sort, int32_t page, int32_t limit) {
    v1::ListProductsRequest request;
    request.set_sort(sort);
    request.set_page(page);
    request.set_limit(limit);
    return Call<v1::ListProductsResponse>({}, "ListProducts", request);
  }
  // Behind the cache's back.
  void PriceInDatabase(int64_t id, int64_t price) {
    postgres::InTransaction(db_, [&](postgres::Tx& tx) {
      tx.Run("UPDATE products SET price = " + std::to_string(price) +
             " WHERE id = " + std::to_string(id));
    });
  }
  void CacheIsServing() {
    ASSERT_TRUE(testing::Eventually([&] { return cache_.serving(); }));
  }
  template <typename T>
  static std::string Outcome(const Result<T>& result) {
    return result ? "OK" : Name(result.refusal().code);
  }
  template <typename T>
  static std::string Field(const Result<T>& result) {
    return result || result.refusal().details.empty() ? "" : result.refusal().details[0].field;
  }

  testing::TestDatabase database_;
  testing::Callers callers_;
  postgres::Pool db_{database_.settings()};
  const bool migrated_ = (postgres::Migrate(db_, {kAuditMigrations, kProductsMigrations}), true);
  const ProductCache::Settings redis_;
  ProductCache cache_;
  ProductsService service_{db_, cache_, "EUR"};
  rpc::Identity identity_{testing::IdentityOf("products"), callers_.Keys()};
  rpc::Server server_{{.host = "127.0.0.1"}, identity_, {service_.Methods()}};
};

TEST_F(ProductsServiceTest, OnlySellersAndAdminsChangeTheCatalogue) {
  const int64_t id = Made();
  const testing::Credentials user = As(7, ROLE_USER);
  EXPECT_EQ(Outcome(Create({}, Draft())), "UNAUTHENTICATED");
  EXPECT_EQ(Outcome(Create(user, Draft())), "PERMISSION_DENIED");
  EXPECT_EQ(Outcome(Reprice(user, id, 1)), "PERMISSION_DENIED");
  EXPECT_EQ(Outcome(Delete(user, id)), "PERMISSION_DENIED");
  EXPECT_EQ(Outcome(Create(callers_.Service("orders"), Draft())), "PERMISSION_DENIED");
  EXPECT_EQ(Outcome(Create(As(1, ROLE_SUPER_ADMIN), Draft())), "OK");
}

TEST_F(ProductsServiceTest, OnlyServicesQuoteAndReserve) {
  const int64_t id = Made();
  EXPECT_EQ(Outcome(Quote(Admin(), id)), "PERMISSION_DENIED");
  EXPECT_EQ(Outcome(Quote(callers_.Service("shipping"), id)), "PERMISSION_DENIED");
  EXPECT_EQ(Outcome(Quote(callers_.Service("cart"), id)), "OK");
  EXPECT_EQ(Outcome(Call<v1::ReserveStockResponse>(callers_.Service("orders"), "ReserveStock",
                                                   Order(id, {1}))),
            "PERMISSION_DENIED");
}

TEST_F(ProductsServiceTest, TheSellerOfAProductIsTheSellerWhoMadeIt) {
  v1::CreateProductRequest draft = Draft();
  draft.set_seller_id(kRival);
  EXPECT_EQ(Create(Seller(), draft)->seller_id(), kSeller);
  EXPECT_EQ(Create(Admin(), draft)->seller_id(), kRival);
  draft.clear_seller_id();
  EXPECT_FALSE(Create(Admin(), draft)->has_seller_id());
}

TEST_F(ProductsServiceTest, AnothersProductIsNotFoundByASeller) {
  const int64_t id = Made();
  const testing::Credentials rival = As(kRival, ROLE_SELLER);
  EXPECT_EQ(Outcome(Reprice(rival, id, 1)), "NOT_FOUND");
  EXPECT_EQ(Outcome(Delete(rival, id)), "NOT_FOUND");
  EXPECT_EQ(Get(id)->price(), 4999);
  EXPECT_EQ(Outcome(Reprice(Seller(), id, 1)), "OK");
  EXPECT_EQ(Outcome(Reprice(Admin(), id, 2)), "OK");
}

TEST_F(ProductsServiceTest, AQuoteSaysWhoSells) {
  const auto seller = [&](int64_t id) {
    return Quote(callers_.Service("orders"), id)->items(0).seller_id();
  };
  EXPECT_EQ(seller(Create(Seller(), Draft())->id()), kSeller);
  EXPECT_EQ(seller(Create(Admin(), Draft())->id()), 0);
}

TEST_F(ProductsServiceTest, ProductsAreReadFromTheCacheAndQuotesFromTheDatabase) {
  CacheIsServing();
  const int64_t id = Made();
  EXPECT_EQ(Get(id)->price(), 4999);
  PriceInDatabase(id, 1);
  EXPECT_EQ(Get(id)->price(), 4999);
  EXPECT_EQ(Quote(callers_.Service("orders"), id)->items(0).price(), 1);
}

TEST_F(ProductsServiceTest, ACachedProductIsTheSameAsOneFromTheDatabase) {
  CacheIsServing();
  v1::CreateProductRequest draft = Draft();
  draft.set_category("home");
  draft.add_images()->set_url("https://example.org/a.png");
  const Result<v1::Product> made = Create(Seller(), draft);
  const std::string first = Get(made->id())->SerializeAsString();
  EXPECT_EQ(first, made->SerializeAsString());
  EXPECT_EQ(Get(made->id())->SerializeAsString(), first);
}

TEST_F(ProductsServiceTest, EveryProductCarriesTheCurrency) {
  CacheIsServing();
  const Result<v1::Product> made = Create(Seller(), Draft());
  ASSERT_TRUE(made);
  EXPECT_EQ(made->currency(), "EUR");
  EXPECT_EQ(Get(made->id())->currency(), "EUR") << "from the database";
  EXPECT_EQ(Get(made->id())->currency(), "EUR") << "from the cache";
  EXPECT_EQ(Reprice(Seller(), made->id(), 1)->currency(), "EUR");
  EXPECT_EQ(List("-id", 1, 1)->items(0).currency(), "EUR");
  EXPECT_EQ(Search("lamp")->items(0).currency(), "EUR");
}

TEST_F(ProductsServiceTest, ACopyOfAReleaseWithoutVersionsOfStockIsNotTaken) {
  CacheIsServing();
  const int64_t id = Made();
  v1::Product old = *Get(id);
  old.clear_stock_version();
  cache_.Remove({id});
  cache_.Put(id, cache_.Find(id).lease, old.SerializeAsString());
  ASSERT_EQ(cache_.Find(id).copy, old.SerializeAsString());
  EXPECT_EQ(Get(id)->stock_version(), 1);
  EXPECT_EQ(Get(id)->stock_version(), 1);
  v1::Product copy;
  ASSERT_TRUE(copy.ParseFromString(cache_.Find(id).copy.value()));
  EXPECT_EQ(copy.stock_version(), 1);
}

TEST_F(ProductsServiceTest, ASaleMakesNoEditOfTheContentStale) {
  const int64_t id = Made(1);
  const v1::Product read = *Get(id);
  EXPECT_TRUE(Reserve(Order(id, {1}))->reserved());
  v1::UpdateProductRequest edit;
  edit.set_id(id);
  edit.set_stock(read.stock());
  edit.add_if_versions(read.version());
  edit.add_if_stock_versions(read.stock_version());
  const Result<v1::Product> refused = Call<v1::Product>(Seller(), "UpdateProduct", edit);
  EXPECT_EQ(Outcome(refused), "FAILED_PRECONDITION") << "the last piece would be sold twice";
  EXPECT_EQ(refused.refusal().reason, "VERSION_CHANGED");
  edit.clear_stock();
  edit.set_description("Bright.");
  EXPECT_EQ(Outcome(Call<v1::Product>(Seller(), "UpdateProduct", edit)), "OK");
  EXPECT_EQ(Get(id)->stock(), 0);
}

TEST_F(ProductsServiceTest, StockIsAdjustedByItsSellerAndAdmins) {
  CacheIsServing();
  const int64_t id = Made(5);
  EXPECT_EQ(Get(id)->stock(), 5);
  EXPECT_EQ(Outcome(Adjust({}, id, 2)), "UNAUTHENTICATED");
  EXPECT_EQ(Outcome(Adjust(As(7, ROLE_USER), id, 2)), "PERMISSION_DENIED");
  EXPECT_EQ(Outcome(Adjust(As(kRival, ROLE_SELLER), id, 2)), "NOT_FOUND");
  EXPECT_EQ(Adjust(Seller(), id, 2)->movement().user_id(), kSeller);
  EXPECT_EQ(Get(id)->stock(), 7) << "the next read sees it";
  EXPECT_EQ(Adjust(Admin(), id, -1)->stock(), 6);

  EXPECT_EQ(Outcome(Ledger({}, id)), "UNAUTHENTICATED");
  EXPECT_EQ(Outcome(Ledger(As(7, ROLE_USER), id)), "PERMISSION_DENIED");
  EXPECT_EQ(Outcome(Ledger(As(kRival, ROLE_SELLER), id)), "NOT_FOUND");
  EXPECT_THAT(Ledger(Admin(), id)->items(), SizeIs(3));
  const Result<v1::ListStockMovementsResponse> ledger = Ledger(Seller(), id);
  ASSERT_THAT(ledger->items(), SizeIs(3));
  EXPECT_EQ(ledger->items(2).user_id(), kSeller) << "who made the product";
}

TEST_F(ProductsServiceTest, TheAuditLogSaysWhoChangedPricesAndStock) {
  const int64_t id = Made(5);
  EXPECT_TRUE(Reprice(Seller(), id, 4999)) << "which it had already";
  EXPECT_TRUE(Reprice(Admin(), id, 3999));
  EXPECT_EQ(Outcome(Reprice(As(kRival, ROLE_SELLER), id, 1)), "NOT_FOUND");
  v1::UpdateProductRequest change;
  change.set_id(id);
  change.set_stock(8);
  EXPECT_TRUE(Call<v1::Product>(Seller(), "UpdateProduct", change));
  v1::AdjustStockRequest lost;
  lost.set_id(id);
  lost.set_delta(-1);
  lost.set_reason(v1::STOCK_REASON_LOST);
  lost.set_idempotency_key("lost-one");
  EXPECT_TRUE(Call<v1::AdjustStockResponse>(Seller(), "AdjustStock", lost));
  EXPECT_TRUE(Call<v1::AdjustStockResponse>(Seller(), "AdjustStock", lost));
  EXPECT_TRUE(Reserve(Order(id, {2})));
  EXPECT_TRUE(Delete(Admin(), id));
  const std::string seller = "SELLER " + std::to_string(kSeller);
  const std::string product = " product " + std::to_string(id);
  EXPECT_THAT(audit::testing::Entries(db_),
              ElementsAre(seller + ": PRODUCT_CREATED" + product + ", price 49.99, stock 5",
                          "ADMIN 1: PRICE_CHANGED" + product + ", from 49.99, to 39.99",
                          seller + ": STOCK_SET" + product + ", from 5, to 8",
                          seller + ": STOCK_ADJUSTED" + product + ", delta -1, reason LOST",
                          "ADMIN 1: PRODUCT_DELETED" + product));
}

TEST_F(ProductsServiceTest, AnAdjustmentHasADeltaAndAReason) {
  const int64_t id = Made(5);
  EXPECT_EQ(Field(Adjust(Seller(), id, 0)), "delta");
  EXPECT_EQ(Field(Adjust(Seller(), id, 1'000'000'001)), "delta");
  EXPECT_EQ(Field(Adjust(Seller(), id, 1, v1::STOCK_REASON_UNSPECIFIED)), "reason");
  EXPECT_EQ(Field(Adjust(Seller(), id, 1, static_cast<v1::StockReason>(99))), "reason");
  EXPECT_EQ(Field(Adjust(Seller(), id, 1, v1::STOCK_REASON_LOST)), "delta");
  EXPECT_EQ(Get(id)->stock(), 5);
}

TEST_F(ProductsServiceTest, SalesArePublishedApartFromChanges) {
  CacheIsServing();
  testing::Listener listener(redis_.redis, {redis_.changed_channel, redis_.sold_channel});
  const int64_t id = Made(5);
  const std::string changed = redis_.changed_channel + ": " + std::to_string(id);
  const std::string sold = redis_.sold_channel + ": " + std::to_string(id);
  EXPECT_EQ(listener.Next(), changed);
  EXPECT_TRUE(Reserve(Order(id, {2}))->reserved());
  EXPECT_EQ(listener.Next(), sold);
  v1::ReleaseStockRequest release;
  release.set_order_uuid(kUuid);
  release.set_order_id(1);
  EXPECT_TRUE(Call<v1::ReleaseStockResponse>(callers_.Service("stock"), "ReleaseStock", release));
  EXPECT_EQ(listener.Next(), sold);
  EXPECT_TRUE(Adjust(Seller(), id, 1));
  EXPECT_EQ(listener.Next(), sold);
  EXPECT_TRUE(Reprice(Seller(), id, 1));
  EXPECT_EQ(listener.Next(), changed);
}

TEST_F(ProductsServiceTest, AnothersProductIsNotFoundWhateverItsVersion) {
  v1::UpdateProductRequest change;
  change.set_id(Made());
  change.add_if_versions(7);
  EXPECT_EQ(Outcome(Call<v1::Product>(As(kRival, ROLE_SELLER), "UpdateProduct", change)),
            "NOT_FOUND");
  const Result<v1::Product> refused = Call<v1::Product>(Seller(), "UpdateProduct", change);
  EXPECT_EQ(Outcome(refused), "FAILED_PRECONDITION");
  EXPECT_EQ(refused.refusal().reason, "VERSION_CHANGED");
}

TEST_F(ProductsServiceTest, AChangeIsSeenByTheNextRead) {
  CacheIsServing();
  const int64_t id = Made(5);
  EXPECT_EQ(Get(id)->price(), 4999);
  EXPECT_TRUE(Reprice(Seller(), id, 100));
  EXPECT_EQ(Get(id)->price(), 100);
  EXPECT_TRUE(Reserve(Order(id, {2}))->reserved());
  EXPECT_EQ(Get(id)->stock(), 3);
  EXPECT_TRUE(Delete(Seller(), id));
  EXPECT_EQ(Outcome(Get(id)), "NOT_FOUND");
}

TEST_F(ProductsServiceTest, LinesOfOneProductAreReservedTogether) {
  const int64_t id = Made(5);
  const Result<v1::ReserveStockResponse> refused = Reserve(Order(id, {3, 3}));
  EXPECT_FALSE(refused->reserved());
  ASSERT_THAT(refused->shortages(), SizeIs(1));
  EXPECT_EQ(refused->shortages(0).requested(), 6);
  EXPECT_EQ(refused->shortages(0).available(), 5);
  EXPECT_TRUE(Reserve(Order(id, {3, 2}, "00000000-0000-4000-8000-000000000002"))->reserved());
  EXPECT_EQ(Get(id)->stock(), 0);
}

TEST_F(ProductsServiceTest, ARepeatedReservationIsAnsweredAsTheFirst) {
  const int64_t id = Made(1);
  const std::string first = Reserve(Order(id, {2}))->SerializeAsString();
  v1::UpdateProductRequest restock;
  restock.set_id(id);
  restock.set_stock(10);
  ASSERT_TRUE(Call<v1::Product>(Seller(), "UpdateProduct", restock));
  EXPECT_EQ(Reserve(Order(id, {2}))->SerializeAsString(), first);
}

TEST_F(ProductsServiceTest, WhatIsNoUuidIsRefused) {
  EXPECT_EQ(Outcome(Reserve(Order(Made(), {1}, "1"))), "INVALID_ARGUMENT");
}

TEST_F(ProductsServiceTest, WhatWasSoldComesBackByItsReturnAndIsSeenAtOnce) {
  CacheIsServing();
  const int64_t id = Made(5);
  const v1::ReserveStockRequest order = Order(id, {2}, "aaaaaaaa-0000-4000-8000-000000000001");
  ASSERT_TRUE(Reserve(order)->reserved());
  const testing::Credentials stock = callers_.Service("stock");
  v1::BatchCommitStockRequest sale;
  sale.add_requests()->set_order_uuid("AAAAAAAA-0000-4000-8000-000000000001");
  sale.add_requests()->set_order_uuid("aaaaaaaa-0000-4000-8000-000000000002");
  const auto sold = Call<v1::BatchCommitStockResponse>(stock, "BatchCommitStock", sale);
  ASSERT_TRUE(sold);
  ASSERT_THAT(sold->responses(), SizeIs(2));
  EXPECT_TRUE(sold->responses(0).committed());
  EXPECT_FALSE(sold->responses(1).committed());
  EXPECT_EQ(Get(id)->stock(), 3);

  v1::ReturnStockRequest back;
  back.set_order_uuid(order.order_uuid());
  back.set_return_uuid("BBBBBBBB-0000-4000-8000-000000000001");
  *back.mutable_items() = order.items();
  EXPECT_EQ(Call<v1::ReturnStockResponse>(stock, "ReturnStock", back)->pieces(), 2);
  EXPECT_EQ(Get(id)->stock(), 5);
  EXPECT_EQ(Call<v1::ReturnStockResponse>(stock, "ReturnStock", back)->pieces(), 2);
  EXPECT_EQ(Get(id)->stock(), 5);
  EXPECT_EQ(Outcome(Call<v1::ReturnStockResponse>(callers_.Service("orders"), "ReturnStock", back)),
            "PERMISSION_DENIED");
}

TEST_F(ProductsServiceTest, ListsTellTheirPage) {
  for (int i = 0; i < 3; ++i) Made();
  const Result<v1::ListProductsResponse> page = List("-id", 2, 2);
  ASSERT_TRUE(page);
  EXPECT_THAT(page->items(), SizeIs(1));
  EXPECT_EQ(page->page(), 2);
  EXPECT_EQ(page->limit(), 2);
  EXPECT_EQ(page->total(), 3);
  EXPECT_EQ(page->total_pages(), 2);
  EXPECT_EQ(page->items(0).currency(), "EUR");
}

TEST_F(ProductsServiceTest, ListsRefuseAnUnknownSortByItsField) {
  const Result<v1::ListProductsResponse> page = List("colour", 1, 2);
  EXPECT_EQ(Outcome(page), "INVALID_ARGUMENT");
  EXPECT_EQ(Field(page), "sort");
}

TEST_F(ProductsServiceTest, ACursorGoesOnWhereItsListEnded) {
  for (int i = 0; i < 3; ++i) Made();
  const Result<v1::ListProductsResponse> first = List("-id", 1, 2);
  ASSERT_TRUE(first);
  ASSERT_TRUE(first->has_next_cursor());
  v1::ListProductsRequest request;
  request.set_sort("-id");
  request.set_cursor(first->next_cursor());
  const auto list = [&] { return Call<v1::ListProductsResponse>({}, "ListProducts", request); };
  const Result<v1::ListProductsResponse> rest = list();
  ASSERT_TRUE(rest) << rest.refusal().message;
  EXPECT_THAT(rest->items(), SizeIs(1));
  EXPECT_FALSE(rest->has_next_cursor());
  EXPECT_FALSE(rest->has_total());
  EXPECT_FALSE(rest->has_page());

  request.set_sort("id");
  EXPECT_EQ(Field(list()), "cursor");
  request.set_sort("-id");
  request.set_in_stock(true);
  EXPECT_EQ(Field(list()), "cursor");
  request.set_in_stock(false);
  request.set_page(1);
  EXPECT_EQ(Field(list()), "page");
  request.clear_page();
  request.set_cursor("not one");
  EXPECT_EQ(Field(list()), "cursor");
}

TEST_F(ProductsServiceTest, APageTooDeepIsRefused) {
  EXPECT_TRUE(List("", 100, 100));
  EXPECT_EQ(Field(List("", 101, 100)), "page");
}

TEST_F(ProductsServiceTest, WhatIsSentCannotBeEmptiedToo) {
  v1::UpdateProductRequest change;
  change.set_id(Made());
  change.add_images()->set_url("https://example.org/a.png");
  change.add_clear("images");
  EXPECT_EQ(Field(Call<v1::Product>(Seller(), "UpdateProduct", change)), "clear");
  change.clear_images();
  EXPECT_TRUE(Call<v1::Product>(Seller(), "UpdateProduct", change));
  change.set_clear(0, "price");
  EXPECT_EQ(Field(Call<v1::Product>(Seller(), "UpdateProduct", change)), "clear[0]");
}

TEST_F(ProductsServiceTest, ASearchForNothingIsRefused) {
  for (const char* q : {"", " ", "...", "\"'", "-", "%_"}) {
    EXPECT_EQ(Outcome(Search(q)), "INVALID_ARGUMENT") << q;
    EXPECT_EQ(Field(Search(q)), "q") << q;
  }
}

TEST_F(ProductsServiceTest, ASearchFindsWhatIsSpeltNearlySo) {
  ASSERT_TRUE(Create(Seller(), Draft("Mechanical keyboard")));
  ASSERT_TRUE(Create(Seller(), Draft("Lamp")));
  const Result<v1::ListProductsResponse> found = Search("keybaord");
  ASSERT_TRUE(found);
  ASSERT_THAT(found->items(), SizeIs(1));
  EXPECT_EQ(found->items(0).name(), "Mechanical keyboard");
  EXPECT_EQ(found->total(), 1);
}

TEST_F(ProductsServiceTest, TextWithANulByteIsRefusedAndNotCut) {
  v1::CreateProductRequest draft = Draft();
  draft.set_description(std::string("a\0b", 3));
  EXPECT_EQ(Field(Create(Seller(), draft)), "description");
}

class DrainedOftenTest : public ProductsServiceTest {
 protected:
  DrainedOftenTest() : ProductsServiceTest(WithRedis(std::chrono::milliseconds(20))) {}
};

TEST_F(DrainedOftenTest, AChangeWhoseProcessDiedBeforeTheInvalidationIsSeenSoon) {
  CacheIsServing();
  const int64_t id = Made();
  EXPECT_EQ(Get(id)->price(), 4999);
  v1::UpdateProductRequest change;
  change.set_id(id);
  change.set_price(100);
  EXPECT_TRUE(postgres::InTransaction(
      db_, [&](postgres::Tx& tx) { return Update(tx, change, std::nullopt); }));
  EXPECT_TRUE(testing::Eventually([&] { return Get(id)->price() == 100; }));
}

class WithoutRedisTest : public ProductsServiceTest {
 protected:
  WithoutRedisTest() : ProductsServiceTest(Nowhere()) {}
  static ProductCache::Settings Nowhere() {
    ProductCache::Settings settings;
    settings.redis = {.host = "127.0.0.1", .port = 1};
    return settings;
  }
};

TEST_F(WithoutRedisTest, EverythingIsAnsweredFromTheDatabase) {
  const int64_t id = Made(5);
  EXPECT_EQ(Get(id)->price(), 4999);
  EXPECT_TRUE(Reprice(Seller(), id, 100));
  EXPECT_EQ(Get(id)->price(), 100);
  EXPECT_TRUE(Reserve(Order(id, {2}))->reserved());
  EXPECT_EQ(Get(id)->stock(), 3);
  EXPECT_TRUE(Delete(Seller(), id));
  EXPECT_EQ(Outcome(Get(id)), "NOT_FOUND");
}

}  // namespace
}  // namespace shop::products
