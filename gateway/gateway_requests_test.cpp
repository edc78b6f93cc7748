// The way of a request through the whole gateway: routes, envelopes and what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

#include "common/crypto/base64.h"
#include "common/crypto/sha256.h"
#include "gateway/openapi/docs.h"
#include "gateway/testing/fixture.h"

namespace shop::gateway {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Key;
using ::testing::MatchesRegex;
using ::testing::Not;
using ::testing::StartsWith;

TEST_F(GatewayTest, AnswersInTheEnvelope) {
  const Response response = Exchange(Get("/api/v1/books/12"));
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.body, R"({"success":true,"statusCode":200,)"
                           R"("data":{"id":12,"title":"Title","price":49.99,"genre":"POETRY"}})");
  EXPECT_EQ(response.headers.at("content-type"), "application/json");
  EXPECT_EQ(response.headers.at("x-content-type-options"), "nosniff");
}

TEST_F(GatewayTest, ServesEveryBindingOfAMethod) {
  EXPECT_EQ(Exchange(Get("/api/v1/shelves/top%20left/books/12")).text("/data/shelf"), "top left");
}

TEST_F(GatewayTest, TakesTheQuery) {
  EXPECT_EQ(Exchange(Get("/api/v1/books?page=2&tag=a&tag=b&nonsense=1")).text("/data/request"),
            R"(page: 2 tags: "a" tags: "b")");
}

TEST_F(GatewayTest, AnswersTheStatusThatTheMethodNames) {
  const Response response = Exchange(
      Post("/api/v1/books", R"({"title":"T","price":9.99})",
           User() + "Content-Type: application/json; charset=utf-8\r\nIdempotency-Key: k\r\n"));
  EXPECT_EQ(response.status, 201);
  EXPECT_EQ(response.text("/statusCode"), "201");
  EXPECT_EQ(response.text("/data/title"), "Tk");
  EXPECT_EQ(response.text("/data/price"), "9.99E0");
  EXPECT_THAT(response.body, HasSubstr("\"price\":9.99,"));
}

TEST_F(GatewayTest, AnswersAnEmptyMessageWithTheStatusThatTheMethodNamesForIt) {
  const Response response = Exchange(Post("/api/v1/books", R"({"title":"Secret","price":9.99})",
                                          User() + "Content-Type: application/json\r\n"));
  EXPECT_EQ(response.status, 202);
  EXPECT_EQ(response.body, R"({"success":true,"statusCode":202,"data":{}})");
}

TEST_F(GatewayTest, ABodyCanBeAFieldOfTheRequest) {
  const Response response = Exchange(Post("/api/v1/books/5", R"({"title":"new"})",
                                          Admin() + "Content-Type: application/json\r\n", "PATCH"));
  EXPECT_EQ(response.text("/data/id"), "5");
  EXPECT_EQ(response.text("/data/title"), "new");
}

TEST_F(GatewayTest, DeletesAnswerAnEmptyObject) {
  EXPECT_EQ(Exchange(Get("/api/v1/books/5", Admin(), "DELETE")).body,
            R"({"success":true,"statusCode":200,"data":{}})");
}

TEST_F(GatewayTest, RawAnswersHaveNoEnvelope) {
  EXPECT_THAT(Exchange(Get("/echo")).body, StartsWith(R"({"metadata":{)"));
}

TEST_F(GatewayTest, RefusesWhatDoesNotFitNamingTheField) {
  const Response response = Exchange(Get("/api/v1/books/twelve?x=1"));
  EXPECT_EQ(response.status, 400);
  EXPECT_EQ(response.text("/success"), "false");
  EXPECT_EQ(response.text("/statusCode"), "400");
  EXPECT_EQ(response.text("/path"), "/api/v1/books/twelve");
  EXPECT_EQ(response.text("/error/code"), "INVALID_ARGUMENT");
  EXPECT_EQ(response.text("/error/details/0/field"), "id");
  EXPECT_EQ(response.text("/requestId"), response.headers.at("x-request-id"));
  EXPECT_THAT(response.text("/timestamp"),
              MatchesRegex("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\\.[0-9]{3}Z"));
}

