// Which names requests may be for.
#include <gtest/gtest.h>

#include <string>

#include "gateway/http/hosts.h"
#include "gateway/testing/fixture.h"

namespace shop::gateway {
namespace {

TEST(Hosts, AreAListOfNamesOrEverything) {
  EXPECT_EQ(ParseHosts("Shop.example, localhost"), (Hosts{"shop.example", "localhost"}));
  EXPECT_EQ(ParseHosts("*"), Hosts{"*"});
  EXPECT_EQ(ParseHosts("gateway, *"), Hosts{"*"});
  for (const char* wrong : {"shop.example:3000", "https://shop.example", "a,,b", "*.example", ""}) {
    EXPECT_EQ(ParseHosts(wrong), std::nullopt) << wrong;
  }
}

TEST(Hosts, AListedNameAndAnyAddressAreServed) {
  const Hosts hosts{"shop.example", "localhost"};
  for (const char* served : {"shop.example", "SHOP.example:3000", "localhost:1", "127.0.0.1:3000",
                             "10.1.2.3", "[::1]:3000", "[fe80::1]", ""}) {
    EXPECT_TRUE(IsServed(served, hosts)) << served;
  }
  for (const char* other :
       {"evil.example", "evil.example:3000", "shop.example.evil.example", "localhost.evil.example",
        "127.0.0.1.evil.example", "shop.example@evil.example", "::1", "[127.0.0.1]", "127.1.evil",
        "[::1].evil.example", "shop.example:80:80"}) {
    EXPECT_FALSE(IsServed(other, hosts)) << other;
  }
  EXPECT_TRUE(IsServed("evil.example", {"*"}));
}

// A page whose name resolves to the gateway's address is of the same origin for its browser.
TEST_F(GatewayTest, APageWhoseNameIsMadeToLeadHereGetsNothing) {
  settings_.hosts = {"shop"};
  Start();
  const std::string other = "GET /api/v1/books/1 HTTP/1.1\r\nHost: evil.example:3000\r\n\r\n";
  const Response refused = Exchange(other);
  EXPECT_EQ(refused.status, 421);
  EXPECT_EQ(refused.text("/error/code"), "MISDIRECTED_REQUEST");
  EXPECT_EQ(library_.read, 0);
  EXPECT_EQ(Exchange(Get("/api/v1/books/1")).status, 200);
  EXPECT_EQ(Exchange("GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n").status, 421);
  EXPECT_EQ(Exchange("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:3000\r\n\r\n").status, 200);
}

}  // namespace
}  // namespace shop::gateway
