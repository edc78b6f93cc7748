// The wrapper around every handler, seen through real gRPC by a client as other services have it.
#include "common/rpc/server.h"

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "common/core/deadline.h"
#include "common/rpc/client.h"
#include "common/rpc/identity.h"
#include "common/rpc/testing/fake_products.h"
#include "common/rpc/unary_call.h"
#include "common/rpc/worker_pool.h"
#include "common/testing/callers.h"
#include "common/testing/fake_service.h"
#include "common/testing/servers.h"
#include "common/testing/wire.h"
#include "shop/orders/v1/orders.pb.h"
#include "shop/products/v1/products.pb.h"

namespace shop::rpc {
namespace {

using orders::v1::GetOrderRequest;
using products::v1::GetProductRequest;
using products::v1::Product;
using products::v1::ReserveStockRequest;
using products::v1::ReserveStockResponse;
using ::testing::ElementsAre;
using testing::Eventually;
using testing::FakeService;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::ThrowsMessage;

class ServerTest : public ::testing::Test {
 protected:
  static Call Now(std::chrono::milliseconds limit = std::chrono::seconds(5)) {
    return BackgroundCall(TraceContext::New(), limit);
  }

  FakeProducts fake_;
  Identity identity_{testing::IdentityOf("products"), NoKeys};
  Server server_{
      {.host = "127.0.0.1", .threads = 2, .queue = 2}, identity_, {FakeService(fake_.Methods())}};
  Identity stock_identity_{testing::IdentityOf("stock"), NoKeys};
  Identity cart_identity_{testing::IdentityOf("cart"), NoKeys};
  Channel guest_{"products", server_.address(), Tls()};
  Channel stock_{"products", server_.address(), stock_identity_};
  Channel cart_{"products", server_.address(), cart_identity_};
  std::stop_source stop_;
  const std::string get_ = "shop.products.v1.ProductsService";
};

TEST_F(ServerTest, AnswersWhatTheHandlerAnswers) {
  const ClientMethod<GetProductRequest, Product> get(guest_, get_, "GetProduct");
  const Result<Product> product = get(Now(), Product7());
  ASSERT_TRUE(product) << product.refusal().message;
  EXPECT_EQ(product->id(), 7);
}

TEST_F(ServerTest, AnAnswerThatIsGivenAgainSaysSo) {
  const auto replayed = [&] {
    UnaryStub stub(grpc::CreateChannel(server_.address(), grpc::InsecureChannelCredentials()));
    grpc::ClientContext context;
    Product product;
    EXPECT_TRUE(CallUnary(stub, '/' + get_ + "/GetProduct", &context, Product7(), &product).ok());
    return context.GetServerTrailingMetadata().contains("idempotent-replayed");
  };
  EXPECT_FALSE(replayed());
  fake_.get = [](const Call& call, const GetProductRequest&) {
    call.replayed = true;
    return Product();
  };
  EXPECT_TRUE(replayed());
}

TEST_F(ServerTest, AServerThatIsSlowToAcceptAConnectionIsCalledAllTheSame) {
  testing::Wire wire(server_.port());
  wire.SlowDown(std::chrono::milliseconds(400));
  const Channel channel("products", "127.0.0.1:" + std::to_string(wire.port()), Tls());
  const ClientMethod<GetProductRequest, Product> get(channel, get_, "GetProduct");
  EXPECT_TRUE(get(Now(), Product7()));
}

TEST_F(ServerTest, CarriesRequestIdAndTraceToTheHandler) {
  Call call = Now();
  call.request_id = "req-1";
  std::string request_id, trace_id;
  fake_.get = [&](const Call& seen, const GetProductRequest&) -> Result<Product> {
    request_id = seen.request_id;
    trace_id = seen.trace.trace_id;
    return Product();
  };
  const ClientMethod<GetProductRequest, Product> get(guest_, get_, "GetProduct");
  ASSERT_TRUE(get(call, Product7()));
  EXPECT_EQ(request_id, "req-1");
  EXPECT_EQ(trace_id, call.trace.trace_id);
}

TEST_F(ServerTest, ARefusalKeepsItsCodeDetailsReasonAndTime) {
  fake_.get = [](const Call&, const GetProductRequest&) -> Result<Product> {
    return Refusal{.code = Code::kFailedPrecondition,
                   .message = "no",
                   .details = {{"quantity", "only 3 left"}},
                   .reason = "OUT_OF_STOCK",
                   .retry_after = 7};
  };
  const ClientMethod<GetProductRequest, Product> get(guest_, get_, "GetProduct");
  const Result<Product> product = get(Now(), Product7());
  ASSERT_FALSE(product);
  EXPECT_EQ(product.refusal().code, Code::kFailedPrecondition);
  EXPECT_EQ(product.refusal().reason, "OUT_OF_STOCK");
  EXPECT_EQ(product.refusal().retry_after, 7);
  EXPECT_THAT(product.refusal().details,
              ElementsAre(Field("field", &FieldViolation::field, "quantity")));
}

TEST_F(ServerTest, ChecksFieldRulesBeforeTheHandler) {
  std::atomic<bool> reached = false;
  fake_.get = [&](const Call&, const GetProductRequest&) -> Result<Product> {
    reached = true;
    return Product();
  };
  const ClientMethod<GetProductRequest, Product> get(guest_, get_, "GetProduct");
  const Result<Product> product = get(Now(), GetProductRequest());
  ASSERT_FALSE(product);
  EXPECT_EQ(product.refusal().code, Code::kInvalidArgument);
  EXPECT_THAT(product.refusal().details, ElementsAre(Field("field", &FieldViolation::field, "id")));
  EXPECT_FALSE(reached);
}

// Small on the wire and large once it is read.
TEST_F(ServerTest, ARequestOfVeryManyFieldsIsRefusedUnread) {
  const std::string path = "/" + get_ + "/ReserveStock";
  ReserveStockRequest request = Reservation();
  for (int i = 0; i < 20'000; ++i) request.add_items();
  ReserveStockResponse response;
  const Result<void> many = stock_.Invoke(path, Now(), request, &response);
  ASSERT_FALSE(many);
  EXPECT_THAT(many.refusal().message, HasSubstr("more than 10000 fields"));
  EXPECT_THAT(many.refusal().details, IsEmpty()) << "it was read";
  request.mutable_items()->DeleteSubrange(0, 19'000);
  const Result<void> fewer = stock_.Invoke(path, Now(), request, &response);
  ASSERT_FALSE(fewer);
  EXPECT_THAT(fewer.refusal().details, Not(IsEmpty()));
}

TEST_F(ServerTest, ARequestOfMoreThanAMegabyteIsRefusedUnread) {
  const std::string path = "/" + get_ + "/ReserveStock";
  ReserveStockRequest request = Reservation();
  ReserveStockResponse response;
  request.set_order_uuid(std::string((1 << 20) - 1000, 'a'));
  const Result<void> smaller = stock_.Invoke(path, Now(), request, &response);
  ASSERT_FALSE(smaller);
  EXPECT_THAT(smaller.refusal().details, Not(IsEmpty()));
  request.set_order_uuid(std::string(1 << 20, 'a'));
  EXPECT_THAT([&] { (void)stock_.Invoke(path, Now(), request, &response); },
              ThrowsMessage<std::runtime_error>(HasSubstr("message larger than max")));
}

// A megabyte of them may be a thousand of what it is to be read.
TEST_F(ServerTest, ACompressedRequestIsRefusedAsItCame) {
  UnaryStub stub(grpc::CreateChannel(server_.address(), grpc::InsecureChannelCredentials()));
  ReserveStockRequest request = Reservation();
  for (const size_t size : {size_t{10}, size_t{8} << 20}) {
    request.set_order_uuid(std::string(size, 'a'));
    for (const auto algorithm : {GRPC_COMPRESS_GZIP, GRPC_COMPRESS_DEFLATE}) {
      grpc::ClientContext context;
      context.set_compression_algorithm(algorithm);
      ReserveStockResponse response;
      const grpc::Status status =
          CallUnary(stub, '/' + get_ + "/ReserveStock", &context, request, &response);
      EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED) << status.error_message();
    }
  }
}

TEST(WorkerPool, TakesRequestsOfABoundedSizeTogether) {
  std::mutex mutex;
  std::condition_variable changed;
  bool open = false;
  int done = 0;
  WorkerPool pool(1, 1000);
  const auto work = [&] {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return open; });
    ++done;
    changed.notify_all();
  };
  constexpr size_t kMegabyte = 1 << 20;
  for (size_t i = 0; i < WorkerPool::kMostBytes / kMegabyte; ++i) {
    EXPECT_TRUE(pool.Post(work, kMegabyte)) << i;
  }
  EXPECT_FALSE(pool.Post(work, kMegabyte));
  EXPECT_TRUE(pool.Post(work, 0)) << "what is without a request has room";
  std::unique_lock lock(mutex);
  open = true;
  changed.notify_all();
  changed.wait(lock, [&] { return done == 33; });
  EXPECT_TRUE(Eventually([&] { return pool.Post([] {}, WorkerPool::kMostBytes); }));
}

TEST_F(ServerTest, AnInternalMethodAnswersTheServicesItNamesAlone) {
  const std::string path = "/" + get_ + "/ReserveStock";
  ReserveStockResponse response;
  EXPECT_TRUE(stock_.Invoke(path, Now(), Reservation(), &response));
  // The client takes a refusal of its own identity for a fault, not for an answer.
  EXPECT_THROW((void)cart_.Invoke(path, Now(), Reservation(), &response), Unavailable);
  EXPECT_THROW((void)guest_.Invoke(path, Now(), Reservation(), &response), Unavailable);
}

TEST_F(ServerTest, AServiceThatCanServeNoRequestOfOursIsUnavailable) {
  const ClientMethod<GetProductRequest, Product> get(guest_, get_, "GetProduct");
  for (const Code code : {Code::kUnimplemented, Code::kUnauthenticated, Code::kPermissionDenied,
                          Code::kResourceExhausted, Code::kDeadlineExceeded}) {
    fake_.get = [code](const Call&, const GetProductRequest&) -> Result<Product> {
      return Refusal{code, "no"};
    };
    EXPECT_THROW((void)get(Now(), Product7()), Unavailable) << Name(code);
  }
}

// A consumer pauses on Unavailable; one event that breaks the other side must not stop all others.
TEST_F(ServerTest, AServiceThatFailsOnARequestIsNotUnavailable) {
  fake_.get = [](const Call&, const GetProductRequest&) -> Result<Product> {
    throw std::runtime_error("broken");
  };
  const ClientMethod<GetProductRequest, Product> get(guest_, get_, "GetProduct");
  try {
    (void)get(Now(), Product7());
    FAIL() << "the failure was taken for an answer";
  } catch (const Unavailable& error) {
    FAIL() << "the failure was taken for an absence: " << error.what();
  } catch (const std::runtime_error&) {
  }
}

TEST_F(ServerTest, ADependencyThatIsAwayIsUnavailableToTheCaller) {
  fake_.get = [](const Call&, const GetProductRequest&) -> Result<Product> {
    throw Unavailable("the database is away");
  };
  const ClientMethod<GetProductRequest, Product> get(guest_, get_, "GetProduct");
  EXPECT_THROW((void)get(Now(), Product7()), Unavailable);
}

TEST_F(ServerTest, AnExceptionTellsTheCallerNothing) {
  fake_.get = [](const Call&, const GetProductRequest&) -> Result<Product> {
    throw std::runtime_error("secret detail");
  };
  const ClientMethod<GetProductRequest, Product> get(guest_, get_, "GetProduct");
  try {
    (void)get(Now(), Product7());
    FAIL() << "the failure was taken for an answer";
  } catch (const std::runtime_error& error) {
    EXPECT_EQ(std::string(error.what()).find("secret"), std::string::npos);
  }
}

TEST_F(ServerTest, WhatDoesNotFitTheQueueIsRefusedAtOnce) {
  std::mutex mutex;
  std::condition_variable changed;
  bool open = false;
  int inside = 0;
  fake_.get = [&](const Call&, const GetProductRequest&) -> Result<Product> {
    std::unique_lock lock(mutex);
    ++inside;
    changed.notify_all();
    changed.wait(lock, [&] { return open; });
    return Product();
  };
  const ClientMethod<GetProductRequest, Product> get(guest_, get_, "GetProduct");
  int answered = 0;
  int refused = 0;
  std::vector<std::thread> clients;
  const auto start_clients = [&](int count) {
    for (int i = 0; i < count; ++i) {
      clients.emplace_back([&] {
        bool taken = true;
        try {
          taken = static_cast<bool>(get(Now(), Product7()));
        } catch (const Unavailable&) {
          taken = false;
        }
        const std::lock_guard lock(mutex);
        ++(taken ? answered : refused);
        changed.notify_all();
      });
    }
  };
  {
    // Two threads hold the handlers, two calls wait, the other eight are turned away meanwhile.
    std::unique_lock lock(mutex);
    start_clients(2);
    changed.wait(lock, [&] { return inside == 2; });
    start_clients(10);
    changed.wait(lock, [&] { return refused == 8; });
    open = true;
  }
  changed.notify_all();
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(answered, 4);
  EXPECT_EQ(refused, 8);
}

TEST_F(ServerTest, ACallPastItsDeadlineIsNotWaitedFor) {
  const ClientMethod<GetProductRequest, Product> get(guest_, get_, "GetProduct");
  EXPECT_THROW((void)get(Now(std::chrono::milliseconds(-1)), Product7()), Unavailable);
}

TEST_F(ServerTest, WhatAHandlerWaitsForKeepsToTheCallsDeadline) {
  std::chrono::steady_clock::duration left{};
  fake_.get = [&](const Call&, const GetProductRequest&) -> Result<Product> {
    left = DeadlineScope::Current() - std::chrono::steady_clock::now();
    return Product();
  };
  const ClientMethod<GetProductRequest, Product> get(guest_, get_, "GetProduct");
  ASSERT_TRUE(get(Now(std::chrono::seconds(5)), Product7()));
  EXPECT_GT(left, std::chrono::seconds(1));
  // gRPC sends the time that is left, rounded up to 10 ms when it is more than a second.
  EXPECT_LE(left, std::chrono::seconds(5) + std::chrono::milliseconds(20));
}

TEST_F(ServerTest, UnknownKeysLeaveThreadsForOthers) {
  std::atomic<bool> slow = true;
  std::atomic<int> fetches = 0;
  Identity identity(testing::IdentityOf("products"), [&]() -> std::vector<auth::PublicKey> {
    ++fetches;
    while (slow) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return {};
  });
  const Server server({.host = "127.0.0.1", .threads = 2}, identity,
                      {FakeService(fake_.Methods())});
  // Whatever its signature: the key it names has to be fetched first.
  // {"alg":"ES256","typ":"at+jwt","kid":"made-up"}, {}
  const std::string token =
      "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCIsImtpZCI6Im1hZGUtdXAifQ.e30.AAAA";
  std::atomic<bool> asking = true;
  std::vector<std::thread> strangers;
  for (int i = 0; i < 6; ++i) {
    strangers.emplace_back([&] {
      const shop::testing::Client client(server.address(), {.token = token});
      while (asking) {
        const Result<Product> product = client.Call<Product>(get_, "GetProduct", Product7());
        EXPECT_FALSE(product) << "a made-up token was taken";
      }
    });
  }
  while (fetches == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  // Each of them is answered well before a stranger that waits would give its thread back.
  const Channel guest("products", server.address(), Tls());
  const ClientMethod<GetProductRequest, Product> get(guest, get_, "GetProduct");
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(get(Now(), Product7()));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
  asking = false;
  slow = false;
  for (std::thread& stranger : strangers) stranger.join();
}

TEST_F(ServerTest, AStopEndsACallUnderWay) {
  std::atomic<bool> inside = false;
  std::atomic<bool> open = false;
  std::atomic<bool> left = false;
  fake_.get = [&](const Call&, const GetProductRequest&) -> Result<Product> {
    inside = true;
    EXPECT_TRUE(Eventually([&] { return open.load(); }));
    left = true;
    return Product();
  };
  std::thread stopping([&] {
    EXPECT_TRUE(Eventually([&] { return inside.load(); }));
    stop_.request_stop();
  });
  const ClientMethod<GetProductRequest, Product> get(guest_, get_, "GetProduct");
  {
    const DeadlineScope until(DeadlineScope::TimePoint::max(), stop_.get_token());
    const auto begun = std::chrono::steady_clock::now();
    EXPECT_THROW((void)get(Now(std::chrono::seconds(60)), Product7()), Unavailable);
    EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(15));
    EXPECT_THROW((void)get(Now(std::chrono::seconds(60)), Product7()), Unavailable)
        << "a later one";
  }
  open = true;
  stopping.join();
  EXPECT_TRUE(Eventually([&] { return left.load(); }));  // it refers to what ends here
}

TEST_F(ServerTest, ACallUnderWayIsAnsweredByAServerThatStops) {
  Identity identity(testing::IdentityOf("products"), NoKeys);
  std::optional<Server> server(std::in_place, ServerSettings{.host = "127.0.0.1"}, identity,
                               std::vector{FakeService(fake_.Methods())});
  const Channel channel("products", server->address(), Tls());
  const ClientMethod<GetProductRequest, Product> get(channel, get_, "GetProduct");
  std::atomic<bool> inside = false;
  std::atomic<bool> refusing = false;
  fake_.get = [&](const Call&, const GetProductRequest&) -> Result<Product> {
    inside = true;
    EXPECT_TRUE(Eventually([&] { return refusing.load(); }));
    return Product();
  };
  std::thread client([&] { EXPECT_TRUE(get(Now(std::chrono::seconds(60)), Product7())); });
  ASSERT_TRUE(Eventually([&] { return inside.load(); }));
  const Channel late("products", server->address(), Tls());
  std::thread stopping([&] { server.reset(); });
  // A guest may not reserve: while the server takes calls that is a refusal.
  const ClientMethod<ReserveStockRequest, ReserveStockResponse> reserve(late, get_, "ReserveStock");
  EXPECT_TRUE(Eventually([&] {
    try {
      EXPECT_FALSE(reserve(Now(), ReserveStockRequest()));
      return false;
    } catch (const Unavailable&) {
      return true;
    }
  }));
  refusing = true;
  client.join();
  stopping.join();
}

TEST_F(ServerTest, NoCallFailsWhileReplicasAreStartedAnewOneAfterAnother) {
  struct Replica {
    std::atomic<int> calls = 0;
    FakeProducts fake;
    std::optional<Server> server;
    uint16_t port = 0;
  };
  Identity identity(testing::IdentityOf("products"), NoKeys);
  std::array<Replica, 2> replicas;
  const auto start = [&](Replica& replica) {
    replica.server.emplace(ServerSettings{.host = "127.0.0.1",
                                          .port = replica.port,
                                          .drain_delay = std::chrono::milliseconds(1500)},
                           identity, std::vector{FakeService(replica.fake.Methods())});
    replica.port = replica.server->port();
  };
  std::string addresses;
  for (Replica& replica : replicas) {
    replica.fake.get = [&replica](const Call&, const GetProductRequest&) -> Result<Product> {
      ++replica.calls;
      return Product();
    };
    start(replica);
    addresses += (addresses.empty() ? "ipv4:" : ",") + replica.server->address();
  }
  const Channel channel("products", addresses, Tls());
  const ClientMethod<GetProductRequest, Product> get(channel, get_, "GetProduct");
  std::atomic<bool> done = false;
  std::vector<std::jthread> clients;
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back([&] {
      while (!done) EXPECT_NO_THROW((void)get(Now(std::chrono::seconds(60)), Product7()));
    });
  }
  for (int i = 0; i < 2; ++i) {
    for (Replica& replica : replicas) {
      replica.server.reset();
      start(replica);
      const int before = replica.calls;
      EXPECT_TRUE(Eventually([&] { return replica.calls > before; })) << "it is called again";
    }
  }
  done = true;
}

