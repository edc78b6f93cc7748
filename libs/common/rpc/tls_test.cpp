// Services that show each other certificates, over real connections.
#include "common/rpc/tls.h"

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "common/core/result.h"
#include "common/rpc/client.h"
#include "common/rpc/identity.h"
#include "common/rpc/server.h"
#include "common/rpc/testing/fake_products.h"
#include "common/testing/callers.h"
#include "common/testing/certificates.h"
#include "common/testing/fake_service.h"
#include "common/testing/servers.h"

namespace shop::rpc {
namespace {

using products::v1::GetProductRequest;
using products::v1::Product;
using products::v1::ReserveStockRequest;
using products::v1::ReserveStockResponse;
using testing::Authority;
using testing::FakeService;

constexpr char kService[] = "shop.products.v1.ProductsService";

// The service `name` with this certificate.
Identity IdentityOf(const std::string& name, const TlsFiles& files) {
  Identity::Settings settings = testing::IdentityOf(name);
  settings.tls = files;
  return Identity(settings, NoKeys);
}

class TlsTest : public ::testing::Test {
 protected:
  static Call Now() { return BackgroundCall(TraceContext::New(), std::chrono::seconds(20)); }
  // What anybody may call.
  static Result<Product> Get(const Channel& channel) {
    return ClientMethod<GetProductRequest, Product>(channel, kService, "GetProduct")(Now(),
                                                                                     Product7());
  }
  // What is for stock alone.
  static Result<ReserveStockResponse> Reserve(const Channel& channel) {
    return ClientMethod<ReserveStockRequest, ReserveStockResponse>(
        channel, kService, "ReserveStock")(Now(), Reservation());
  }

  Authority authority_;
  FakeProducts fake_;
  Identity products_ = IdentityOf("products", authority_.Issue("products"));
  Server server_{{.host = "127.0.0.1"}, products_, {FakeService(fake_.Methods())}};
};

TEST_F(TlsTest, AServiceCallsAnotherWithItsCertificate) {
  Identity stock = IdentityOf("stock", authority_.Issue("stock"));
  const Channel channel("products", server_.address(), stock);
  EXPECT_TRUE(Reserve(channel));
  EXPECT_TRUE(Get(channel));
}

TEST_F(TlsTest, WhoHasACertificateOfTheAuthorityMayComeAsAGuest) {
  const Channel gateway("products", server_.address(), Tls(authority_.Issue("gateway")));
  EXPECT_TRUE(Get(gateway));
  EXPECT_THROW((void)Reserve(gateway), Unavailable);
}

TEST_F(TlsTest, NobodyElseIsLetIn) {
  EXPECT_THROW((void)Get(Channel("products", server_.address(), Tls())), Unavailable);
  grpc::SslCredentialsOptions without_certificate;
  std::ifstream file(authority_.certificate());
  without_certificate.pem_root_certs.assign(std::istreambuf_iterator<char>(file), {});
  grpc::ChannelArguments arguments;
  arguments.SetSslTargetNameOverride("products");
  const auto channel = grpc::CreateCustomChannel(
      server_.address(), grpc::SslCredentials(without_certificate), arguments);
  EXPECT_FALSE(
      channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(1)));
  Authority stranger;
  TlsFiles files = stranger.Issue("stock");
  files.ca = authority_.certificate();
  EXPECT_THROW((void)Get(Channel("products", server_.address(), Tls(files))), Unavailable);
}

TEST_F(TlsTest, AServerThatIsAnotherServiceIsToldNothing) {
  const Tls tls(authority_.Issue("orders"));
  EXPECT_THROW((void)Get(Channel("payments", server_.address(), tls)), Unavailable);
  EXPECT_TRUE(Get(Channel("products", server_.address(), tls)));
}

TEST_F(TlsTest, AServersTokenIsTakenFromItsOwnConnectionsAlone) {
  // Somebody has got hold of a token of stock, or of its key.
  Identity thief = IdentityOf("stock", authority_.Issue("notification"));
  EXPECT_THROW((void)Reserve(Channel("products", server_.address(), thief)), Unavailable);
}

TEST_F(TlsTest, ACertificateThatHasExpiredIsRefused) {
  const TlsFiles files = authority_.Issue("stock", std::chrono::seconds(-1));
  EXPECT_THROW((void)Get(Channel("products", server_.address(), Tls(files))), Unavailable);
}

TEST_F(TlsTest, ANewCertificateIsUsedWithoutARestart) {
  const TlsFiles files = authority_.Issue("cart", std::chrono::seconds(-1));
  const Tls tls(files, std::chrono::seconds(1));
  const Channel channel("products", server_.address(), tls);
  EXPECT_THROW((void)Get(channel), Unavailable);
  authority_.Issue("cart");
  EXPECT_TRUE(testing::Eventually([&] {
    try {
      return static_cast<bool>(Get(channel));
    } catch (const Unavailable&) {
      return false;
    }
  }));
}

}  // namespace
}  // namespace shop::rpc
