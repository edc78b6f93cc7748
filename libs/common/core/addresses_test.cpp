#include "common/core/addresses.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

namespace shop {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

Env With(std::map<std::string, std::string> values) {
  return Env([values = std::move(values)](const std::string& name) -> std::optional<std::string> {
    const auto found = values.find(name);
    if (found == values.end()) return std::nullopt;
    return found->second;
  });
}

TEST(Addresses, AreThoseOfTheListWhenNothingIsSet) {
  Env env = With({});
  EXPECT_EQ(ServiceAddress(env, "orders"), "127.0.0.1:7005");
  EXPECT_EQ(ServicePort(env, "gateway"), 3000);
  EXPECT_EQ(AdminPort(env, "gateway"), 9110);
  EXPECT_EQ(AdminPort(env, "notification"), 9109);
  EXPECT_THAT(env.problems(), IsEmpty());
}

TEST(Addresses, FollowTheEnvironment) {
  Env env =
      With({{"ORDERS_ADDR", "orders:7005"}, {"CART_PORT", "17004"}, {"CART_ADMIN_PORT", "1"}});
  EXPECT_EQ(ServiceAddress(env, "orders"), "orders:7005");
  EXPECT_EQ(ServiceAddress(env, "cart"), "127.0.0.1:17004");
  EXPECT_EQ(ServicePort(env, "cart"), 17004);
  EXPECT_EQ(AdminPort(env, "cart"), 1);
}

TEST(Addresses, AreUnixSocketsWhereThereIsAFolderForThem) {
  Env env = With(
      {{"SERVICE_SOCKETS", "/run/shop"}, {"ORDERS_ADDR", "orders:7005"}, {"CART_PORT", "17004"}});
  EXPECT_EQ(ServiceAddress(env, "cart"), "unix:/run/shop/cart-17004.sock");
  EXPECT_EQ(ServiceSocket(env, "cart"), "/run/shop/cart-17004.sock");
  EXPECT_EQ(ServiceAddress(env, "orders"), "orders:7005");
  EXPECT_EQ(ServiceSocket(env, "orders"), "/run/shop/orders-7005.sock");
  EXPECT_EQ(HttpAddress(env, "provider"), "127.0.0.1:7020");
  EXPECT_THAT(env.problems(), IsEmpty());
}

TEST(Addresses, SayThatAFolderIsTooLongForASocket) {
  Env env = With({{"SERVICE_SOCKETS", "/" + std::string(100, 'd')}});
  ServiceSocket(env, "cart");
  EXPECT_THAT(env.problems(),
              ElementsAre("SERVICE_SOCKETS is too long for the path of a Unix socket"));
}

TEST(Addresses, OfAnUnknownServiceHaveToBeGiven) {
  Env env = With({});
  ServiceAddress(env, "reviews");
  EXPECT_THAT(env.problems(), ElementsAre("REVIEWS_PORT is not set"));
}

}  // namespace
}  // namespace shop