TEST_F(GatewayTest, PassesOnWhatTheServiceRefuses) {
  const Response response =
      Exchange(Get("/api/v1/fail/9?reason=OUT_OF_STOCK&message=none+left&fields=items%5B0%5D"));
  EXPECT_EQ(response.status, 409);
  EXPECT_EQ(response.text("/error/code"), "OUT_OF_STOCK");
  EXPECT_EQ(response.text("/error/message"), "none left");
  EXPECT_EQ(response.text("/error/details"), R"([{"field":"items[0]","message":"is bad"}])");
}

TEST_F(GatewayTest, EveryCodeOfAServiceHasItsStatus) {
  const std::pair<int, int> expected[] = {
      {1, 503}, {2, 500},  {3, 400},  {4, 504},  {5, 404},  {6, 409},  {7, 403},  {8, 429},
      {9, 409}, {10, 409}, {11, 400}, {12, 501}, {13, 500}, {14, 503}, {15, 500}, {16, 401}};
  for (const auto& [code, status] : expected) {
    const Response response =
        Exchange(Get("/api/v1/fail/" + std::to_string(code) + "?message=secret"));
    EXPECT_EQ(response.status, status) << code;
    EXPECT_EQ(response.body.find("secret") != std::string::npos, status < 500) << code;
  }
  EXPECT_EQ(Exchange(Get("/api/v1/fail/9?reason=IDEMPOTENCY_KEY_REUSED")).status, 422);
}

TEST_F(GatewayTest, SaysWhenToTryAgain) {
  EXPECT_EQ(Exchange(Get("/api/v1/fail/8?retryAfter=17")).headers.at("retry-after"), "17");
  EXPECT_EQ(Exchange(Get("/api/v1/fail/8")).headers.at("retry-after"), "1");
  EXPECT_EQ(Exchange(Get("/api/v1/fail/14")).headers.at("retry-after"), "1");
  EXPECT_EQ(Exchange(Get("/api/v1/fail/10")).headers.at("retry-after"), "1");
  EXPECT_THAT(Exchange(Get("/api/v1/fail/9")).headers, Not(Contains(Key("retry-after"))));
  EXPECT_THAT(Exchange(Get("/api/v1/fail/10?reason=VERSION_CHANGED")).headers,
              Not(Contains(Key("retry-after"))));
}

TEST_F(GatewayTest, AnAnswerThatIsGivenAgainSaysSo) {
  const auto create = [&](const std::string& key) {
    return Exchange(
        Post("/api/v1/books", R"({"title":"T"})",
             User() + "Content-Type: application/json\r\nIdempotency-Key: " + key + "\r\n"));
  };
  const Response again = create("repeated");
  EXPECT_EQ(again.status, 201);
  EXPECT_EQ(again.headers.at("idempotent-replayed"), "true");
  EXPECT_THAT(create("new").headers, Not(Contains(Key("idempotent-replayed"))));
}

TEST_F(GatewayTest, UnknownPathsAreNotFound) {
  const Response response = Exchange(Get("/api/v1/bookshelf\"%3Cb%3E"));
  EXPECT_EQ(response.status, 404);
  EXPECT_EQ(response.text("/error/code"), "NOT_FOUND");
  EXPECT_EQ(response.text("/path"), "/api/v1/bookshelf\"%3Cb%3E");
}

TEST_F(GatewayTest, OtherMethodsAreToldWhichThereAre) {
  const Response response = Exchange(Get("/api/v1/books/7", "", "PUT"));
  EXPECT_EQ(response.status, 405);
  EXPECT_EQ(response.headers.at("allow"), "GET, HEAD, PATCH, DELETE, OPTIONS");
}

TEST_F(GatewayTest, MethodsWithoutABindingAreNotServed) {
  EXPECT_EQ(Exchange(Get("/shop.testing.v1.LibraryService/Internal")).status, 404);
}

TEST_F(GatewayTest, HeadAnswersWithoutABody) {
  Client client(port());
  client.Send(Get("/api/v1/books/12", "", "HEAD") + Get("/api/v1/books/13"));
  const Response head = client.Receive(false);
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.headers.at("content-length"), client.Receive().headers.at("content-length"));
}

