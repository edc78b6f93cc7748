// Which answers are compressed, and long ones that are made in a thread of their own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "gateway/http/gzip.h"
#include "gateway/testing/fixture.h"

namespace shop::gateway {
namespace {

using std::chrono::seconds;
using ::testing::Contains;
using ::testing::Key;
using ::testing::Not;

constexpr char kGzip[] = "Accept-Encoding: gzip\r\n";

TEST_F(GatewayTest, ALongAnswerIsCompressedForWhoAcceptsIt) {
  const Response plain = Exchange(Get("/api/v1/books/5000"));
  const Response compressed = Exchange(Get("/api/v1/books/5000", kGzip));
  EXPECT_THAT(plain.headers, Not(Contains(Key("content-encoding"))));
  EXPECT_EQ(compressed.headers.at("content-encoding"), "gzip");
  EXPECT_EQ(compressed.body, Gzip(plain.body));
  for (const Response& response : {plain, compressed}) {
    EXPECT_EQ(response.headers.at("vary"), "Accept-Encoding");
  }
  const Response refused = Exchange(Get("/api/v1/books/5000", "Accept-Encoding: gzip;q=0\r\n"));
  EXPECT_EQ(refused.body, plain.body);
}

TEST_F(GatewayTest, AShortAnswerIsNot) {
  const Response response = Exchange(Get("/api/v1/books/12", kGzip));
  EXPECT_THAT(response.headers, Not(Contains(Key("content-encoding"))));
  EXPECT_EQ(response.headers.at("vary"), "Accept-Encoding");
}

TEST_F(GatewayTest, EachFormHasItsOwnTag) {
  const std::string plain = Exchange(Get("/api/v1/books/5000")).headers.at("etag");
  const std::string gzip = Exchange(Get("/api/v1/books/5000", kGzip)).headers.at("etag");
  EXPECT_EQ(gzip, plain.substr(0, plain.size() - 1) + "-gzip\"");
  const auto status = [this](const std::string& tag, const std::string& headers) {
    return Exchange(Get("/api/v1/books/5000", "If-None-Match: " + tag + "\r\n" + headers)).status;
  };
  EXPECT_EQ(status(gzip, kGzip), 304);
  EXPECT_EQ(status(plain, ""), 304);
  EXPECT_EQ(status(plain, kGzip), 200);
  EXPECT_EQ(status(gzip, ""), 200);
}

TEST_F(GatewayTest, HeadHasTheLengthOfTheCompressedForm) {
  const Response get = Exchange(Get("/api/v1/books/5000", kGzip));
  const Response head = Exchange("HEAD" + Get("/api/v1/books/5000", kGzip).substr(3));
  EXPECT_EQ(head.headers.at("content-length"), get.headers.at("content-length"));
  EXPECT_EQ(head.headers.at("content-encoding"), "gzip");
}

TEST_F(GatewayTest, ALongRefusalIsCompressedToo) {
  const std::string target = "/api/v1/fail/9?message=" + std::string(2000, 'm');
  const Response response = Exchange(Get(target, kGzip));
  EXPECT_EQ(response.status, 409);
  EXPECT_EQ(response.headers.at("content-encoding"), "gzip");
  EXPECT_LT(response.body.size(), 1000);
}

TEST_F(GatewayTest, PublishedDocumentsAreCompressed) {
  Start();
  const std::string script(50'000, ';');
  gateway_->Publish("/script.js", "text/javascript; charset=utf-8", script);
  const Response compressed = Exchange(Get("/script.js", kGzip));
  EXPECT_EQ(compressed.headers.at("content-encoding"), "gzip");
  EXPECT_EQ(compressed.headers.at("content-type"), "text/javascript; charset=utf-8");
  EXPECT_EQ(compressed.body, GzipSmall(script));
  EXPECT_EQ(Exchange(Get("/script.js")).body, script);
}

TEST(SharedBodies, AreCompressedOnceAndOnlyWhenThatIsWanted) {
  const SharedBody body(std::string(5000, 'b'));
  EXPECT_FALSE(body.compressed());
  EXPECT_EQ(body.gzip(), "");
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&body] {
      body.Compress();
      EXPECT_EQ(body.gzip(), Gzip(body.plain()));
    });
  }
  threads.clear();
  EXPECT_TRUE(body.compressed());
}

TEST_F(GatewayTest, ALongResponseDelaysNobodyElse) {
  library_.books_in_list = 300'000;
  settings_.request_timeout = seconds(60);
  Client patient(port());
  std::atomic<bool> answered = false;
  std::jthread asking([&] {
    patient.Send(Get("/api/v1/books", kGzip));
    EXPECT_EQ(patient.Receive().headers.at("content-encoding"), "gzip");
    answered = true;
  });
  const auto being_made = [] { return Gauged("http_long_answers") == 1; };
  Client quick(port());
  int meanwhile = 0;
  while (!answered) {
    const bool before = being_made();
    quick.Send(Get("/healthz"));
    ASSERT_EQ(quick.Receive().status, 200);
    if (before && being_made()) ++meanwhile;
  }
  // Made in the thread that serves everybody, it would be there before the next response.
  EXPECT_GE(meanwhile, 3);
}

TEST_F(GatewayTest, CompressionCanBeSwitchedOff) {
  settings_.gzip = false;
  const Response response = Exchange(Get("/api/v1/books/5000", kGzip));
  EXPECT_THAT(response.headers, Not(Contains(Key("content-encoding"))));
  EXPECT_THAT(response.headers, Not(Contains(Key("vary"))));
}

}  // namespace
}  // namespace shop::gateway
