// The labels of the gateway's metrics.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/telemetry/metrics.h"
#include "gateway/routing/http_rule.h"
#include "gateway/testing/fixture.h"

namespace shop::gateway {
namespace {

using std::chrono::milliseconds;
using ::testing::AnyOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::Key;
using ::testing::MatchesRegex;
using ::testing::UnorderedElementsAre;

// A path that the template takes, with something else in the place of each variable.
std::string Filled(const std::string& path_template, const std::string& value) {
  std::string path = path_template;
  for (size_t open = path.find('{'); open != std::string::npos; open = path.find('{', open)) {
    path.replace(open, path.find('}', open) - open + 1, value);
  }
  return path;
}

TEST_F(GatewayTest, EveryRouteIsCountedUnderLabelsThatNoClientChooses) {
  Services services = DeclaredServices();
  std::erase(services, Declared("shop.testing.v1.ForgetfulService"));
  std::erase(services, Declared("shop.testing.v1.IndiscreetService"));
  for (const auto* service : services) {
    settings_.addresses.try_emplace(ProcessOf(*service), "127.0.0.1:1");
  }
  settings_.request_timeout = milliseconds(200);
  Start(services, tokens_);

  std::set<std::string> templates{"none"};
  std::set<std::pair<std::string, std::string>> routes;
  Client client(port());
  const auto ask = [&](const std::string& method, const std::string& target) {
    client.Send(Get(target, "", method));
    ASSERT_NE(client.Receive(method != "HEAD").status, 0) << method << ' ' << target;
  };
  for (const auto* service : services) {
    for (int i = 0; i < service->method_count(); ++i) {
      const auto* method = service->method(i);
      const bool streams = method->server_streaming();  // HEAD opens none
      for (const HttpBinding& http : HttpBindings(*method)) {
        templates.insert(http.path_template);
        routes.emplace(http.path_template, http.method);
        for (const char* value : {"7", "unlikely-6f1a", "%27%20OR%201=1", "%2e%2e%2F"}) {
          const std::string path = Filled(http.path_template, value);
          if (!streams) ask(http.method, path + "?unlikely=6f1a");
          ask("HEAD", path);
          ask("UNLIKELY", path);
        }
      }
    }
  }
  for (const char* target :
       {"/unlikely-6f1a", "/", "//", "*", "/%zz", "/api/v1/unlikely-6f1a/7", "/healthz", "/readyz",
        "/healthz/unlikely-6f1a", "http://unlikely/x"}) {
    for (const char* method : {"GET", "POST", "OPTIONS", "UNLIKELY", "get", "G!"}) {
      // Some of these end their connection.
      EXPECT_NE(Exchange(Get(target, "", method)).status, 0) << method << ' ' << target;
    }
  }
  Exchange("nonsense\r\n\r\n");
  Exchange(Get("/" + std::string(20'000, 'x')));

  std::set<std::pair<std::string, std::string>> counted;
  std::set<std::string> timed;
  for (const auto& family : Metrics().Collect()) {
    if (!family.name.starts_with("http_request")) continue;
    for (const auto& metric : family.metric) {
      std::map<std::string, std::string> labels;
      for (const auto& label : metric.label) labels[label.name] = label.value;
      if (family.name == "http_requests_total") {
        EXPECT_THAT(labels, UnorderedElementsAre(Key("route"), Key("method"), Key("status")));
        EXPECT_THAT(labels["status"], MatchesRegex("[1-5][0-9][0-9]"));
        EXPECT_THAT(labels["method"],
                    AnyOf("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"));
        if (metric.counter.value > 0) counted.emplace(labels["route"], labels["method"]);
      } else if (family.name == "http_request_duration_seconds") {
        EXPECT_THAT(labels, ElementsAre(Key("route")));
        if (metric.histogram.sample_count > 0) timed.insert(labels["route"]);
      } else {
        EXPECT_THAT(labels, IsEmpty()) << family.name;
        continue;
      }
      EXPECT_THAT(templates, Contains(labels["route"]));
    }
  }
  EXPECT_THAT(counted, IsSupersetOf(routes));
  EXPECT_THAT(counted, IsSupersetOf({std::pair<std::string, std::string>("none", "other"),
                                     {"none", "GET"}}));
  EXPECT_THAT(timed, ElementsAreArray(templates));
}

}  // namespace
}  // namespace shop::gateway
