// What the gateway refuses to start with, and its settings.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/core/env.h"
#include "gateway/testing/fixture.h"

namespace shop::gateway {
namespace {

using std::chrono::milliseconds;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::StartsWith;

TEST_F(GatewayTest, ResponsesForOneCallerCannotBeCached) {
  EXPECT_THROW(Gateway(settings_, Services{Declared("shop.testing.v1.IndiscreetService")}, tokens_),
               std::logic_error);
}

TEST(Start, StopsAtAMethodThatDoesNotSayWhoMayCallIt) {
  auth::TokenVerifier tokens([] { return std::vector<auth::PublicKey>(); });
  Gateway::Settings settings;
  settings.addresses["testing"] = "127.0.0.1:1";
  const auto* service = Declared("shop.testing.v1.ForgetfulService");
  EXPECT_THROW(Gateway(settings, {service}, tokens), std::logic_error);
}

TEST(Start, KnowsEveryServiceOfThePlatform) {
  std::vector<std::string> processes;
  for (const auto* service : DeclaredServices()) processes.push_back(ProcessOf(*service));
  for (const char* process :
       {"auth", "users", "products", "cart", "orders", "shipping", "testing"}) {
    EXPECT_THAT(processes, Contains(process));
  }
}

TEST(Start, EveryServiceOfThePlatformCanBeRouted) {
  Services services = DeclaredServices();
  std::erase_if(services, [](const auto* service) { return ProcessOf(*service) == "testing"; });
  Env env([](const std::string&) { return std::nullopt; });
  auth::TokenVerifier tokens([] { return std::vector<auth::PublicKey>(); });
  EXPECT_NO_THROW(Gateway(Gateway::Settings::Read(env, services), services, tokens));
  EXPECT_THAT(env.problems(), IsEmpty());
}

TEST(Start, ReadsItsSettings) {
  std::map<std::string, std::string> values{
      {"REQUEST_TIMEOUT_MS", "2500"},
      {"CORS_ALLOWED_ORIGINS", "https://a.example/, http://b"},
      {"HTTP_ALLOWED_HOSTS", "Shop.example, shop"},
      {"TESTING_ADDR", "books:1"},
      {"HTTP_MAX_IN_FLIGHT", "50"},
      {"HTTP_GZIP", "off"},
      {"HTTP_DRAIN_DELAY_MS", "1500"},
      {"HTTP_REUSE_PORT", "true"},
      {"GATEWAY_PORT", "4000"},
      {"GATEWAY_THREADS", "3"},
      {"HTTP_MAX_BODY_BYTES", "2000"},
      {"HTTP_MAX_BUFFERED_BYTES", "90000"},
      {"HTTP_MAX_BUFFERED_BYTES_PER_CLIENT", "4000"},
      {"HTTP_MAX_CONNECTIONS", "70"},
      {"HTTP_MAX_CONNECTIONS_PER_CLIENT", "7"}};
  Env env([&](const std::string& name) -> std::optional<std::string> {
    const auto found = values.find(name);
    return found == values.end() ? std::nullopt : std::optional(found->second);
  });
  const auto* service = Declared("shop.testing.v1.LibraryService");
  const auto settings = Gateway::Settings::Read(env, {service});
  EXPECT_EQ(settings.request_timeout, milliseconds(2500));
  EXPECT_THAT(settings.cors_origins, ElementsAre("https://a.example", "http://b"));
  EXPECT_THAT(settings.hosts, ElementsAre("shop.example", "shop"));
  EXPECT_EQ(settings.addresses.at("testing"), "books:1");
  EXPECT_EQ(settings.max_in_flight, 50);
  EXPECT_FALSE(settings.gzip);
  const auto http = HttpServer::Settings::Read(env);
  EXPECT_EQ(http.port, 4000);
  EXPECT_EQ(http.threads, 3);
  EXPECT_EQ(http.drain_delay, milliseconds(1500));
  EXPECT_TRUE(http.reuse_port);
  EXPECT_EQ(http.max_body_bytes, 2000);
  EXPECT_EQ(http.max_buffered_bytes, 90000);
  EXPECT_EQ(http.max_buffered_bytes_per_client, 4000);
  EXPECT_EQ(http.max_connections, 70);
  EXPECT_EQ(http.max_connections_per_client, 7);
  EXPECT_THAT(env.problems(), IsEmpty());
  values["CORS_ALLOWED_ORIGINS"] = "a.example";
  values["HTTP_ALLOWED_HOSTS"] = "https://a.example";
  Gateway::Settings::Read(env, {service});
  EXPECT_THAT(env.problems(),
              ElementsAre(StartsWith("CORS_ALLOWED_ORIGINS"), StartsWith("HTTP_ALLOWED_HOSTS")));
}

TEST(Start, TheLimitsOfBytesHaveToTakeOneBody) {
  std::map<std::string, std::string> values{{"HTTP_MAX_BODY_BYTES", "50000000"}};
  Env env([&](const std::string& name) -> std::optional<std::string> {
    const auto found = values.find(name);
    return found == values.end() ? std::nullopt : std::optional(found->second);
  });
  EXPECT_EQ(HttpServer::Settings::Read(env).max_buffered_bytes_per_client, 50'000'000)
      << "by default they do";
  EXPECT_THAT(env.problems(), IsEmpty());
  values["HTTP_MAX_BUFFERED_BYTES"] = "40000000";
  values["HTTP_MAX_BUFFERED_BYTES_PER_CLIENT"] = "30000000";
  HttpServer::Settings::Read(env);
  EXPECT_THAT(env.problems(), ElementsAre(StartsWith("HTTP_MAX_BUFFERED_BYTES "),
                                          StartsWith("HTTP_MAX_BUFFERED_BYTES_PER_CLIENT ")));
}

}  // namespace
}  // namespace shop::gateway