TEST_F(GatewayTest, OptionsListTheMethods) {
  const Response response = Exchange(Get("/api/v1/books", "", "OPTIONS"));
  EXPECT_EQ(response.status, 204);
  EXPECT_EQ(response.headers.at("allow"), "GET, HEAD, POST, OPTIONS");
  EXPECT_THAT(response.headers, Not(Contains(Key("content-length"))));
}

TEST_F(GatewayTest, ABrokenPathEncodingIsRefused) {
  EXPECT_EQ(Exchange(Get("/api/v1/books/%zz")).status, 400);
}

TEST_F(GatewayTest, ResponsesToACallerAreNotToBeCached) {
  EXPECT_EQ(Exchange(Get("/api/v1/books/12", User())).headers.at("cache-control"), "no-store");
  EXPECT_EQ(Exchange(Post("/api/v1/books", "{}")).headers.at("cache-control"), "no-store");
  EXPECT_THAT(Exchange(Get("/api/v1/books/12")).headers, Not(Contains(Key("cache-control"))));
}

TEST_F(GatewayTest, TheRootLeadsToWhatThereIs) {
  Start();
  PublishDocs("", {Declared("shop.testing.v1.LibraryService")}, gateway_.get());
  const Response page = Exchange(Get("/"));
  EXPECT_EQ(page.status, 200);
  EXPECT_EQ(page.headers.at("content-type"), "text/html; charset=utf-8");
  EXPECT_THAT(page.body, Not(HasSubstr("href=\"/docs\""))) << "it is not there without its files";
  for (const char* target : {"/openapi.json", "/healthz", "/readyz"}) {
    EXPECT_THAT(page.body, HasSubstr("href=\"" + std::string(target) + "\""));
    EXPECT_EQ(Exchange(Get(target)).status, 200) << target;
  }
}

TEST_F(GatewayTest, APageRunsItsOwnScriptsAloneAndIsShownInNoFrame) {
  Start();
  PublishDocs("", {Declared("shop.testing.v1.LibraryService")}, gateway_.get());
  for (const char* target : {"/", "/docs/events"}) {
    const Response page = Exchange(Get(target));
    const std::string& policy = page.headers.at("content-security-policy");
    EXPECT_THAT(policy, HasSubstr("default-src 'none'; script-src 'self'"));
    EXPECT_THAT(policy, HasSubstr("frame-ancestors 'none'"));
    EXPECT_THAT(policy, Not(HasSubstr("unsafe"))) << target;
    for (const std::string tag : {"style", "script"}) {
      const size_t begin = page.body.find("<" + tag + ">");
      if (begin == std::string::npos) continue;
      const size_t text = begin + tag.size() + 2;
      const size_t end = page.body.find("</" + tag + ">", text);
      EXPECT_THAT(policy, HasSubstr("'sha256-" +
                                    EncodeBase64(Sha256(page.body.substr(text, end - text))) + "'"))
          << tag << " of " << target;
    }
  }
}

// Swagger UI makes styles of its own, so that page alone allows them.
TEST_F(GatewayTest, ThePageThatTriesOperationsIsShownInNoFrameEither) {
  const std::filesystem::path folder =
      std::filesystem::path(::testing::TempDir()) / ("swagger-ui-" + std::to_string(getpid()));
  std::filesystem::create_directory(folder);
  for (const char* file : {"swagger-ui.css", "swagger-ui-bundle.js"}) {
    std::ofstream(folder / file) << "/* */";
  }
  Start();
  PublishDocs(folder, {Declared("shop.testing.v1.LibraryService")}, gateway_.get());
  std::filesystem::remove_all(folder);
  const std::string policy = Exchange(Get("/docs")).headers.at("content-security-policy");
  EXPECT_THAT(policy, HasSubstr("default-src 'none'; script-src 'self'"));
  EXPECT_THAT(policy, HasSubstr("frame-ancestors 'none'"));
}

}  // namespace
}  // namespace shop::gateway
