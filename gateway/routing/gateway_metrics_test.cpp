// The labels of the gateway's metrics.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <random>
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

// Each name in /metrics with its labels.
std::set<std::string> Series() {
  std::set<std::string> series;
  for (const auto& family : Metrics().Collect()) {
    for (const auto& metric : family.metric) {
      std::string one = family.name;
      for (const auto& label : metric.label) one += ' ' + label.name + '=' + label.value;
      series.insert(one);
    }
  }
  return series;
}

double RequestsCounted() {
  double sum = 0;
  for (const auto& family : Metrics().Collect()) {
    if (family.name != "http_requests_total") continue;
    for (const auto& metric : family.metric) sum += metric.counter.value;
  }
  return sum;
}

// What a client can make up: other text each time.
class MadeUp {
 public:
  std::string Word() {
    std::string word;
    for (int i = 0; i < 12; ++i) word += static_cast<char>('a' + random_() % 26);
    return word;
  }
  std::string Number() { return std::to_string(random_() % 1'000'000'000 + 10'000); }
  std::string Headers() {
    return "X-" + Word() + ": " + Word() + "\r\nX-Request-Id: " + Word() +
           "\r\nUser-Agent: " + Word() + "\r\nTraceparent: 00-" + Word() +
           "-01\r\nOrigin: https://" + Word() + "\r\nAccept-Language: " + Word() + "\r\n";
  }

 private:
  std::mt19937 random_{7};
};

TEST_F(GatewayTest, AHundredThousandRequestsThatClientsMakeUpAddNoSeries) {
  constexpr int kRequests = 100'000;
  constexpr int kAtOnce = 100;
  MadeUp any;
  const std::vector<std::pair<int, std::function<std::string()>>> kinds{
      {404, [&] { return Get("/" + any.Word() + "/" + any.Number(), any.Headers()); }},
      {404, [&] { return Get("/api/v1/" + any.Word() + "?" + any.Word() + "=" + any.Word(), ""); }},
      {400, [&] { return Get("/api/v1/books/" + any.Word(), any.Headers()); }},
      {400,
       [&] {
         return Get("/api/v1/shelves/" + any.Word() + "/books/" + any.Word(), any.Headers());
       }},
      {405, [&] { return Get("/api/v1/books/" + any.Number(), any.Headers(), any.Word()); }},
      {401,
       [&] {
         return Get("/api/v1/books/" + any.Number(), "Authorization: Bearer " + any.Word() + "\r\n",
                    "DELETE");
       }},
      {421,
       [&] { return "GET /api/v1/books HTTP/1.1\r\nHost: " + any.Word() + ".example\r\n\r\n"; }},
      // Through to the service, which takes longest.
      {200, [&] { return Get("/api/v1/books/" + any.Number(), any.Headers()); }}};

  Client client(port());
  // As many of a kind at once, on one connection.
  const auto ask = [&](const auto& kind, int times) {
    std::string requests;
    for (int i = 0; i < times; ++i) requests += kind.second();
    ASSERT_TRUE(client.Send(requests));
    for (int i = 0; i < times; ++i) ASSERT_EQ(client.Receive().status, kind.first) << requests;
  };
  for (const auto& kind : kinds) ASSERT_NO_FATAL_FAILURE(ask(kind, 1));
  const std::set<std::string> before = Series();
  const double counted = RequestsCounted();
  for (int sent = 0; sent < kRequests; sent += kAtOnce) {
    const auto at = static_cast<size_t>(sent / kAtOnce);
    // Every 20th comes to the service.
    const size_t kind = at % 20 == 0 ? kinds.size() - 1 : at % (kinds.size() - 1);
    ASSERT_NO_FATAL_FAILURE(ask(kinds[kind], kAtOnce));
  }
  EXPECT_EQ(RequestsCounted(), counted + kRequests);
  std::vector<std::string> added;
  std::ranges::set_difference(Series(), before, std::back_inserter(added));
  EXPECT_THAT(added, IsEmpty());
}

}  // namespace
}  // namespace shop::gateway
