// Who calls, and whether they may: tokens, keys and roles.
#include <gtest/gtest.h>

#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "common/testing/servers.h"
#include "gateway/authenticator.h"
#include "gateway/testing/fixture.h"

namespace shop::gateway {
namespace {

using shop::testing::Eventually;
using std::chrono::milliseconds;
using std::chrono::seconds;

TEST_F(GatewayTest, WithoutATokenTheCallerIsAskedForOne) {
  const Response response = Exchange(Post("/api/v1/books", "{}"));
  EXPECT_EQ(response.status, 401);
  EXPECT_EQ(response.text("/error/code"), "UNAUTHENTICATED");
  EXPECT_EQ(response.headers.at("www-authenticate"), "Bearer");
  EXPECT_EQ(library_.created, 0);
}

TEST_F(GatewayTest, ABadTokenIsRefusedEverywhere) {
  for (const char* value : {"Bearer nonsense", "Bearer a.b.c", "Bearer", "Bearer ", "Basic dTpw",
                            "bearer a b", "token"}) {
    const Response response =
        Exchange(Get("/api/v1/books/12", std::string("Authorization: ") + value + "\r\n"));
    EXPECT_EQ(response.status, 401) << value;
    EXPECT_EQ(response.headers.at("www-authenticate"), "Bearer error=\"invalid_token\"") << value;
  }
}

TEST_F(GatewayTest, AnExpiredTokenIsRefused) {
  const std::string token = signer_.Sign(7, shop::api::v1::ROLE_USER, seconds(-3600));
  EXPECT_EQ(Exchange(Post("/api/v1/books", "{}", "Authorization: Bearer " + token + "\r\n")).status,
            401);
}

TEST_F(GatewayTest, TheTokenOfASessionThatHasEndedIsRefused) {
  const auto ask = [&](const char* session) {
    const std::string token = signer_.Sign(7, shop::api::v1::ROLE_USER, seconds(900), session);
    return Exchange(Get("/api/v1/books/12", "Authorization: Bearer " + token + "\r\n"));
  };
  EXPECT_EQ(ask("mine").status, 200);
  tokens_.Revoke("mine", std::chrono::system_clock::now() + seconds(900));
  const Response refused = ask("mine");
  EXPECT_EQ(refused.status, 401);
  EXPECT_EQ(refused.headers.at("www-authenticate"), "Bearer error=\"invalid_token\"");
  EXPECT_EQ(ask("yours").status, 200);
}

TEST_F(GatewayTest, TwoTokensAreRefused) {
  EXPECT_EQ(Exchange(Get("/api/v1/books/12", User() + User())).status, 401);
}

TEST_F(GatewayTest, TheSchemeIsReadInAnyCase) {
  const std::string token = signer_.Sign(7, shop::api::v1::ROLE_USER, seconds(60));
  EXPECT_EQ(Exchange(Get("/api/v1/books/12", "authorization: bearer  " + token + "\r\n")).status,
            200);
}

TEST_F(GatewayTest, ARoleThatIsTooLittleIsForbidden) {
  const Response response = Exchange(Get("/api/v1/books/5", User(), "DELETE"));
  EXPECT_EQ(response.status, 403);
  EXPECT_EQ(response.text("/error/code"), "PERMISSION_DENIED");
  EXPECT_EQ(
      Exchange(Get("/api/v1/books/5", Token(shop::api::v1::ROLE_SUPER_ADMIN), "DELETE")).status,
      200);
}

TEST_F(GatewayTest, WithoutAnyKeyATokenIs503) {
  keys_away_ = true;
  const Response response = Exchange(Get("/api/v1/books/12", User()));
  EXPECT_EQ(response.status, 503);
  EXPECT_EQ(response.headers.at("retry-after"), "1");
}

TEST_F(GatewayTest, AnUnknownKeyWhileAuthIsSlowDelaysNoOtherToken) {
  std::atomic<bool> slow = false;
  std::atomic<int> fetches = 0;
  std::atomic<seconds> passed{seconds(0)};
  auth::TokenVerifier tokens(
      [&]() -> std::vector<auth::PublicKey> {
        ++fetches;
        while (slow) std::this_thread::sleep_for(milliseconds(1));
        return {signer_.public_key()};
      },
      [&] { return std::chrono::system_clock::now() + passed.load(); });
  Start(Services{Declared("shop.testing.v1.LibraryService")}, tokens);
  const struct End {
    ~End() { run(); }
    std::function<void()> run;
  } before_the_tokens_go{[&] {
    slow = false;
    server_.reset();
    gateway_.reset();
  }};
  ASSERT_TRUE(Eventually([&] { return gateway_->Ready(); }));

  slow = true;
  passed = seconds(6);  // so that the next unknown key is asked for
  const auth::TokenSigner stranger(PrivateKey());
  std::vector<std::unique_ptr<Client>> strangers;
  for (int64_t id = 1; id <= 150; ++id) {
    strangers.push_back(std::make_unique<Client>(port()));
    strangers.back()->Send(Get(
        "/api/v1/books/12", "Authorization: Bearer " +
                                stranger.Sign(id, shop::api::v1::ROLE_USER, seconds(60)) + "\r\n"));
  }
  ASSERT_TRUE(Eventually([&] { return fetches == 2; }));
  // Tokens that were never seen, of a key that is known.
  for (int64_t id = 1; id <= 20; ++id) {
    ASSERT_EQ(Exchange(Get("/api/v1/books/12", Token(shop::api::v1::ROLE_USER, id))).status, 200);
  }
  for (const auto& client : strangers) EXPECT_EQ(client->Receive().status, 503);
  slow = false;
  ASSERT_TRUE(Eventually([&] {
    return Exchange(Get("/api/v1/books/12",
                        "Authorization: Bearer " +
                            stranger.Sign(7, shop::api::v1::ROLE_USER, seconds(60)) + "\r\n"))
               .status == 401;
  }));
}

TEST(Authenticator, WhoWouldWaitTooLongForACheckIsRefusedAtOnce) {
  std::atomic<bool> held = false;
  const auth::TokenSigner signer(PrivateKey());
  auth::TokenVerifier tokens([&] { return std::vector{signer.public_key()}; },
                             [&] {
                               while (held) std::this_thread::sleep_for(milliseconds(1));
                               return std::chrono::system_clock::now();
                             });
  tokens.Prepare();
  ASSERT_TRUE(Eventually([&] { return tokens.HasKeys(); }));
  const std::string token = signer.Sign(7, shop::api::v1::ROLE_USER, seconds(60));
  Authenticator authenticator(tokens);
  boost::asio::io_context io;
  size_t served = 0;
  std::vector<Refusal> refused;
  const auto ask = [&]() -> boost::asio::awaitable<void> {
    const Result<Caller> caller =
        co_await authenticator.Authenticate(token, std::chrono::steady_clock::now() + seconds(60));
    if (caller) {
      ++served;
    } else {
      refused.push_back(caller.refusal());
    }
  };
  held = true;
  for (size_t i = 0; i < Authenticator::kMostChecks + 10; ++i) {
    boost::asio::co_spawn(io, ask, boost::asio::detached);
  }
  io.poll();
  EXPECT_EQ(refused.size(), 10u);
  for (const Refusal& refusal : refused) EXPECT_EQ(refusal.code, Code::kUnavailable);
  held = false;
  io.run();
  EXPECT_EQ(served, Authenticator::kMostChecks);
}

// A gateway that gets new keys only once `slow_` is false.
class SlowKeysGatewayTest : public GatewayTest {
 protected:
  ~SlowKeysGatewayTest() override {
    slow_ = false;
    server_.reset();
    gateway_.reset();
  }
  // Starts it with the keys of `signer_`; from then on fetching is slow.
  void StartSlow() {
    Start(Services{Declared("shop.testing.v1.LibraryService")}, slow_tokens_);
    ASSERT_TRUE(Eventually([&] { return gateway_->Ready(); }));
    slow_ = true;
    passed_ = seconds(6);  // so that the next unknown key is asked for
  }
  std::string NewKeysToken() {
    return "Authorization: Bearer " + new_signer_.Sign(7, shop::api::v1::ROLE_USER, seconds(60)) +
           "\r\n";
  }

