#include "common/core/tls_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/testing/certificates.h"
#include "common/testing/env.h"

namespace shop {
namespace {

using testing::Authority;
using ::testing::ElementsAre;
using testing::EnvOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::string> ProblemsOf(const TlsFiles& files, const std::string& name) {
  Env env = EnvOf({{"TLS_CERT_FILE", files.certificate},
                   {"TLS_KEY_FILE", files.key},
                   {"TLS_CA_FILE", files.ca}});
  TlsFiles::OfProcess(env, name);
  return env.problems();
}

TEST(TlsFiles, AreGivenOrNot) {
  Authority authority;
  const TlsFiles issued = authority.Issue("orders");
  EXPECT_THAT(ProblemsOf(issued, "orders"), IsEmpty());
  EXPECT_THAT(ProblemsOf({}, "orders"), IsEmpty());
  EXPECT_TRUE(issued.given());
  EXPECT_FALSE(TlsFiles().given());
}

TEST(TlsFiles, HalfOfThemIsAMistakeThatNamesWhatIsMissing) {
  Authority authority;
  const TlsFiles issued = authority.Issue("orders");
  EXPECT_THAT(ProblemsOf({issued.certificate, issued.key, ""}, "orders"),
              ElementsAre(HasSubstr("TLS_CA_FILE")));
  EXPECT_THAT(ProblemsOf({issued.certificate, "", issued.ca}, "orders"),
              ElementsAre(HasSubstr("TLS_KEY_FILE")));
  EXPECT_THAT(ProblemsOf({"", issued.key, issued.ca}, "orders"),
              ElementsAre(HasSubstr("TLS_CERT_FILE")));
  EXPECT_THAT(ProblemsOf({issued.key, issued.key, issued.ca}, "orders"),
              ElementsAre(HasSubstr("TLS_CERT_FILE")))
      << "a key is no certificate";
}

TEST(TlsFiles, ACertificateHasToBeThatOfItsProcessAndKeyAndOfNow) {
  Authority authority;
  EXPECT_THAT(ProblemsOf(authority.Issue("orders"), "cart"),
              ElementsAre(HasSubstr("not one of cart")));
  EXPECT_THAT(ProblemsOf(authority.Issue("orders", std::chrono::seconds(-1)), "orders"),
              ElementsAre(HasSubstr("expired")));
  const TlsFiles orders = authority.Issue("orders"), cart = authority.Issue("cart");
  EXPECT_THAT(ProblemsOf({orders.certificate, cart.key, orders.ca}, "orders"),
              ElementsAre(HasSubstr("another key")));
}

TEST(TlsFiles, OfHttpMayBeOfAnyNameAndNeedNoAuthority) {
  Authority authority;
  const TlsFiles issued = authority.Issue("shop.example");
  Env env = EnvOf({{"HTTP_TLS_CERT_FILE", issued.certificate}, {"HTTP_TLS_KEY_FILE", issued.key}});
  EXPECT_TRUE(TlsFiles::OfHttp(env).given());
  EXPECT_THAT(env.problems(), IsEmpty());
}

}  // namespace
}  // namespace shop
