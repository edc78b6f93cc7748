// The page at /live as browsers get it; what it does in one is in tests/live.
#include "gateway/live/live.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <re2/re2.h>

#include <map>
#include <string>

#include "gateway/testing/fixture.h"

namespace shop::gateway {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Key;
using ::testing::Not;

class LivePageTest : public GatewayTest {
 protected:
  LivePageTest() {
    Start();
    PublishLivePage(gateway_.get());
  }
};

TEST_F(LivePageTest, IsServedWithAllThatItUses) {
  const Response page = Exchange(Get("/live"));
  EXPECT_EQ(page.status, 200);
  EXPECT_EQ(page.headers.at("content-type"), "text/html; charset=utf-8");
  EXPECT_EQ(Exchange(Get("/live/")).body, page.body);

  std::map<std::string, std::string> types;
  re2::StringPiece rest(page.body);
  std::string path;
  while (re2::RE2::FindAndConsume(&rest, R"re(<(?:link|script)[^>]*(?:src|href)="(/[^"]*)")re",
                                  &path)) {
    types[path] = Exchange(Get(path)).headers["content-type"];
  }
  EXPECT_EQ(types, (std::map<std::string, std::string>{
                       {"/live/live.css", "text/css; charset=utf-8"},
                       {"/live/live.js", "text/javascript; charset=utf-8"}}));
}

TEST_F(LivePageTest, AllowsNothingInlineAndNothingOfOthers) {
  const Response page = Exchange(Get("/live"));
  const std::string policy = page.headers.at("content-security-policy");
  EXPECT_THAT(policy, HasSubstr("default-src 'none'; script-src 'self'; style-src 'self';"));
  EXPECT_THAT(policy, HasSubstr("frame-ancestors 'none'"));
  EXPECT_THAT(policy, Not(HasSubstr("unsafe")));
  EXPECT_THAT(policy, Not(HasSubstr("http")));
  EXPECT_EQ(page.headers.at("x-content-type-options"), "nosniff");
  // It needs no more than that: an attribute or an element of its own would not work.
  EXPECT_FALSE(re2::RE2::PartialMatch(page.body, "<style|<script>| style=| on[a-z]+=|//"));
}

TEST_F(LivePageTest, IsReadAsDocumentsAre) {
  const Response page = Exchange(Get("/live"));
  const Response head = Exchange(Get("/live", "", "HEAD"));
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.headers.at("content-length"), std::to_string(page.body.size()));
  const Response same =
      Exchange(Get("/live", "If-None-Match: " + page.headers.at("etag") + "\r\n"));
  EXPECT_EQ(same.status, 304);
  EXPECT_THAT(same.headers, Contains(Key("content-security-policy")));
  const Response posted = Exchange(Post("/live", "{}"));
  EXPECT_EQ(posted.status, 405);
  EXPECT_EQ(posted.headers.at("allow"), "GET, HEAD");
}

}  // namespace
}  // namespace shop::gateway