  std::atomic<bool> slow_ = false;
  std::atomic<int> fetches_ = 0;
  std::atomic<seconds> passed_{seconds(0)};
  auth::TokenSigner new_signer_{PrivateKey()};
  auth::TokenVerifier slow_tokens_{
      [this]() -> std::vector<auth::PublicKey> {
        if (++fetches_ == 1) return {signer_.public_key()};
        while (slow_) std::this_thread::sleep_for(milliseconds(1));
        return {signer_.public_key(), new_signer_.public_key()};
      },
      [this] { return std::chrono::system_clock::now() + passed_.load(); }};
};

TEST_F(SlowKeysGatewayTest, AShortTimeoutEndsTheWaitForAKey) {
  StartSlow();
  // Whoever came first would be answered first, if all waited as long.
  EXPECT_TRUE(Eventually([&] {
    Client patient(port());
    patient.Send(Get("/echo", NewKeysToken()));
    EXPECT_TRUE(Eventually([] { return Gauged("http_requests_in_flight") == 1; }));
    Client hasty(port());
    hasty.Send(Get("/echo", NewKeysToken() + "Request-Timeout: 0.1\r\n"));
    EXPECT_EQ(hasty.Receive().status, 503);
    const bool before = !patient.HasMore();
    EXPECT_EQ(patient.Receive().status, 503);
    return before;
  }));
}

TEST_F(SlowKeysGatewayTest, TheServiceGetsTheTimeLeftAfterWaitingForAKey) {
  StartSlow();
  Client client(port());
  client.Send(Get("/echo", NewKeysToken() + "Request-Timeout: 5\r\n"));
  ASSERT_TRUE(Eventually([&] { return fetches_ == 2; }));
  const auto asked = std::chrono::steady_clock::now();
  ASSERT_TRUE(
      Eventually([&] { return std::chrono::steady_clock::now() >= asked + milliseconds(200); }));
  slow_ = false;
  const Response response = client.Receive();
  ASSERT_EQ(response.status, 200);
  EXPECT_LE(std::stoi(response.text("/deadlineMs")), 4800);
}

}  // namespace
}  // namespace shop::gateway
