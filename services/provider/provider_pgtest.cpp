// The provider over HTTP on a real database: its operations, the outcomes that tokens choose, and its
// messages to the shop.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <vector>

#include "common/http/http_client.h"
#include "common/postgres/migrations.h"
#include "common/testing/database.h"
#include "common/testing/loopback_listener.h"
#include "common/testing/servers.h"
#include "provider/api.h"
#include "provider/background.h"
#include "provider/http_server.h"
#include "provider/ledger.h"
#include "provider_migrations.h"

namespace shop::provider {
namespace {

using std::chrono::milliseconds;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kApiKey[] = "sk_test";
constexpr char kSecret[] = "whsec_test";

// The shop's end of the messages: answers each with the next of `statuses`, and then with 200.
class Shop {
 public:
  explicit Shop(std::vector<int> statuses = {})
      : statuses_(std::move(statuses)), thread_([this] { Run(); }) {}
  ~Shop() {
    listener_.Shutdown();
    thread_.join();
  }
  std::string url() const {
    return "http://127.0.0.1:" + std::to_string(listener_.port()) + "/hook";
  }
  std::vector<std::string> received() const {
    const std::lock_guard lock(mutex_);
    return received_;
  }
  bool Has(size_t count) const {
    return testing::Eventually([&] { return received().size() >= count; });
  }

 private:
  void Run() {
    for (int client; (client = listener_.Accept()) >= 0; close(client)) {
      std::string text;
      char bytes[4096];
      size_t end = std::string::npos;
      while (true) {
        const ssize_t got = read(client, bytes, sizeof bytes);
        if (got <= 0) break;
        text.append(bytes, static_cast<size_t>(got));
        end = text.find("\r\n\r\n");
        if (end == std::string::npos) continue;
        const size_t at = text.find("Content-Length: ");
        if (text.size() >= end + 4 + std::stoul(text.substr(at + 16))) break;
      }
      int status = 200;
      {
        const std::lock_guard lock(mutex_);
        received_.push_back(text);
        if (!statuses_.empty()) {
          status = statuses_.front();
          statuses_.erase(statuses_.begin());
        }
      }
      const std::string answer = "HTTP/1.1 " + std::to_string(status) +
                                 " x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
      (void)!write(client, answer.data(), answer.size());
    }
  }

  testing::LoopbackListener listener_;
  mutable std::mutex mutex_;
  std::vector<int> statuses_;
  std::vector<std::string> received_;
  std::thread thread_;
};

class ProviderTest : public ::testing::Test {
 protected:
  ProviderTest() { postgres::Migrate(db_, {kProviderMigrations}); }

  HttpReply Send(const std::string& method, const std::string& path, const std::string& body = {},
                 const std::string& idempotency_key = {}, const std::string& api_key = kApiKey) {
    HttpCall call{.method = method,
                  .url = "http://127.0.0.1:" + std::to_string(server_.port()) + path,
                  .headers = {"Authorization: Bearer " + api_key},
                  .body = body};
    if (!idempotency_key.empty()) call.headers.push_back("Idempotency-Key: " + idempotency_key);
    return client_->Send(call);
  }
  HttpReply Authorize(const std::string& key, const std::string& token = "tok_approve") {
    return Send(
        "POST", "/v1/authorizations",
        R"({"key":")" + key + R"(","amount":2500,"currency":"USD","token":")" + token + R"("})",
        key + "/authorize");
  }
  HttpReply Capture(const std::string& key, int64_t amount = 2500) {
    return Send("POST", "/v1/captures",
                R"({"key":")" + key + R"(","amount":)" + std::to_string(amount) + "}",
                key + "/capture");
  }
  HttpReply Void(const std::string& key) {
    return Send("POST", "/v1/voids", R"({"key":")" + key + R"("})", key + "/void");
  }
  HttpReply Refund(const std::string& key, const std::string& refund, int64_t amount) {
    return Send("POST", "/v1/refunds",
                R"({"key":")" + key + R"(","amount":)" + std::to_string(amount) + "}", refund);
  }
  HttpReply Get(const std::string& key) { return Send("GET", "/v1/payments/" + key); }
  bool Becomes(const std::string& key, const std::string& status) {
    return testing::Eventually(
        [&] { return Get(key).body.find("\"status\":\"" + status) != std::string::npos; });
  }