TEST_F(ServerTest, WhatAHandlerWaitsForEndsWhenAStopHasTakenTooLong) {
  Identity identity(testing::IdentityOf("products"), NoKeys);
  std::optional<Server> server(std::in_place, ServerSettings{.host = "127.0.0.1"}, identity,
                               std::vector{FakeService(fake_.Methods())});
  const Channel channel("products", server->address(), Tls());
  const ClientMethod<GetProductRequest, Product> get(channel, get_, "GetProduct");
  std::atomic<bool> inside = false;
  fake_.get = [&](const Call&, const GetProductRequest&) -> Result<Product> {
    inside = true;
    EXPECT_TRUE(Eventually([&] { return DeadlineScope::HasPassed(); }, std::chrono::seconds(30)));
    EXPECT_TRUE(DeadlineScope::Stop().stop_requested());
    throw Unavailable("was cut");
  };
  std::thread client(
      [&] { EXPECT_THROW((void)get(Now(std::chrono::seconds(60)), Product7()), Unavailable); });
  ASSERT_TRUE(Eventually([&] { return inside.load(); }));
  const auto begun = std::chrono::steady_clock::now();
  server.reset();
  EXPECT_GE(std::chrono::steady_clock::now() - begun, std::chrono::seconds(4));
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(9));
  client.join();
}

