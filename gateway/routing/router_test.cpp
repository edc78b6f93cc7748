#include "gateway/routing/router.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

namespace shop::gateway {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class Routes : public ::testing::Test {
 protected:
  Routes() {
    for (const char* route :
         {"GET /api/v1/products", "POST /api/v1/products", "GET /api/v1/products/{id}",
          "GET /api/v1/products/search", "PUT /api/v1/products/{id}",
          "DELETE /api/v1/products/{id}", "GET /api/v1/orders/{id}/status",
          "GET /api/v1/orders/{order.id}", "POST /api/v1/orders/{id}:cancel",
          "GET /files/{name=**}", "GET /files/readme", "GET /shelves/{name=shelves/*/books/*}",
          "POST /shelves/{name=shelves/**}:move", "GET /any/*/thing", "HEAD /files/readme"}) {
      const std::string text = route;
      const size_t space = text.find(' ');
      const size_t number = router_.Add(text.substr(0, space), text.substr(space + 1));
      names_.resize(number + 1);
      names_[number] = text;
    }
  }

  // The route taken, or what the router says in its place.
  std::string Takes(const std::string& method, const std::string& path) {
    found_ = router_.Find(method, path);
    if (found_.route) return names_[*found_.route];
    if (found_.malformed) return "malformed";
    return found_.allow.empty() ? "nothing" : "allow " + found_.allow;
  }

