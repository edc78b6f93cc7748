// Responses that the gateway caches, and calls that requests share.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "common/testing/servers.h"
#include "gateway/cache/response_cache.h"
#include "gateway/http/gzip.h"
#include "gateway/testing/fixture.h"

namespace shop::gateway {
namespace {

using shop::testing::Eventually;
using std::chrono::milliseconds;
using std::chrono::seconds;

// A gateway that caches responses, and is subscribed to changes.
class CachingGatewayTest : public GatewayTest {
 protected:
  CachingGatewayTest() {
    settings_.cache_max_age = std::chrono::hours(1);
    Start();
    gateway_->cache().SetSubscribed(true);
  }
  // How often the service was asked for the answer.
  int Asked(const std::string& request) {
    const int before = library_.read;
    EXPECT_LT(Exchange(request).status, 500);
    return library_.read - before;
  }
};

TEST_F(CachingGatewayTest, ARepeatedReadIsAnsweredFromTheCache) {
  for (const std::string target :
       {"/api/v1/books/12", "/api/v1/books?page=2", "/api/v1/books/5000"}) {
    for (const std::string headers : {"", "Accept-Encoding: gzip\r\n"}) {
      const Response first = Exchange(Get(target, headers));
      const Response second = Exchange(Get(target, headers));
      EXPECT_EQ(second.status, 200);
      EXPECT_EQ(second.body, first.body);
      EXPECT_EQ(second.headers.at("etag"), first.headers.at("etag"));
      EXPECT_NE(second.headers.at("x-request-id"), first.headers.at("x-request-id"));
      EXPECT_EQ(Asked(Get(target, headers)), 0);
    }
  }
  EXPECT_EQ(Asked(Get("/api/v1/books?page=3")), 1);
  EXPECT_EQ(Asked(Get("/api/v1/books/12", "", "HEAD")), 0);
  const std::string etag = Exchange(Get("/api/v1/books/12")).headers.at("etag");
  EXPECT_EQ(Exchange(Get("/api/v1/books/12", "If-None-Match: " + etag + "\r\n")).status, 304);
}

TEST_F(CachingGatewayTest, AChangeEndsResponsesAboutThatThing) {
  EXPECT_EQ(Asked(Get("/api/v1/books/12")), 1);
  EXPECT_EQ(Asked(Get("/api/v1/books/13")), 1);
  EXPECT_EQ(Asked(Get("/api/v1/books")), 1);
  gateway_->cache().Changed("books", {12});
  EXPECT_EQ(Asked(Get("/api/v1/books/12")), 1);
  EXPECT_EQ(Asked(Get("/api/v1/books/13")), 0);
  EXPECT_EQ(Asked(Get("/api/v1/books")), 1);
}

TEST_F(CachingGatewayTest, AChangeThroughItIsSeenByTheNextRead) {
  EXPECT_EQ(Asked(Get("/api/v1/books/12")), 1);
  EXPECT_EQ(Exchange(Get("/api/v1/books/5", Admin(), "DELETE")).status, 200);
  EXPECT_EQ(Asked(Get("/api/v1/books/12")), 1);
}

TEST_F(CachingGatewayTest, ARequestThatIsRefusedGetsNoCachedResponse) {
  EXPECT_EQ(Asked(Get("/api/v1/books/12")), 1);
  EXPECT_EQ(Exchange(Get("/api/v1/books/12", "Authorization: Bearer no\r\n")).status, 401);
  EXPECT_EQ(Exchange(Get("/api/v1/books/12", "Request-Timeout: soon\r\n")).status, 400);
  const Response known = Exchange(Get("/api/v1/books/12", User()));
  EXPECT_EQ(known.status, 200);
  EXPECT_EQ(known.headers.at("cache-control"), "no-store");
}

TEST_F(CachingGatewayTest, RefusalsAreNotCached) {
  EXPECT_EQ(Asked(Get("/api/v1/books/404")), 1);
  EXPECT_EQ(Asked(Get("/api/v1/books/404")), 1);
}

TEST_F(CachingGatewayTest, ASaleEndsResponsesAboutThatThingAndNoList) {
  EXPECT_EQ(Asked(Get("/api/v1/books/12")), 1);
  EXPECT_EQ(Asked(Get("/api/v1/books/13")), 1);
  EXPECT_EQ(Asked(Get("/api/v1/books")), 1);
  gateway_->cache().Sold("books", {12});
  EXPECT_EQ(Asked(Get("/api/v1/books/12")), 1);
  EXPECT_EQ(Asked(Get("/api/v1/books/13")), 0);
  EXPECT_EQ(Asked(Get("/api/v1/books")), 0);
}

// A gateway in front of a service whose answers come when the test releases them.
class SharedCallsTest : public CachingGatewayTest {
 protected:
  // Clients who have asked all this; the service's first answer waits from here on.
  std::vector<std::unique_ptr<Client>> AskAtOnce(const std::vector<std::string>& requests) {
    library_.Hold({library_.read + 1});
    std::vector<std::unique_ptr<Client>> clients;
    for (const std::string& request : requests) clients.push_back(Ask(request));
    const auto others = static_cast<double>(requests.size() - 1);
    EXPECT_TRUE(Eventually([&] { return Shared() == others; }));
    EXPECT_TRUE(Eventually([&] { return library_.read > 0; }));
    return clients;
  }
  std::unique_ptr<Client> Ask(const std::string& request) {
    auto client = std::make_unique<Client>(port());
    client->Send(request);
    return client;
  }
  // How many have joined another one's call in this test.
  double Shared() const { return Counted("answer_cache_shared_total") - before_; }
  const std::string book_ = "/api/v1/books/" + std::to_string(kNumbered);

