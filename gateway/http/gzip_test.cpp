#include "gateway/http/gzip.h"

#include <gtest/gtest.h>
#include <zlib.h>

namespace shop::gateway {
namespace {

bool Accepts(std::vector<std::pair<std::string_view, std::string_view>> headers) {
  HttpRequest request;
  request.headers = std::move(headers);
  return AcceptsGzip(request);
}

std::string Plain(const std::string& compressed) {
  z_stream stream{};
  EXPECT_EQ(inflateInit2(&stream, MAX_WBITS + 16), Z_OK);
  std::string plain(2'000'000, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(compressed.data()));
  stream.avail_in = static_cast<uInt>(compressed.size());
  stream.next_out = reinterpret_cast<Bytef*>(plain.data());
  stream.avail_out = static_cast<uInt>(plain.size());
  EXPECT_EQ(inflate(&stream, Z_FINISH), Z_STREAM_END);
  plain.resize(stream.total_out);
  inflateEnd(&stream);
  return plain;
}

TEST(AcceptEncoding, TakesGzipWhereItSaysSo) {
  for (const std::string_view value :
       {"gzip", "GZIP", "x-gzip", "gzip, deflate, br", "br;q=1.0,gzip;q=0.001", "*", "*;q=0.5",
        "deflate , gzip ; q=0.5", "identity;q=0.5, gzip;q=0.5", "gzip;Q=1.000", "gzip;q=1.",
        "identity;q=0, gzip;q=0.1", "br;q=nonsense, gzip", "*;q=0, gzip", ",,gzip,"}) {
    EXPECT_TRUE(Accepts({{"Accept-Encoding", value}})) << value;
  }
  EXPECT_TRUE(Accepts({{"Accept-Encoding", "br"}, {"accept-encoding", "gzip"}}));
}

TEST(AcceptEncoding, LeavesTheBodyAsItIsOtherwise) {
  for (const std::string_view value :
       {"", "identity", "br, deflate", "gzip;q=0", "gzip;q=0.000", "*;q=0", "gzip;q=0, *",
        "gzip;q=0.5, identity", "gzip;q=0.1, *;q=0.5", "gzip;q=2", "gzip;q=1.001", "gzip;q=0.0001",
        "gzip;q=", "gzip;q=-1", "gzip;x=1", "gzipped", "gzip br"}) {
    EXPECT_FALSE(Accepts({{"Accept-Encoding", value}})) << value;
  }
  EXPECT_FALSE(Accepts({}));
}

TEST(Compressed, GivesTheBodyBack) {
  for (const std::string& body : {std::string(), std::string("x"), std::string(1'000'000, 'x'),
                                  std::string("\0\xff\r\n", 4)}) {
    EXPECT_EQ(Plain(Gzip(body)), body);
    EXPECT_EQ(Plain(GzipSmall(body)), body);
  }
}

TEST(Compressed, IsTheSameEachTime) {
  std::string body;
  for (int i = 0; i < 500; ++i) body += R"({"name":"Product )" + std::to_string(i) + R"("},)";
  const std::string first = Gzip(body);
  Gzip("something else");
  EXPECT_EQ(Gzip(body), first);
  EXPECT_LT(first.size(), body.size());
}

}  // namespace
}  // namespace shop::gateway