  Router router_;
  std::vector<std::string> names_;
  Router::Found found_;
};

TEST_F(Routes, AreFoundByMethodAndPath) {
  EXPECT_EQ(Takes("GET", "/api/v1/products"), "GET /api/v1/products");
  EXPECT_EQ(Takes("POST", "/api/v1/products"), "POST /api/v1/products");
  EXPECT_EQ(Takes("GET", "/api/v1/orders/7/status"), "GET /api/v1/orders/{id}/status");
}

TEST_F(Routes, GiveTheVariablesTheirValues) {
  EXPECT_EQ(Takes("PUT", "/api/v1/products/17"), "PUT /api/v1/products/{id}");
  EXPECT_THAT(found_.values, ElementsAre("17"));
  EXPECT_THAT(router_.variables(*found_.route), ElementsAre("id"));
  EXPECT_EQ(Takes("GET", "/api/v1/orders/7"), "GET /api/v1/orders/{order.id}");
  EXPECT_THAT(router_.variables(*found_.route), ElementsAre("order.id"));
}

TEST_F(Routes, ALiteralWinsOverAVariable) {
  EXPECT_EQ(Takes("GET", "/api/v1/products/search"), "GET /api/v1/products/search");
  EXPECT_EQ(Takes("GET", "/api/v1/products/searching"), "GET /api/v1/products/{id}");
  EXPECT_EQ(Takes("GET", "/files/readme"), "GET /files/readme");
  EXPECT_EQ(Takes("GET", "/files/readme/x"), "GET /files/{name=**}");
}

TEST_F(Routes, AVariableTakesWhatTheLiteralHasNoMethodFor) {
  EXPECT_EQ(Takes("PUT", "/api/v1/products/search"), "PUT /api/v1/products/{id}");
}

TEST_F(Routes, AnotherMethodIsToldWhichOnesThereAre) {
  EXPECT_EQ(Takes("PATCH", "/api/v1/products/7"), "allow GET, HEAD, PUT, DELETE, OPTIONS");
  EXPECT_EQ(Takes("DELETE", "/api/v1/products"), "allow GET, HEAD, POST, OPTIONS");
  EXPECT_EQ(Takes("OPTIONS", "/any/x/thing"), "allow GET, HEAD, OPTIONS");
}

TEST_F(Routes, AMethodWhoseNameIsInAnothersIsToldToo) {
  for (const char* method : {"UNLOCK", "LOCK"}) router_.Add(method, "/doors/{id}");
  EXPECT_EQ(Takes("GET", "/doors/1"), "allow UNLOCK, LOCK, OPTIONS");
}

TEST_F(Routes, HeadTakesTheRouteOfGetUnlessItHasItsOwn) {
  EXPECT_EQ(Takes("HEAD", "/api/v1/products"), "GET /api/v1/products");
  EXPECT_EQ(Takes("HEAD", "/files/readme"), "HEAD /files/readme");
  EXPECT_EQ(Takes("HEAD", "/api/v1/orders/7:cancel"), "GET /api/v1/orders/{order.id}");
}

TEST_F(Routes, OtherPathsAreNothing) {
  for (const char* path : {"", "/", "//", "/api", "/api/v1", "/api/v1/product", "/api/v1/productss",
                           "/api/v1/products/1/2", "/api/v1/orders//status", "/API/v1/products",
                           "api/v1/products", "*", "/any//thing", "/any/x/y/thing",
                           "/api/v1/products//", "//api/v1/products", "/api/v1/../v1/products"}) {
    EXPECT_EQ(Takes("GET", path), "nothing") << path;
  }
}

TEST_F(Routes, OneSlashAtTheEndMakesNoDifference) {
  EXPECT_EQ(Takes("GET", "/api/v1/products/"), "GET /api/v1/products");
  EXPECT_EQ(Takes("GET", "/api/v1/products/7/"), "GET /api/v1/products/{id}");
  EXPECT_THAT(found_.values, ElementsAre("7"));
}

TEST_F(Routes, SegmentsAreDecodedBeforeTheyAreCompared) {
  EXPECT_EQ(Takes("GET", "/api/v1/products/se%61rch"), "GET /api/v1/products/search");
  EXPECT_EQ(Takes("GET", "/api/v1/products/a%2Fb%20+c"), "GET /api/v1/products/{id}");
  EXPECT_THAT(found_.values, ElementsAre("a/b +c"));
}

TEST_F(Routes, ABrokenEncodingIsMalformed) {
  for (const char* path : {"/api/v1/products/%", "/api/v1/products/%4", "/api/v1/products/%zz",
                           "/%zz/x", "/api/v1/products/a%2"}) {
    EXPECT_EQ(Takes("GET", path), "malformed") << path;
  }
}

TEST_F(Routes, ManySegmentsBecomeOneValue) {
  EXPECT_EQ(Takes("GET", "/files/a/b%20c/d"), "GET /files/{name=**}");
  EXPECT_THAT(found_.values, ElementsAre("a/b c/d"));
  // A segment's own slash stays encoded, or nobody could tell it from those between segments.
  EXPECT_EQ(Takes("GET", "/files/a%2Fb/c%20d"), "GET /files/{name=**}");
  EXPECT_THAT(found_.values, ElementsAre("a%2Fb/c d"));
  EXPECT_EQ(Takes("GET", "/shelves/shelves/1/books/2"), "GET /shelves/{name=shelves/*/books/*}");
  EXPECT_THAT(found_.values, ElementsAre("shelves/1/books/2"));
  EXPECT_EQ(Takes("GET", "/shelves/shelves/1/book/2"), "nothing");
}

TEST_F(Routes, AVerbIsPartOfTheTemplate) {
  EXPECT_EQ(Takes("POST", "/api/v1/orders/7:cancel"), "POST /api/v1/orders/{id}:cancel");
  EXPECT_THAT(found_.values, ElementsAre("7"));
  EXPECT_EQ(Takes("POST", "/shelves/shelves/1/x:move"), "POST /shelves/{name=shelves/**}:move");
  EXPECT_THAT(found_.values, ElementsAre("shelves/1/x"));
  EXPECT_EQ(Takes("POST", "/api/v1/orders/:cancel"), "allow GET, HEAD, OPTIONS");
  EXPECT_EQ(Takes("POST", "/api/v1/orders/7:ship"), "allow GET, HEAD, OPTIONS");
  EXPECT_EQ(Takes("GET", "/api/v1/orders/7:cancel"), "GET /api/v1/orders/{order.id}");
  EXPECT_THAT(found_.values, ElementsAre("7:cancel"));
}

TEST_F(Routes, AWildcardWithoutANameHasNoValue) {
  EXPECT_EQ(Takes("GET", "/any/x/thing"), "GET /any/*/thing");
  EXPECT_THAT(found_.values, IsEmpty());
}

TEST(Templates, ThatAreMalformedAreRefused) {
  for (const char* path :
       {"",      "x",         "/",     "//",     "/a//b",  "/a/",       "/{",     "/{}",
        "/{a",   "/{a=",      "/{a=}", "/a}",    "/{a}}",  "/{a={b}}",  "/{a/b}", "/a*",
        "/**/x", "/{a=**}/x", "/a:",   "/a:b:c", "/a:b/c", "/{a=*/{b}}"}) {
    EXPECT_THROW(Router().Add("GET", path), std::invalid_argument) << path;
  }
}

TEST(Templates, ForTheSameRequestsAreRefused) {
  Router router;
  router.Add("GET", "/a/{b}");
  router.Add("PUT", "/a/{b}");
  router.Add("GET", "/a/{b}:verb");
  EXPECT_THROW(router.Add("GET", "/a/{c}"), std::logic_error);
  EXPECT_THROW(router.Add("GET", "/a/*"), std::logic_error);
}

}  // namespace
}  // namespace shop::gateway
