// Entity tags of the gateway's answers, and requests with conditions.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "gateway/testing/fixture.h"

namespace shop::gateway {
namespace {

using ::testing::Contains;
using ::testing::Key;
using ::testing::MatchesRegex;
using ::testing::Not;

TEST_F(GatewayTest, AReadThatTheClientHasIsNotSentAgain) {
  const Response first = Exchange(Get("/api/v1/books/12"));
  const std::string tag = first.headers.at("etag");
  EXPECT_THAT(tag, MatchesRegex("\"[0-9a-f]{16}\""));
  EXPECT_NE(Exchange(Get("/api/v1/books/13")).headers.at("etag"), tag);
  Client client(port());
  for (const char* method : {"GET", "HEAD"}) {
    client.Send(Get("/api/v1/books/12", "If-None-Match: \"x\", W/" + tag + "\r\n", method));
    const Response same = client.Receive();
    EXPECT_EQ(same.status, 304);
    EXPECT_EQ(same.headers.at("etag"), tag);
    EXPECT_EQ(same.headers.at("vary"), first.headers.at("vary"));
    EXPECT_THAT(same.headers, Not(Contains(Key("content-length"))));
    EXPECT_THAT(same.headers, Not(Contains(Key("content-type"))));
  }
  // Nothing of a body was left in the connection.
  client.Send(Get("/api/v1/books/12", "If-None-Match: \"x\"\r\n"));
  const Response other = client.Receive();
  EXPECT_EQ(other.status, 200);
  EXPECT_EQ(other.body, first.body);
  EXPECT_EQ(Exchange(Get("/api/v1/books/12", "", "HEAD")).headers.at("etag"), tag);
}

TEST_F(GatewayTest, A304ToACallerIsNotToBeCachedEither) {
  const std::string tag = Exchange(Get("/api/v1/books/12", User())).headers.at("etag");
  const Response same = Exchange(Get("/api/v1/books/12", User() + "If-None-Match: *\r\n"));
  EXPECT_EQ(same.status, 304);
  EXPECT_EQ(same.headers.at("etag"), tag);
  EXPECT_EQ(same.headers.at("cache-control"), "no-store");
}

TEST_F(GatewayTest, AReadOfSomethingElseThanTheClientMeansIs412) {
  const std::string tag = Exchange(Get("/api/v1/books/12")).headers.at("etag");
  EXPECT_EQ(Exchange(Get("/api/v1/books/12", "If-Match: " + tag + "\r\n")).status, 200);
  const Response changed = Exchange(Get("/api/v1/books/12", "If-Match: \"x\"\r\n"));
  EXPECT_EQ(changed.status, 412);
  EXPECT_EQ(changed.text("/error/code"), "VERSION_CHANGED");
  EXPECT_THAT(changed.headers, Not(Contains(Key("etag"))));
}

TEST_F(GatewayTest, OnlyGoodAnswersToReadsHaveATag) {
  for (const std::string& request :
       {Get("/api/v1/books/404", "If-None-Match: *\r\n"), Get("/nothing"), Get("/healthz"),
        Post("/api/v1/books", "{}", User() + "Content-Type: application/json\r\n"),
        Get("/api/v1/books/5", Admin(), "DELETE"), Get("/api/v1/books", "", "OPTIONS")}) {
    const Response response = Exchange(request);
    EXPECT_NE(response.status, 304) << request;
    EXPECT_THAT(response.headers, Not(Contains(Key("etag")))) << request;
  }
}

TEST_F(GatewayTest, AVersionIsAPartOfItsTag) {
  const std::string tag = Exchange(Get("/api/v1/books/70")).headers.at("etag");
  EXPECT_THAT(tag, MatchesRegex("\"3-[0-9a-f]{16}\""));
  const Response updated = Exchange(
      Post("/api/v1/books/70", R"({"title":"Title","price":49.99,"genre":"POETRY","version":3})",
           Admin() + "Content-Type: application/json\r\n", "PATCH"));
  EXPECT_EQ(updated.status, 200);
  EXPECT_EQ(updated.headers.at("etag"), tag);
}

TEST_F(GatewayTest, TheVersionOfAPartStandsBehindIt) {
  const Response updated =
      Exchange(Post("/api/v1/books/70", R"({"title":"Title","version":3,"copiesVersion":12})",
                    Admin() + "Content-Type: application/json\r\n", "PATCH"));
  EXPECT_THAT(updated.headers.at("etag"), MatchesRegex("\"3[.]12-[0-9a-f]{16}\""));
}

TEST_F(GatewayTest, AChangeHappensOnlyToTheVersionThatTheClientMeans) {
  const std::string tag = Exchange(Get("/api/v1/books/70")).headers.at("etag");
  const auto update = [this](const std::string& condition) {
    return Exchange(Post("/api/v1/books/70", "{}",
                         Admin() + "Content-Type: application/json\r\n" + condition, "PATCH"));
  };
  EXPECT_EQ(update("If-Match: " + tag + "\r\n").status, 200);
  EXPECT_EQ(update("If-Match: \"2-0123456789abcdef\", " + tag + "\r\n").status, 200);
  EXPECT_EQ(update("If-Match: *\r\n").status, 200);
  EXPECT_EQ(update("").status, 200);
  EXPECT_EQ(library_.updated, 4);
  for (const std::string& value :
       {std::string("\"2-0123456789abcdef\""), "W/" + tag, std::string("\"foreign\"")}) {
    const Response changed = update("If-Match: " + value + "\r\n");
    EXPECT_EQ(changed.status, 412) << value;
    EXPECT_EQ(changed.text("/error/code"), "VERSION_CHANGED");
  }
  const Response malformed = update("If-Match: 3\r\n");
  EXPECT_EQ(malformed.status, 400);
  EXPECT_EQ(malformed.text("/error/details/0/field"), "If-Match");
  EXPECT_EQ(library_.updated, 4);
}

TEST_F(GatewayTest, PublishedDocumentsHaveATag) {
  Start();
  gateway_->Publish("/page", "text/html; charset=utf-8", "<!doctype html>");
  const Response first = Exchange(Get("/page"));
  EXPECT_EQ(first.body, "<!doctype html>");
  const Response same =
      Exchange(Get("/page", "If-None-Match: " + first.headers.at("etag") + "\r\n"));
  EXPECT_EQ(same.status, 304);
}

}  // namespace
}  // namespace shop::gateway
