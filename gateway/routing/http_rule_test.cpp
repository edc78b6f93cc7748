// The rules of google.api.http, as its own comments state them, over routes, router and binding
// together. testing/http_rule_cases.txt holds the cases and says how they are read.
#include "gateway/routing/http_rule.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/text_format.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <memory>
#include <stdexcept>

#include "gateway/routing/binding.h"
#include "gateway/routing/router.h"
#include "gateway/testing/thing.pb.h"
#include "google/api/annotations.pb.h"

namespace shop::gateway {
namespace {

using google::protobuf::DescriptorPool;
using google::protobuf::TextFormat;
using shop::testing::v1::Thing;

// What a gateway knows of a few methods, whose requests are all a Thing.
class Service {
 public:
  // `rule` is a google.api.HttpRule in text form.
  void Add(const std::string& name, const std::string& rule) {
    google::protobuf::FileDescriptorProto file;
    file.set_name(name + ".proto");
    file.add_dependency(Thing::descriptor()->file()->name());
    auto* service = file.add_service();
    service->set_name(name);
    auto* method = service->add_method();
    method->set_name("Method");
    method->set_input_type('.' + Thing::descriptor()->full_name());
    method->set_output_type('.' + Thing::descriptor()->full_name());
    if (!TextFormat::ParseFromString(
            rule, method->mutable_options()->MutableExtension(google::api::http))) {
      throw std::runtime_error("not an HttpRule: " + rule);
    }
    const auto* made = pool_.BuildFile(file);
    if (made == nullptr) throw std::runtime_error("not a method: " + name);
    for (const HttpBinding& http : HttpBindings(*made->service(0)->method(0))) {
      const size_t route = router_.Add(http.method, http.path_template);
      routes_.push_back({name, Binding(Thing::descriptor(), router_.variables(route), http.body)});
    }
  }

  // The method and its request in Protobuf's own JSON, or the status and what is to blame.
  std::string Answer(const std::string& method, const std::string& target,
                     const std::string& body) const {
    HttpRequest request;
    request.method = method;
    request.target = target;
    request.body = body;
    const Router::Found found = router_.Find(method, request.path());
    if (found.malformed) return "400";
    if (!found.route) return found.allow.empty() ? "404" : "405 " + found.allow;
    Thing thing;
    const auto& [name, binding] = routes_[*found.route];
    if (const Result<void> bound = binding.Bind(request, found.values, &thing); !bound) {
      const auto& details = bound.refusal().details;
      return "400" + (details.empty() ? "" : ' ' + details[0].field);
    }
    std::string json;
    EXPECT_TRUE(google::protobuf::util::MessageToJsonString(thing, &json).ok());
    return name + ' ' + json;
  }

 private:
  struct Route {
    std::string name;
    Binding binding;
  };

  DescriptorPool pool_{DescriptorPool::generated_pool()};
  Router router_;
  std::vector<Route> routes_;
};

struct Case {
  int line;
  std::string asked;
  std::string expected;
};

struct Group {
  std::string name;
  std::vector<std::pair<std::string, std::string>> rules;  // by the method's name
  std::vector<Case> cases;
};

void PrintTo(const Group& group, std::ostream* out) {
  *out << group.name;
}

std::vector<Group> Groups() {
  std::vector<Group> groups;
  std::ifstream file(HTTP_RULE_CASES);
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    if (line.empty() || line[0] == '#') continue;
    const size_t arrow = line.find(" => ");
    if (line[0] == '[') {
      groups.push_back({line.substr(1, line.size() - 2), {}, {}});
    } else if (arrow == std::string::npos) {
      const size_t space = line.find(' ');
      groups.back().rules.emplace_back(line.substr(0, space), line.substr(space + 1));
    } else {
      groups.back().cases.push_back({number, line.substr(0, arrow), line.substr(arrow + 4)});
    }
  }
  return groups;
}

class HttpRules : public ::testing::TestWithParam<Group> {};

TEST_P(HttpRules, HoldForEveryCase) {
  Service service;
  for (const auto& [name, rule] : GetParam().rules) service.Add(name, rule);
  ASSERT_FALSE(GetParam().cases.empty());
  for (const Case& c : GetParam().cases) {
    SCOPED_TRACE("http_rule_cases.txt:" + std::to_string(c.line) + ": " + c.asked);
    const size_t method_end = c.asked.find(' ');
    const std::string method = c.asked.substr(0, method_end);
    const std::string rest = c.asked.substr(method_end + 1);
    if (method == "refused") {
      try {
        service.Add("Refused" + std::to_string(c.line), rest);
        ADD_FAILURE() << "is taken";
      } catch (const std::logic_error& error) {  // std::invalid_argument among them
        EXPECT_THAT(error.what(), ::testing::HasSubstr(c.expected));
      }
      continue;
    }
    const size_t target_end = std::min(rest.find(' '), rest.size());
    const std::string body = rest.substr(std::min(target_end + 1, rest.size()));
    EXPECT_EQ(service.Answer(method, rest.substr(0, target_end), body), c.expected);
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, HttpRules, ::testing::ValuesIn(Groups()),
                         [](const auto& test) { return test.param.name; });

TEST(HttpRuleCases, AreMany) {
  size_t cases = 0;
  for (const Group& group : Groups()) cases += group.cases.size();
  EXPECT_GE(cases, 150);
}

}  // namespace
}  // namespace shop::gateway
