#include "common/rpc/header_guard.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "common/rpc/client.h"
#include "common/rpc/server.h"
#include "common/testing/callers.h"
#include "common/testing/fake_service.h"
#include "shop/products/v1/products.pb.h"

namespace shop::rpc {
namespace {

const std::string kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr char kData = 0;
constexpr char kHeaders = 1;
constexpr char kSettings = 4;
constexpr char kContinuation = 9;
constexpr char kEndHeaders = 4;

std::string Frame(char type, char flags, const std::string& payload) {
  const size_t size = payload.size();
  std::string frame = {static_cast<char>(size >> 16), static_cast<char>(size >> 8),
                       static_cast<char>(size), type, flags};
  // Settings are the connection's, all else is of its first stream.
  frame += {0, 0, 0, static_cast<char>(type == kSettings ? 0 : 1)};
  return frame + payload;
}

std::string Kilobytes(size_t count) {
  return std::string(count * 1024, 'x');
}

TEST(HeaderBlockMeter, TakesBlocksThatEndInTime) {
  HeaderBlockMeter meter;
  std::string bytes = kPreface + Frame(kSettings, 0, "");
  for (int i = 0; i < 10; ++i) {  // 300 KB in all
    bytes += Frame(kHeaders, 0, Kilobytes(15)) + Frame(kContinuation, kEndHeaders, Kilobytes(15)) +
             Frame(kData, 0, Kilobytes(16));
  }
  EXPECT_TRUE(meter.Take(bytes));
}

TEST(HeaderBlockMeter, RefusesABlockThatIsTooLongHoweverItsBytesCome) {
  const std::string most =
      kPreface + Frame(kHeaders, 0, Kilobytes(16)) + Frame(kContinuation, 0, Kilobytes(15));
  const std::string more = Frame(kContinuation, 0, Kilobytes(1));
  for (const size_t at_once : {1, 2, 7, 8, 9, 10, 1000, 100000}) {
    HeaderBlockMeter meter;
    for (size_t at = 0; at < most.size(); at += at_once) {
      ASSERT_TRUE(meter.Take(std::string_view(most).substr(at, at_once))) << at_once;
    }
    bool taken = true;
    for (size_t at = 0; at < more.size() && taken; at += at_once) {
      taken = meter.Take(std::string_view(more).substr(at, at_once));
    }
    EXPECT_FALSE(taken) << at_once;
  }
}

TEST(HeaderBlockMeter, RefusesEndlessEmptyFrames) {
  HeaderBlockMeter meter;
  EXPECT_TRUE(meter.Take(kPreface + Frame(kHeaders, 0, "x")));
  size_t taken = 0;
  while (taken < 10000 && meter.Take(Frame(kContinuation, 0, ""))) ++taken;
  EXPECT_LT(taken, 4000u);
}

TEST(HeaderBlockMeter, LetsOtherProtocolsBe) {
  HeaderBlockMeter meter;
  EXPECT_TRUE(meter.Take("PRI * HTTP/1.1\r\n" + Frame(kHeaders, 0, Kilobytes(64))));
}

class FakeProducts {
 public:
  rpc::Service Methods() {
    return rpc::Service("shop.products.v1.ProductsService")
        .On("GetProduct", this, &FakeProducts::GetProduct);
  }
  Result<products::v1::Product> GetProduct(const Call&, const products::v1::GetProductRequest&) {
    return products::v1::Product();
  }
};

class HeaderGuardTest : public ::testing::Test {
 protected:
  ~HeaderGuardTest() override { close(socket_); }

  void Connect() {
    socket_ = socket(AF_INET, SOCK_STREAM, 0);
    const timeval patience{.tv_sec = 20, .tv_usec = 0};
    setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<uint16_t>(server_.port()));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT_EQ(connect(socket_, reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
  }
  bool Send(const std::string& bytes) const {
    return send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(bytes.size());
  }
  // Reads on until the server ends the connection; false when it does not.
  bool IsEnded() const {
    char bytes[4096];
    ssize_t received = 0;
    while ((received = recv(socket_, bytes, sizeof bytes, 0)) > 0) {
    }
    return received == 0 || errno == ECONNRESET;
  }

  FakeProducts fake_;
  Identity identity_{testing::IdentityOf("products"),
                     [] { return std::vector<auth::PublicKey>(); }};
  Server server_{{.host = "127.0.0.1"}, identity_, {testing::FakeService(fake_.Methods())}};
  int socket_ = -1;
};

TEST_F(HeaderGuardTest, AHeaderFieldWithoutAnEndEndsItsConnectionAndNoOther) {
  Connect();
  // A field without an index, whose name has two hundred million bytes (RFC 7541, 6.2.2).
  const std::string field("\x00\x7f\x80\x84\xaf\x5f", 6);
  ASSERT_TRUE(Send(kPreface + Frame(kSettings, 0, "") + Frame(kHeaders, 0, field)));
  for (int i = 0; i < 3; ++i) Send(Frame(kContinuation, 0, Kilobytes(16)));
  EXPECT_TRUE(IsEnded());

  const Channel channel("products", server_.address(), Tls());
  const ClientMethod<products::v1::GetProductRequest, products::v1::Product> get(
      channel, "shop.products.v1.ProductsService", "GetProduct");
  products::v1::GetProductRequest request;
  request.set_id(7);
  EXPECT_TRUE(get(BackgroundCall(TraceContext::New(), std::chrono::seconds(5)), request));
}

}  // namespace
}  // namespace shop::rpc
