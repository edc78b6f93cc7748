// Where a request ends, and what it asks for, is said once and without doubt, or it is refused.
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "gateway/testing/fixture.h"

namespace shop::gateway {
namespace {

class FramingTest : public GatewayTest {
 protected:
  // What `request` is answered, in one connection, which has to end with it.
  Response Refused(const std::string& request) {
    Client client(port());
    client.Send(request);
    Response response = client.Receive();
    EXPECT_EQ(response.status, 400) << request.substr(0, 200);
    if (response.status == 400) {
      EXPECT_EQ(response.headers["connection"], "close") << request.substr(0, 200);
      EXPECT_EQ(response.text("/error/code"), "INVALID_ARGUMENT") << request.substr(0, 200);
      EXPECT_TRUE(client.Ended()) << request.substr(0, 200);
    }
    return response;
  }
  std::string Why(const std::string& request) {
    const Response response = Refused(request);
    return response.status == 400 ? response.text("/error/message") : std::string();
  }
  std::string Chunked(const std::string& body) {
    return Head("/api/v1/books", "Transfer-Encoding: chunked\r\n" + User() + kJson) + body;
  }
};

TEST_F(FramingTest, ATrailerIsNoHeader) {
  const std::string chunks = "d\r\n{\"title\":\"T\"}\r\n0\r\n";
  const std::string encoding = "Transfer-Encoding: chunked\r\n";
  const Response created = Exchange(Chunked(chunks + "Idempotency-Key: k\r\n\r\n"));
  EXPECT_EQ(created.status, 201);
  EXPECT_EQ(created.text("/data/title"), "T");
  EXPECT_EQ(Exchange(Head("/api/v1/books", encoding + kJson) + chunks + User() + "\r\n").status,
            401);
  EXPECT_EQ(Exchange(Head("/api/v1/books", encoding + User()) + chunks + kJson + "\r\n").status,
            415);
  // Not for the connection either.
  Client client(port());
  client.Send(Chunked(chunks + "Connection: close\r\n\r\n") + Get("/healthz"));
  EXPECT_EQ(client.Receive().status, 201);
  EXPECT_EQ(client.Receive().status, 200);
}

TEST_F(FramingTest, ATransferEncodingIsChunkedAndNothingElse) {
  for (const char* encoding :
       {"gzip, chunked", "chunked;q=1", ",chunked", "chunked,", "chunked, chunked", "identity",
        "gzip", "chunked gzip", "xchunked", "\"chunked\"", ""}) {
    EXPECT_EQ(Why(Head("/api/v1/books",
                       "Transfer-Encoding: " + std::string(encoding) + "\r\n" + User() + kJson) +
                  "2\r\n{}\r\n0\r\n\r\n"),
              "Transfer-Encoding must be chunked, once, without a Content-Length and in HTTP/1.1")
        << encoding;
  }
  for (const char* encoding : {"chunked", "Chunked", " chunked \t"}) {
    EXPECT_EQ(Exchange(Head("/api/v1/books", "Transfer-Encoding: " + std::string(encoding) +
                                                 "\r\n" + User() + kJson) +
                       "2\r\n{}\r\n0\r\n\r\n")
                  .status,
              201)
        << encoding;
  }
}

TEST_F(FramingTest, AnOldClientSendsNoChunks) {
  EXPECT_EQ(Why("POST /api/v1/books HTTP/1.0\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n" +
                User() + kJson + "\r\n2\r\n{}\r\n0\r\n\r\n"),
            "Transfer-Encoding must be chunked, once, without a Content-Length and in HTTP/1.1");
}

TEST_F(FramingTest, AContentLengthIsOneNumber) {
  for (const char* lengths :
       {"2, 2", "2\r\nContent-Length: 2", "2\r\nContent-Length: 3", ",2", "2,", "+2", "-2", "0x2",
        "2 2", "", "2;x", "99999999999999999999999"}) {
    EXPECT_EQ(Why(Head("/api/v1/books",
                       "Content-Length: " + std::string(lengths) + "\r\n" + User() + kJson) +
                  "{}"),
              "there has to be one Content-Length at most, in digits")
        << lengths;
  }
}

TEST_F(FramingTest, AFieldIsOneLine) {
  for (const char* fold : {"\r\n b", "\r\n\tb", "\r\n \r\n b"}) {
    EXPECT_EQ(Why(Get("/healthz", "X: a" + std::string(fold) + "\r\n")),
              "a field of the header or the trailer must not go on in the next line")
        << fold;
  }
  EXPECT_EQ(Why(Chunked("2\r\n{}\r\n0\r\nX: a\r\n b\r\n\r\n")),
            "a field of the header or the trailer must not go on in the next line");
  // Lines of a body are none, however much comes at once.
  const std::string body = "{\n \"title\":\n\t\"T\"}";
  EXPECT_EQ(Exchange(Head("/api/v1/books", "Content-Length: " + std::to_string(body.size()) +
                                               "\r\n" + User() + kJson) +
                     body)
                .status,
            201);
  EXPECT_EQ(Exchange(Chunked("11\r\n" + body + "\r\n0\r\n\r\n")).status, 201);
  EXPECT_EQ(Exchange(Chunked("11\r\n" + body + "\r\n0\r\nX: a\r\n\r\n")).status, 201);
  // Also where its second line comes later.
  Client client(port());
  client.Send("GET /healthz HTTP/1.1\r\nHost: shop\r\nX: a\r\n");
  client.Send(" b\r\n\r\n");
  EXPECT_EQ(client.Receive().status, 400);
  EXPECT_TRUE(client.Ended());
}

TEST_F(FramingTest, ATargetIsAPathOrTheWholeAddress) {
  for (const char* target :
       {"http://shop?y=/healthz", "http://shop#/healthz", "http:///healthz", "http://",
        "http://a@shop/healthz", "http:/healthz", "ftp://shop/healthz", "shop/healthz", "healthz",
        "*", "shop:80", "?y=/healthz", "/healthz#x", "https://other/healthz"}) {
    Refused("GET " + std::string(target) + " HTTP/1.1\r\nHost: shop\r\n\r\n");
  }
  Refused("CONNECT shop:80 HTTP/1.1\r\nHost: shop:80\r\n\r\n");
  for (const char* target :
       {"/healthz", "http://shop/healthz", "HTTP://SHOP/healthz?x=http://y/z"}) {
    EXPECT_EQ(Exchange("GET " + std::string(target) + " HTTP/1.1\r\nHost: shop\r\n\r\n").status,
              200)
        << target;
  }
  EXPECT_EQ(Exchange("GET http://shop HTTP/1.1\r\nHost: shop\r\n\r\n").text("/path"), "/");
}

TEST_F(FramingTest, AChunkIsWellFormed) {
  for (const char* chunks : {"0x2\r\n{}\r\n0\r\n\r\n", "+2\r\n{}\r\n0\r\n\r\n",
                             " 2\r\n{}\r\n0\r\n\r\n", "2\r\n{}0\r\n\r\n", "2\r\n{}x\r\n0\r\n\r\n",
                             "\r\n{}\r\n0\r\n\r\n", "10000000000000002\r\n{}\r\n0\r\n\r\n",
                             "2 x\r\n{}\r\n0\r\n\r\n", "2\r\n{}\r\n0\r\nno field\r\n\r\n"}) {
    Refused(Chunked(chunks));
  }
}

// A client that sends all of it before it reads gets its answer all the same.
TEST_F(FramingTest, TheRefusalOfSomethingLongArrives) {
  const std::string long_field = "a: " + std::string(200'000, 'a') + "\r\n\r\n";
  EXPECT_EQ(Why(Chunked("2\r\n{}\r\n0\r\n" + long_field)),
            "a chunk's extensions or the trailer are too long");
  EXPECT_EQ(Why(Chunked(std::string(100'000, '0') + "2\r\n{}\r\n0\r\n\r\n")),
            "a chunk's extensions or the trailer are too long");
  EXPECT_EQ(Why(Chunked("2;a=" + std::string(100'000, 'b') + "\r\n{}\r\n0\r\n\r\n")),
            "a chunk's extensions or the trailer are too long");
}

TEST_F(FramingTest, ChunkExtensionsAreLimitedTogether) {
  std::string chunks;
  for (int i = 0; i < 100; ++i) chunks += "1;a=" + std::string(1000, 'b') + "\r\n \r\n";
  EXPECT_EQ(Why(Chunked(chunks + "2\r\n{}\r\n0\r\n\r\n")),
            "a chunk's extensions or the trailer are too long");
}

}  // namespace
}  // namespace shop::gateway