 private:
  const double before_ = Counted("answer_cache_shared_total");
};

TEST_F(SharedCallsTest, RequestsForTheSameAtOnceMakeOneCall) {
  const auto clients = AskAtOnce(std::vector<std::string>(20, Get(book_)));
  library_.LetGo(1);
  for (const auto& client : clients) {
    const Response response = client->Receive();
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(response.text("/data/title"), "read 1");
  }
  EXPECT_EQ(library_.read, 1);
  EXPECT_EQ(Asked(Get(book_)), 0);
}

TEST_F(SharedCallsTest, OneCallServesEveryMethodAndForm) {
  const std::string target = "/api/v1/books/" + std::to_string(kLong);
  const auto clients =
      AskAtOnce({Get(target), Get(target, "Accept-Encoding: gzip\r\n"), Get(target, User()),
                 Get(target, "If-None-Match: *\r\n"), Get(target, "", "HEAD")});
  library_.LetGo(1);
  const std::string plain = clients[0]->Receive().body;
  EXPECT_EQ(clients[1]->Receive().body, Gzip(plain));
  const Response known = clients[2]->Receive();
  EXPECT_EQ(known.body, plain);
  EXPECT_EQ(known.headers.at("cache-control"), "no-store");
  EXPECT_EQ(clients[3]->Receive().status, 304);
  EXPECT_EQ(clients[4]->Receive(false).status, 200);
  EXPECT_EQ(library_.read, 1);
}

TEST_F(SharedCallsTest, AnotherTargetIsAnotherCall) {
  library_.Hold({1});
  const auto first = Ask(Get(book_));
  EXPECT_TRUE(Eventually([&] { return library_.read == 1; }));
  EXPECT_EQ(Exchange(Get(book_ + "?x=1")).text("/data/title"), "read 2");
  EXPECT_EQ(Exchange(Get("/api/v1/books/12")).status, 200);
  library_.LetGo(1);
  EXPECT_EQ(first->Receive().text("/data/title"), "read 1");
}

TEST_F(SharedCallsTest, ARefusalIsAnsweredToAllAndNotCached) {
  const auto clients = AskAtOnce(std::vector<std::string>(5, Get("/api/v1/books/404")));
  library_.LetGo(1);
  std::set<std::string> ids;
  for (const auto& client : clients) {
    const Response response = client->Receive();
    EXPECT_EQ(response.status, 404);
    ids.insert(response.text("/requestId"));
  }
  EXPECT_EQ(ids.size(), clients.size()) << "each has its own envelope";
  EXPECT_EQ(library_.read, 1);
  EXPECT_EQ(Asked(Get("/api/v1/books/404")), 1);
}

TEST_F(SharedCallsTest, ARequestAfterAChangeJoinsNoCallFromBeforeIt) {
  library_.Hold({1, 2});
  const auto before = Ask(Get(book_));
  ASSERT_TRUE(Eventually([&] { return library_.read == 1; }));
  gateway_->cache().Sold("books", {kNumbered});
  const auto after = Ask(Get(book_));
  ASSERT_TRUE(Eventually([&] { return library_.read == 2; }));
  const auto too = Ask(Get(book_));
  ASSERT_TRUE(Eventually([&] { return Shared() == 1; }));
  library_.LetGo(2);
  EXPECT_EQ(after->Receive().text("/data/title"), "read 2");
  EXPECT_EQ(too->Receive().text("/data/title"), "read 2");
  library_.LetGo(1);
  EXPECT_EQ(before->Receive().text("/data/title"), "read 1");
  EXPECT_EQ(Exchange(Get(book_)).text("/data/title"), "read 2") << "the newer one was cached";
}

TEST_F(SharedCallsTest, ACallThatBeganBeforeAChangeIsNotCachedAfterIt) {
  library_.Hold({1});
  const auto before = Ask(Get(book_));
  ASSERT_TRUE(Eventually([&] { return library_.read == 1; }));
  gateway_->cache().Changed("books", {kNumbered});
  library_.LetGo(1);
  EXPECT_EQ(before->Receive().status, 200);
  EXPECT_EQ(Exchange(Get(book_)).text("/data/title"), "read 2");
}

TEST_F(SharedCallsTest, ACallIsSharedAfterASaleOfAnotherThingAndNotAfterAChange) {
  library_.Hold({1});
  const auto first = Ask(Get(book_));
  ASSERT_TRUE(Eventually([&] { return library_.read == 1; }));
  gateway_->cache().Sold("books", {12});
  const auto other = Ask(Get(book_));
  ASSERT_TRUE(Eventually([&] { return Shared() == 1; })) << "another thing was sold";
  gateway_->cache().Changed("books");
  EXPECT_EQ(Exchange(Get(book_)).text("/data/title"), "read 2");
  library_.LetGo(1);
  EXPECT_EQ(first->Receive().text("/data/title"), "read 1");
  EXPECT_EQ(other->Receive().text("/data/title"), "read 1");
}

TEST_F(SharedCallsTest, EachWaitsUntilItsOwnDeadline) {
  const auto clients = AskAtOnce(
      {Get(book_, "Request-Timeout: 0.2\r\n"), Get(book_), Get(book_, "Request-Timeout: 0.3\r\n")});
  EXPECT_EQ(clients[0]->Receive().status, 504) << "it made the call for all";
  EXPECT_EQ(clients[2]->Receive().status, 504);
  EXPECT_EQ(library_.cancelled, 0);
  library_.LetGo(1);
  EXPECT_EQ(clients[1]->Receive().text("/data/title"), "read 1");
}

TEST_F(SharedCallsTest, ACallThatNobodyWaitsForIsCancelled) {
  server_.reset();
  settings_.request_timeout = std::chrono::minutes(10);  // its own end is far away
  Start();
  gateway_->cache().SetSubscribed(true);
  const auto clients =
      AskAtOnce({Get(book_, "Request-Timeout: 0.1\r\n"), Get(book_, "Request-Timeout: 0.2\r\n")});
  for (const auto& client : clients) EXPECT_EQ(client->Receive().status, 504);
  EXPECT_TRUE(Eventually([&] { return library_.cancelled == 1; }));
  EXPECT_EQ(Exchange(Get(book_)).text("/data/title"), "read 2");
}

TEST_F(SharedCallsTest, NothingIsSharedWithoutASubscription) {
  gateway_->cache().SetSubscribed(false);
  library_.Hold({1});
  const auto first = Ask(Get(book_));
  ASSERT_TRUE(Eventually([&] { return library_.read == 1; }));
  EXPECT_EQ(Exchange(Get(book_)).text("/data/title"), "read 2");
  library_.LetGo(1);
  EXPECT_EQ(first->Receive().text("/data/title"), "read 1");
  EXPECT_EQ(Exchange(Get(book_)).text("/data/title"), "read 3") << "nor was it cached";
}

TEST_F(SharedCallsTest, NobodysTokenGoesWithASharedCall) {
  EXPECT_EQ(Exchange(Get(book_, User())).status, 200);
  EXPECT_EQ(library_.read, 1);
  EXPECT_EQ(library_.with_token, 0);
}

TEST_F(SharedCallsTest, StoppingDoesNotWaitForASharedCall) {
  server_.reset();
  http_.grace = milliseconds(300);
  server_ = std::make_unique<HttpServer>(http_, *gateway_);
  const auto clients = AskAtOnce({Get(book_), Get(book_)});
  const auto start = std::chrono::steady_clock::now();
  server_.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - start, seconds(5));
  EXPECT_TRUE(Eventually([&] { return library_.cancelled == 1; }));
}

TEST_F(SharedCallsTest, SeveralThreadsShareToo) {
  server_.reset();
  http_.threads = 3;
  server_ = std::make_unique<HttpServer>(http_, *gateway_);
  std::atomic<int> good = 0;
  std::vector<std::thread> clients;
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back([&] {
      Client client(port());
      for (int round = 0; round < 100; ++round) {
        gateway_->cache().Sold("books", {kNumbered});
        const std::string timeout = round % 10 == 0 ? "Request-Timeout: 0.001\r\n" : "";
        client.Send(Get(book_, timeout));
        const int status = client.Receive().status;
        if (status == 200 || (status == 504 && !timeout.empty())) ++good;
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(good, 800);
}

}  // namespace
}  // namespace shop::gateway