TEST_F(ServerTest, ADeclaredMethodWithoutAHandlerStopsTheStart) {
  EXPECT_THROW(Server({.host = "127.0.0.1"}, identity_, {fake_.Methods()}), std::logic_error);
}

TEST_F(ServerTest, AnswersAtItsUnixSocketToo) {
  const std::string socket =
      ::testing::TempDir() + "server_test-" + std::to_string(getpid()) + ".sock";
  const ServerSettings settings{.host = "127.0.0.1", .socket = socket};
  Server with_socket(settings, identity_, {FakeService(fake_.Methods())});
  const auto gets = [&](const std::string& address) {
    const Channel channel("products", address, stock_identity_);
    return static_cast<bool>(
        ClientMethod<GetProductRequest, Product>(channel, get_, "GetProduct")(Now(), Product7()));
  };
  EXPECT_TRUE(gets("unix:" + socket));
  EXPECT_TRUE(gets(with_socket.address()));

  // One that does not get its port leaves another's socket as it is.
  EXPECT_THROW(
      Server({.host = "127.0.0.1", .port = with_socket.port(), .socket = socket}, identity_, {}),
      std::runtime_error);
  EXPECT_TRUE(gets("unix:" + socket));
}

TEST_F(ServerTest, TakesOverTheSocketOfAServerThatWasKilled) {
  const std::string socket =
      ::testing::TempDir() + "server_test-" + std::to_string(getpid()) + ".sock";
  const int left = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  socket.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(bind(left, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  close(left);  // its file stays

  Server server({.host = "127.0.0.1", .socket = socket}, identity_, {FakeService(fake_.Methods())});
  const Channel channel("products", "unix:" + socket, Tls());
  EXPECT_TRUE(
      (ClientMethod<GetProductRequest, Product>(channel, get_, "GetProduct")(Now(), Product7())));
}

TEST_F(ServerTest, ASocketThatCannotBeStopsTheStart) {
  EXPECT_THROW(Server({.host = "127.0.0.1", .socket = "/nowhere/products.sock"}, identity_, {}),
               std::runtime_error);
}

TEST_F(ServerTest, APortThatIsTakenStopsTheStart) {
  EXPECT_THROW(Server({.host = "127.0.0.1", .port = server_.port()}, identity_, {}),
               std::runtime_error);
}

// Reflection describes what is linked, and gRPC brings no descriptor of its own health service.
TEST(Service, TheHealthServiceCanBeDescribed) {
  const auto* health = google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(
      "grpc.health.v1.Health");
  ASSERT_NE(health, nullptr);
  EXPECT_NE(health->FindMethodByName("Check"), nullptr);
}

TEST(Service, RefusesAMethodThatIsNotDeclared) {
  FakeProducts fake;
  EXPECT_THROW(rpc::Service("shop.products.v1.ProductsService")
                   .On("GetPrice", &fake, &FakeProducts::GetProduct),
               std::logic_error);
}

TEST(Service, RefusesAFunctionOfOtherTypes) {
  FakeProducts fake;
  EXPECT_THROW(rpc::Service("shop.products.v1.ProductsService")
                   .On("CreateProduct", &fake, &FakeProducts::GetProduct),
               std::logic_error);
}

TEST(MethodPath, RefusesWhatIsNotDeclared) {
  EXPECT_THROW(MethodPath("shop.products.v1.ProductsService", "GetPrice",
                          GetProductRequest::descriptor(), Product::descriptor()),
               std::logic_error);
}

}  // namespace
}  // namespace shop::rpc
