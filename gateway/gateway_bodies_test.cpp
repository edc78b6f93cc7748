// Bodies of requests: their form, their length, and when they are read.
#include <gtest/gtest.h>

#include <string>
#include <tuple>

#include "gateway/testing/fixture.h"

namespace shop::gateway {
namespace {

TEST_F(GatewayTest, ABodyHasToBeJson) {
  for (const char* type :
       {"", "Content-Type: text/plain\r\n", "Content-Type: application/jsonx\r\n",
        "Content-Type: application/json; charset=latin1\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\n"}) {
    const Response response = Exchange(Post("/api/v1/books", "{}", User() + type));
    EXPECT_EQ(response.status, 415) << type;
  }
  for (const char* type : {"Content-Type: application/json\r\n",
                           "content-type: Application/JSON ;charset=\"UTF-8\"\r\n",
                           "Content-Type: application/json; charset=UTF-8; x=y\r\n"}) {
    EXPECT_EQ(Exchange(Post("/api/v1/books", "{}", User() + type)).status, 201) << type;
  }
}

TEST_F(GatewayTest, ARawBodyIsOfAnyContentTypeAndPassedOnAsItIs) {
  for (const char* type : {"", "Content-Type: text/plain\r\n", "Content-Type: application/json\r\n",
                           "Content-Type: application/octet-stream\r\n"}) {
    const Response response = Exchange(Post("/api/v1/shelves/top/letters", "{ \n\xff",
                                            std::string("Provider-Signature: s\r\n") + type));
    EXPECT_EQ(response.status, 200) << type;
    EXPECT_EQ(response.text("/data/request"), R"(letter: "{ \n\377" signature: "s" shelf: "top")");
  }
  const Response compressed =
      Exchange(Post("/api/v1/shelves/top/letters", "x", "Content-Encoding: gzip\r\n"));
  EXPECT_EQ(compressed.status, 415);
}

TEST_F(GatewayTest, ARawBodyBeyondTheLimitIsRefused) {
  http_.max_body_bytes = 1000;
  EXPECT_EQ(Exchange(Post("/api/v1/shelves/top/letters", std::string(1000, 'x'))).status, 200);
  EXPECT_EQ(Exchange(Post("/api/v1/shelves/top/letters", std::string(1001, 'x'))).status, 413);
}

TEST_F(GatewayTest, AnEmptyBodyIsAnEmptyObject) {
  EXPECT_EQ(Exchange(Post("/api/v1/books", "", User())).status, 201);
  EXPECT_EQ(Exchange(Get("/api/v1/books", User(), "POST")).status, 201);
}

TEST_F(GatewayTest, ABodyThatIsNotJsonIsRefused) {
  for (const char* body :
       {"{", "[]", "null", "{}{}", "\xff", "{\"title\":5}", "{\"title\":\"\\u0000\"}",
        "{\"title\":\"a\",\"title\":\"b\"}", "{\"price\":1.234}"}) {
    const Response response =
        Exchange(Post("/api/v1/books", body, User() + "Content-Type: application/json\r\n"));
    EXPECT_EQ(response.status, 400) << body;
  }
  EXPECT_EQ(library_.created, 0);
}

TEST_F(GatewayTest, ChunkedBodiesAreRead) {
  const Response response = Exchange(
      "POST /api/v1/books HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\n" + User() +
      "Transfer-Encoding: chunked\r\n\r\n9\r\n{\"title\":\r\n6;x=y\r\n\"abc\"}\r\n0\r\n\r\n");
  EXPECT_EQ(response.status, 201);
  EXPECT_EQ(response.text("/data/title"), "abc");
}

TEST_F(GatewayTest, ABodyThatComesInPiecesIsPutTogether) {
  Client client(port());
  const std::string request =
      Post("/api/v1/books", R"({"title":"abc"})", User() + "Content-Type: application/json\r\n");
  for (const char c : request) ASSERT_TRUE(client.Send(std::string_view(&c, 1)));
  EXPECT_EQ(client.Receive().status, 201);
}

TEST_F(GatewayTest, ABodyAtTheLimitIsTakenAndOneBeyondIsNot) {
  http_.max_body_bytes = 100'000;
  const auto of_size = [](size_t size) { return "{\"x\":\"" + std::string(size - 8, 'x') + "\"}"; };
  const std::string headers = User() + "Content-Type: application/json\r\n";
  EXPECT_EQ(Exchange(Post("/api/v1/books", of_size(100'000), headers)).status, 201);
  const Response response = Exchange(Post("/api/v1/books", of_size(100'001), headers));
  EXPECT_EQ(response.status, 413);
  EXPECT_EQ(response.text("/error/code"), "PAYLOAD_TOO_LARGE");
  EXPECT_EQ(response.text("/path"), "/api/v1/books");
  EXPECT_EQ(response.headers.at("connection"), "close");
}

TEST_F(GatewayTest, ABodyFarBeyondTheLimitStillGetsItsAnswer) {
  Client client(port());
  EXPECT_TRUE(client.Send(Post("/api/v1/books", std::string(5'000'000, ' '))));
  EXPECT_EQ(client.Receive().status, 413);
}

TEST_F(GatewayTest, AChunkedBodyBeyondTheLimitIsRefused) {
  http_.max_body_bytes = 1000;
  std::string request =
      "POST /api/v1/books HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n" + User() +
      "Content-Type: application/json\r\n\r\n";
  for (int i = 0; i < 20; ++i) request += "64\r\n" + std::string(100, ' ') + "\r\n";
  EXPECT_EQ(Exchange(request + "0\r\n\r\n").status, 413);
}

TEST_F(GatewayTest, AClientThatWaitsForContinueGetsIt) {
  Client client(port());
  const std::string body = R"({"title":"abc"})";
  client.Send("POST /api/v1/books HTTP/1.1\r\nHost: shop\r\nContent-Type: application/json\r\n" +
              User() + "Expect: 100-continue\r\nContent-Length: " + std::to_string(body.size()) +
              "\r\n\r\n");
  EXPECT_EQ(client.Receive().status, 100);
  client.Send(body);
  EXPECT_EQ(client.Receive().status, 201);
}

TEST_F(GatewayTest, ABodyThatIsTooLargeGetsNoContinue) {
  EXPECT_EQ(Exchange("POST /api/v1/books HTTP/1.1\r\nHost: shop\r\nExpect: 100-continue\r\n"
                     "Content-Length: 99999999\r\n\r\n")
                .status,
            413);
}

TEST_F(GatewayTest, OtherExpectationsFail) {
  EXPECT_EQ(Exchange(Get("/api/v1/books/1", "Expect: coffee\r\n")).status, 417);
}

TEST_F(GatewayTest, ACompressedRequestIsRefused) {
  const Response response =
      Exchange(Post("/api/v1/books", "{}",
                    User() + "Content-Type: application/json\r\nContent-Encoding: gzip\r\n"));
  EXPECT_EQ(response.status, 415);
  EXPECT_EQ(response.text("/error/details/0/field"), "Content-Encoding");
  EXPECT_EQ(response.headers.at("accept-encoding"), "identity");
  EXPECT_EQ(library_.created, 0);
}

TEST_F(GatewayTest, AHeaderIsRefusedBeforeItsBodyComes) {
  const std::string length = "Content-Length: 1000\r\n";
  const std::tuple<std::string, std::string, std::string, int> refused[] = {
      {"POST", "/nothing", length, 404},
      {"PUT", "/api/v1/books", length, 405},
      {"POST", "/api/v1/books", "Content-Length: 1048577\r\n" + User() + kJson, 413},
      {"POST", "/api/v1/books", length + kJson, 401},
      {"POST", "/api/v1/books", "Transfer-Encoding: chunked\r\n", 401},
      {"PATCH", "/api/v1/books/5", length + User() + kJson, 403},
      {"POST", "/api/v1/books", length + User() + "Content-Type: text/plain\r\n", 415},
      {"POST", "/api/v1/books", length + User() + "Request-Timeout: soon\r\n" + kJson, 400},
  };
  for (const auto& [method, target, headers, status] : refused) {
    EXPECT_EQ(Exchange(Head(target, headers, method)).status, status) << method << target;
    const Response expecting = Exchange(Head(target, headers + "Expect: 100-continue\r\n", method));
    EXPECT_EQ(expecting.status, status) << "and no 100 Continue is sent";
    EXPECT_EQ(expecting.headers.at("connection"), "close") << "it may come or not";
  }
}

TEST_F(GatewayTest, TheConnectionGoesOnAfterAShortUnwantedBody) {
  const std::string chunked =
      Head("/nothing", "Transfer-Encoding: chunked\r\n") + "5\r\nhello\r\n0\r\n\r\n";
  for (const std::string& unwanted :
       {Post("/nothing", "GET /healthz HTTP/1.1\r\n\r\n"), Post("/api/v1/books", "{}"),
        Get("/api/v1/books/12", "Content-Length: 2\r\n") + "{}", chunked,
        Post("/nothing", std::string(64 * 1024, 'x'))}) {
    Client client(port());
    client.Send(unwanted + Get("/api/v1/books/13"));
    EXPECT_EQ(client.Receive().headers.count("connection"), 0);
    EXPECT_EQ(client.Receive().text("/data/id"), "13");
  }
}

TEST_F(GatewayTest, AnUnwantedBodyMayComeAfterItsResponse) {
  Client client(port());
  client.Send(Head("/nothing", "Content-Length: 10\r\n"));
  EXPECT_EQ(client.Receive().status, 404);
  client.Send("0123456789" + Get("/api/v1/books/13"));
  EXPECT_EQ(client.Receive().text("/data/id"), "13");
}

TEST_F(GatewayTest, ALongUnwantedBodyEndsItsConnection) {
  for (const std::string& headers :
       {std::string("Content-Length: 900000\r\n"), std::string("Transfer-Encoding: chunked\r\n")}) {
    Client client(port());
    client.Send(Head("/nothing", headers));
    client.Send(std::string(600'000, '0'));
    const Response response = client.Receive();
    EXPECT_EQ(response.status, 404);
    EXPECT_EQ(response.headers.at("connection"), "close");
    EXPECT_TRUE(client.Ended());
  }
}

}  // namespace
}  // namespace shop::gateway