  testing::TestDatabase database_;
  postgres::Pool db_{database_.settings()};
  Ledger ledger_{db_, milliseconds(10)};
  Api api_{ledger_, kApiKey};
  HttpServer server_{{}, api_};
  HttpClient patient_{{.timeout = milliseconds(20'000)}};
  HttpClient impatient_{{.timeout = milliseconds(300)}};
  HttpClient* client_ = &patient_;
};

TEST_F(ProviderTest, AnAuthorizedPaymentIsCapturedAndRefundedUpToWhatWasCaptured) {
  EXPECT_EQ(Authorize("a").status, 200);
  EXPECT_THAT(Capture("a").body,
              AllOf(HasSubstr(R"("status":"CAPTURED")"), HasSubstr(R"("captured":2500)")));
  EXPECT_THAT(Refund("a", "r1", 2000).body, HasSubstr(R"("refunded":2000)"));
  const HttpReply more = Refund("a", "r2", 501);
  EXPECT_EQ(more.status, 409);
  EXPECT_THAT(more.body, HasSubstr("more than is left"));
  EXPECT_THAT(Get("a").body, HasSubstr(R"("refunded":2000)"));
}

TEST_F(ProviderTest, ARepeatGetsTheSameBytesAndHasNoSecondEffect) {
  const HttpReply first = Authorize("a");
  Capture("a");
  const HttpReply repeat = Authorize("a");
  EXPECT_EQ(repeat.status, first.status);
  EXPECT_EQ(repeat.body, first.body) << "although it is captured since";
  const HttpReply refund = Refund("a", "r1", 1000);
  EXPECT_EQ(Refund("a", "r1", 1000).body, refund.body);
  EXPECT_THAT(Get("a").body, HasSubstr(R"("refunded":1000)"));
}

TEST_F(ProviderTest, ACaptureIsAnsweredWithThePaymentAsItIs) {
  const std::string key = R"(\"quoted\" \\ \u00fc/)";
  Authorize(key);
  const HttpReply first = Capture(key);
  EXPECT_THAT(first.body, HasSubstr(R"("status":"CAPTURED")"));
  EXPECT_THAT(Send("GET", "/v1/ledger").body, HasSubstr(first.body));
  EXPECT_EQ(Capture(key).body, first.body);
}

TEST_F(ProviderTest, AKeyIsNotUsedAgainWithAnotherBody) {
  Authorize("a");
  Capture("a");
  EXPECT_EQ(Send("POST", "/v1/authorizations", R"({"key":"b","amount":1,"currency":"USD"})",
                 "a/authorize")
                .status,
            422);
  EXPECT_EQ(Get("b").status, 404) << "nothing was carried out";
  Authorize("c");
  EXPECT_EQ(Send("POST", "/v1/captures", R"({"key":"c","amount":2500})", "a/capture").status, 422);
  EXPECT_THAT(Get("c").body, HasSubstr("AUTHORIZED"));
  Refund("a", "r1", 1000);
  EXPECT_EQ(Refund("a", "r1", 500).status, 422);
  EXPECT_THAT(Get("a").body, HasSubstr(R"("refunded":1000)"));
}

TEST_F(ProviderTest, RequestsWithOneKeyThatComeTogetherHaveOneEffect) {
  Authorize("a");
  Capture("a");
  std::vector<std::thread> threads;
  std::mutex mutex;
  std::set<std::string> bodies;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      const HttpReply reply = Refund("a", "r1", 1000);
      const std::lock_guard lock(mutex);
      bodies.insert(reply.body);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(bodies.size(), 1U);
  EXPECT_THAT(Get("a").body, HasSubstr(R"("refunded":1000)"));
}

TEST_F(ProviderTest, AVoidedKeyIsRefusedForEverAlsoOneThatWasNotKnown) {
  EXPECT_THAT(Void("never").body, HasSubstr(R"("status":"VOIDED")"));
  const HttpReply late = Authorize("never");
  EXPECT_EQ(late.status, 409);
  EXPECT_THAT(late.body, HasSubstr(R"("status":"VOIDED")"));
  Authorize("a");
  EXPECT_EQ(Void("a").status, 200);
  EXPECT_THAT(Capture("a").body, HasSubstr(R"("captured":0)"));
  EXPECT_EQ(Void("a").status, 200);
}

TEST_F(ProviderTest, ACapturedPaymentIsNotVoided) {
  Authorize("a");
  Capture("a");
  const HttpReply refused = Void("a");
  EXPECT_EQ(refused.status, 409);
  EXPECT_THAT(refused.body, HasSubstr(R"("status":"CAPTURED")"));
}

TEST_F(ProviderTest, ATokenChoosesWhyAPaymentIsDeclined) {
  for (const auto& [token, code] : {std::pair("tok_decline", "card_declined"),
                                    std::pair("tok_insufficient_funds", "insufficient_funds"),
                                    std::pair("tok_expired_card", "expired_card"),
                                    std::pair("tok_of_nobody", "invalid_token")}) {
    const HttpReply reply = Authorize(token, token);
    EXPECT_EQ(reply.status, 402) << token;
    EXPECT_THAT(reply.body, AllOf(HasSubstr(R"("status":"DECLINED")"), HasSubstr(code)));
    EXPECT_EQ(Capture(token).status, 409);
  }
}

TEST_F(ProviderTest, ASilentPaymentIsCarriedOutAndTheRepeatIsAnswered) {
  client_ = &impatient_;
  EXPECT_EQ(Authorize("a", "tok_timeout_charged").status, 0);
  client_ = &patient_;
  EXPECT_TRUE(Becomes("a", "AUTHORIZED"));
  EXPECT_EQ(Authorize("a", "tok_timeout_charged").status, 200);
}

TEST_F(ProviderTest, ADroppedPaymentIsUnknownUntilItIsRepeated) {
  client_ = &impatient_;
  EXPECT_EQ(Authorize("a", "tok_timeout").status, 0);
  client_ = &patient_;
  EXPECT_EQ(Get("a").status, 404);
  EXPECT_EQ(Authorize("a", "tok_timeout").status, 200);
}

TEST_F(ProviderTest, AResetConnectionHidesThatThePaymentWasCarriedOut) {
  EXPECT_EQ(Authorize("a", "tok_reset_charged").status, 0);
  EXPECT_THAT(Get("a").body, HasSubstr("AUTHORIZED"));
}

TEST_F(ProviderTest, ALatePaymentIsDecidedLaterAndToldByASignedMessage) {
  const Shop shop;
  EXPECT_EQ(Authorize("a", "tok_late").status, 202);
  EXPECT_THAT(Get("a").body, HasSubstr("PENDING"));
  const Background background(ledger_, {.url = shop.url(), .secret = kSecret});
  ASSERT_TRUE(Becomes("a", "AUTHORIZED"));
  ASSERT_TRUE(shop.Has(1));
  const std::string message = shop.received().front();
  const std::string body = message.substr(message.find("\r\n\r\n") + 4);
  EXPECT_THAT(body, AllOf(HasSubstr(R"("type":"payment.authorized")"), HasSubstr(R"("key":"a")")));
  const size_t at = message.find("Provider-Signature: t=") + 22;
  const int64_t time = std::stoll(message.substr(at));
  EXPECT_THAT(message, HasSubstr("Provider-Signature: " + Signature(kSecret, time, body) + "\r\n"));
}

TEST_F(ProviderTest, AMessageIsSentUntilItIsTaken) {
  const Shop shop({503, 404});
  Authorize("a", "tok_late");
  const Background background(
      ledger_, {.url = shop.url(), .secret = kSecret, .first_pause = milliseconds(1)});
  ASSERT_TRUE(shop.Has(3));
  ASSERT_TRUE(testing::Eventually([&] {
    return postgres::Read(db_, [](postgres::Tx& tx) {
             return tx.Run("SELECT count(*) FROM webhooks WHERE sent_at IS NOT NULL")[0][0]
                 .as<int>();
           }) == 1;
  }));
  EXPECT_EQ(shop.received().size(), 3U);
}

TEST_F(ProviderTest, AMessageOutlivesTheProcess) {
  Authorize("a", "tok_late");
  const Shop away({500, 500, 500, 500, 500, 500});
  {
    const Background dies(ledger_, {.url = away.url(),
                                    .secret = kSecret,
                                    .first_pause = milliseconds(1),
                                    .longest_pause = milliseconds(1)});
    ASSERT_TRUE(away.Has(1));
  }
  const Shop shop;
  const Background background(ledger_, {.url = shop.url(), .secret = kSecret});
  EXPECT_TRUE(shop.Has(1));
}

TEST_F(ProviderTest, ATokenHasItsMessageSentTwiceAndAnotherLost) {
  const Shop shop;
  EXPECT_EQ(Authorize("twice", "tok_twice").status, 200);
  EXPECT_EQ(Authorize("lost", "tok_webhook_lost").status, 202);
  const Background background(ledger_, {.url = shop.url(), .secret = kSecret});
  ASSERT_TRUE(shop.Has(2));
  ASSERT_TRUE(Becomes("lost", "AUTHORIZED"));
  const auto body = [&](size_t i) {
    const std::string message = shop.received().at(i);
    return message.substr(message.find("\r\n\r\n"));
  };
  EXPECT_EQ(body(0), body(1));
  for (const std::string& message : shop.received()) EXPECT_THAT(message, Not(HasSubstr("lost")));
}

TEST_F(ProviderTest, AVoidBeforeTheLateDecisionStands) {
  Authorize("a", "tok_late");
  EXPECT_EQ(Void("a").status, 200);
  const Background background(ledger_, {});
  Authorize("b", "tok_webhook_lost");
  ASSERT_TRUE(Becomes("b", "AUTHORIZED"));
  EXPECT_THAT(Get("a").body, HasSubstr("VOIDED"));
}

TEST_F(ProviderTest, TheLedgerIsReadPageByPage) {
  for (const char* key : {"a", "b", "c"}) Authorize(key);
  const HttpReply first = Send("GET", "/v1/ledger?limit=2");
  EXPECT_THAT(first.body, AllOf(HasSubstr(R"("key":"a")"), HasSubstr(R"("key":"b")"),
                                Not(HasSubstr(R"("key":"c")"))));
  const size_t at = first.body.find("\"next\":") + 7;
  const HttpReply second =
      Send("GET", "/v1/ledger?limit=2&after=" + std::to_string(std::stoll(first.body.substr(at))));
  EXPECT_THAT(second.body, AllOf(HasSubstr(R"("key":"c")"), Not(HasSubstr("next"))));
}

TEST_F(ProviderTest, WhatIsNotRightIsRefusedByName) {
  EXPECT_EQ(Send("GET", "/v1/ledger", {}, {}, "sk_wrong").status, 401);
  EXPECT_EQ(Send("GET", "/v1/nothing").status, 404);
  EXPECT_EQ(Send("DELETE", "/v1/ledger").status, 405);
  EXPECT_THAT(Send("POST", "/v1/voids", R"({"key":"a"})").body, HasSubstr("Idempotency-Key"));
  EXPECT_THAT(Send("POST", "/v1/captures", R"({"key":"a","amount":-1})", "k").body,
              HasSubstr("amount"));
  EXPECT_THAT(Send("POST", "/v1/authorizations", R"({"key":"a","amount":1})", "k").body,
              HasSubstr("currency"));
  EXPECT_EQ(Send("POST", "/v1/voids", "not JSON", "k").status, 400);
  EXPECT_EQ(Send("POST", "/v1/voids", std::string(100'000, ' '), "k").status, 413);
  EXPECT_THAT(Send("GET", "/v1/ledger?limit=x").body, HasSubstr("limit"));
}

}  // namespace
}  // namespace shop::provider
