#include "gateway/routing/binding.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "gateway/testing/library.pb.h"
#include "gateway/testing/thing.pb.h"

namespace shop::gateway {
namespace {

using shop::testing::v1::CreateBookRequest;
using shop::testing::v1::GetBookRequest;
using shop::testing::v1::ListBooksRequest;
using shop::testing::v1::ReceiveLetterRequest;
using shop::testing::v1::Thing;
using shop::testing::v1::UpdateBookRequest;
using shop::testing::v1::WrongConditionRequest;
using shop::testing::v1::WrongPartRequest;
using shop::testing::v1::WrongRawBodyRequest;
using shop::testing::v1::WrongRequest;

template <typename Message>
class Bound {
 public:
  Bound(const std::vector<std::string>& variables, const std::string& body)
      : binding_(Message::descriptor(), variables, body) {}

  // The request message in Protobuf's short text form, or the field that is refused.
  std::string operator()(const HttpRequest& request, const std::vector<std::string>& values = {}) {
    Message message;
    const Result<void> bound = binding_.Bind(request, values, &message);
    if (bound) return message.ShortDebugString();
    EXPECT_EQ(bound.refusal().code, Code::kInvalidArgument);
    const auto& details = bound.refusal().details;
    return "refused: " + (details.empty() ? "" : details[0].field);
  }

 private:
  Binding binding_;
};

HttpRequest Query(const std::string& target) {
  static std::string kept;
  kept = target;
  HttpRequest request;
  request.target = kept;
  return request;
}

HttpRequest Body(std::string_view body) {
  HttpRequest request;
  request.target = "/x";
  request.body = body;
  return request;
}

TEST(Path, FillsItsFields) {
  Bound<GetBookRequest> bind({"shelf", "id"}, "");
  EXPECT_EQ(bind(Query("/x"), {"a b", "7"}), "id: 7 shelf: \"a b\"");
}

TEST(Path, ThatDoesNotFitIsRefusedByTheFieldsName) {
  Bound<GetBookRequest> bind({"shelf", "id"}, "");
  EXPECT_EQ(bind(Query("/x"), {"a", "seven"}), "refused: id");
  EXPECT_EQ(bind(Query("/x"), {"a", "9007199254740992"}), "refused: id");
  EXPECT_EQ(bind(Query("/x"), {std::string(1, '\0'), "7"}), "refused: shelf");
  EXPECT_EQ(bind(Query("/x"), {"\xff", "7"}), "refused: shelf");
}

TEST(Path, WinsOverBodyAndQuery) {
  Bound<GetBookRequest> with_body({"id"}, "*");
  EXPECT_EQ(with_body(Body(R"({"id":8,"shelf":"s"})"), {"7"}), "id: 7 shelf: \"s\"");
  Bound<GetBookRequest> with_query({"id"}, "");
  EXPECT_EQ(with_query(Query("/x?id=8&shelf=s"), {"7"}), "id: 7 shelf: \"s\"");
  EXPECT_EQ(with_query(Query("/x?id=eight&id=9"), {"7"}), "id: 7");
}

class QueryTest : public ::testing::Test {
 protected:
  std::string Reads(const std::string& query) { return bind_(Query("/x?" + query)); }
  Bound<ListBooksRequest> bind_{{}, ""};
};

TEST_F(QueryTest, FillsFieldsOfEveryKind) {
  EXPECT_EQ(Reads("page=2"), "page: 2");
  EXPECT_EQ(Reads("genre=novel"), "genre: GENRE_NOVEL");
  EXPECT_EQ(Reads("maxPrice=9.5"), "max_price: 950");
  EXPECT_EQ(Reads("max_price=9.50"), "max_price: 950");
  EXPECT_EQ(Reads("since=1970-01-01T00:00:05Z"), "since { seconds: 5 }");
  EXPECT_EQ(Reads("inStock=true"), "in_stock: true");
}

TEST_F(QueryTest, ListsAreRepeatedParameters) {
  EXPECT_EQ(Reads("tags=a&tag=b&tags=c,d"), R"(tags: "a" tags: "b" tags: "c,d")");
}

TEST_F(QueryTest, NestedFieldsHaveDots) {
  EXPECT_EQ(Reads("filter.author=A&filter.inner.author=B"),
            R"(filter { author: "A" inner { author: "B" } })");
}

TEST_F(QueryTest, IsDecoded) {
  EXPECT_EQ(Reads("t%61g=a+b%26%C3%BC"), R"(tags: "a b&\303\274")");
}

TEST_F(QueryTest, ParametersThatNoFieldHasAreIgnored) {
  for (const char* query :
       {"", "&", "=", "x", "x=1", "page.x=1", "filter=1", "filter.others.author=x", "labels=1",
        "filter.x=1", "filter.=1", ".page=1", "labels.a=1", "%zz=1", "utm_source=mail&"}) {
    EXPECT_EQ(Reads(query), "") << query;
  }
}

TEST_F(QueryTest, WrongValuesAreRefusedByTheParametersName) {
  EXPECT_EQ(Reads("page=two"), "refused: page");
  EXPECT_EQ(Reads("page="), "refused: page");
  EXPECT_EQ(Reads("page"), "refused: page");
  EXPECT_EQ(Reads("page=1.5"), "refused: page");
  EXPECT_EQ(Reads("page=99999999999"), "refused: page");
  EXPECT_EQ(Reads("genre=thriller"), "refused: genre");
  EXPECT_EQ(Reads("max_price=1.234"), "refused: max_price");
  EXPECT_EQ(Reads("filter.author=%ff"), "refused: filter.author");
  EXPECT_EQ(Reads("tag=%00"), "refused: tag");
  EXPECT_EQ(Reads("tag=%zz"), "refused: tag");
  EXPECT_EQ(Reads("since=today"), "refused: since");
  EXPECT_EQ(Reads("inStock=1"), "refused: inStock");
}

TEST_F(QueryTest, ASingleValueGivenTwiceIsRefused) {
  EXPECT_EQ(Reads("page=1&page=2"), "refused: page");
  EXPECT_EQ(Reads("maxPrice=1&max_price=1"), "refused: max_price");
  EXPECT_EQ(Reads("filter.author=a&filter.inner.author=a"),
            R"(filter { author: "a" inner { author: "a" } })");
}

TEST(Query, GivesOneMemberOfAOneofAlone) {
  Bound<Thing> bind({}, "");
  EXPECT_EQ(bind(Query("/x?number=1")), "number: 1");
  EXPECT_EQ(bind(Query("/x?word=a&number=1")), "refused: number");
  EXPECT_EQ(bind(Query("/x?piece.number=1&word=a")), "refused: word");
  EXPECT_EQ(bind(Query("/x?piece.word=a&piece.number=1")), "refused: piece.number");
}

TEST_F(QueryTest, NestingEndsWhereThatOfBodiesDoes) {
  const auto nested = [](int levels) {
    std::string name = "filter";
    for (int i = 0; i < levels; ++i) name += ".inner";
    return name + ".author";
  };
  EXPECT_THAT(Reads(nested(30) + "=a"), ::testing::EndsWith("} }"));
  EXPECT_EQ(Reads(nested(31) + "=a"), "refused: " + nested(31));
}

TEST(WholeBody, IsTheMessage) {
  Bound<CreateBookRequest> bind({}, "*");
  EXPECT_EQ(bind(Body(R"({"title":"T","price":9.99,"extra":1})")), "title: \"T\" price: 999");
  EXPECT_EQ(bind(Body("")), "");
  EXPECT_EQ(bind(Body(R"({"price":"9.99"})")), "refused: price");
  EXPECT_EQ(bind(Body("[]")), "refused: ");
}

TEST(WholeBody, LeavesTheQueryUnread) {
  Bound<CreateBookRequest> bind({}, "*");
  EXPECT_EQ(bind(Query("/x?title=T&copies=x")), "");
}

TEST(BodyField, IsThatFieldAlone) {
  Bound<UpdateBookRequest> bind({"book.id"}, "book");
  HttpRequest request = Query("/x?note=N&book.title=Q");
  request.body = R"({"title":"T","note":"ignored"})";
  EXPECT_EQ(bind(request, {"7"}), R"(book { id: 7 title: "T" } note: "N")");
  request.body = R"({"price":"x"})";
  EXPECT_EQ(bind(request, {"7"}), "refused: book.price");
  EXPECT_EQ(bind(Query("/x"), {"seven"}), "refused: book.id");
}

TEST(RawBody, IsTheFieldAsItWasSent) {
  Bound<ReceiveLetterRequest> bind({"shelf"}, "letter");
  HttpRequest request = Query("/x?read=true&letter=no&signature=no&shelf=no");
  request.headers = {{"provider-signature", "t=1,v1=ab"}};
  request.body = std::string_view("{\"a\":\0\xff", 7);
  EXPECT_EQ(bind(request, {"top"}),
            R"(letter: "{\"a\":\000\377" signature: "t=1,v1=ab" shelf: "top" read: true)");
  request.body = "";
  EXPECT_EQ(bind(request, {"top"}), R"(signature: "t=1,v1=ab" shelf: "top" read: true)");
}

TEST(RawBody, IsSaidOfTheBody) {
  EXPECT_TRUE(Binding(ReceiveLetterRequest::descriptor(), {}, "letter").has_raw_body());
  EXPECT_FALSE(Binding(UpdateBookRequest::descriptor(), {}, "book").has_raw_body());
  EXPECT_FALSE(Binding(CreateBookRequest::descriptor(), {}, "*").has_raw_body());
}

TEST(Headers, FillTheFieldsThatNameThem) {
  Bound<CreateBookRequest> bind({}, "*");
  HttpRequest request = Body(R"({"key":"from the body"})");
  EXPECT_EQ(bind(request), "");
  request.headers = {{"X-Other", "x"}, {"idempotency-key", "k1"}};
  EXPECT_EQ(bind(request), "key: \"k1\"");
  request.headers.emplace_back("Idempotency-Key", "k2");
  EXPECT_EQ(bind(request), "refused: Idempotency-Key");
}

TEST(Headers, TheVersionsOfIfMatchFillTheirField) {
  Bound<UpdateBookRequest> bind({}, "book");
  HttpRequest request = Body("{}");
  EXPECT_EQ(bind(request), "book { }");
  request.headers = {{"if-match", R"("7-0123456789abcdef", W/"8-0123456789abcdef")"}};
  EXPECT_EQ(bind(request), "book { } if_match: 7 if_match: 0 if_copies: 0 if_copies: 0");
  request.headers = {{"If-Match", R"("7.2-0123456789abcdef", "7.3-0123456789abcdef-gzip")"}};
  EXPECT_EQ(bind(request), "book { } if_match: 7 if_match: 7 if_copies: 2 if_copies: 3");
  request.headers = {{"If-Match", "7"}};
  EXPECT_EQ(bind(request), "refused: If-Match");
  request.headers = {{"If-Match", "*"}};
  EXPECT_EQ(bind(request), "book { }");
}

TEST(Bindings, ThatDoNotFitTheirMessageAreRefusedAtTheStart) {
  const auto binds = [](const std::vector<std::string>& variables, const std::string& body) {
    Binding(WrongRequest::descriptor(), variables, body);
  };
  EXPECT_NO_THROW(binds({"text", "book.id"}, "book"));
  EXPECT_THROW(binds({"missing"}, ""), std::logic_error);
  EXPECT_THROW(binds({"ids"}, ""), std::logic_error);
  EXPECT_THROW(binds({"book"}, ""), std::logic_error);
  EXPECT_THROW(binds({"text.x"}, ""), std::logic_error);
  EXPECT_THROW(binds({"book."}, ""), std::logic_error);
  EXPECT_THROW(binds({}, "missing"), std::logic_error);
  EXPECT_THROW(binds({}, "text"), std::logic_error);
  EXPECT_THROW(binds({}, "ids"), std::logic_error);
  EXPECT_THROW(Binding(WrongConditionRequest::descriptor(), {}, ""), std::logic_error);
  EXPECT_THROW(Binding(WrongPartRequest::descriptor(), {}, ""), std::logic_error);
  for (const char* body : {"", "*"}) {
    EXPECT_THROW(Binding(ReceiveLetterRequest::descriptor(), {}, body), std::logic_error) << body;
  }
  for (const char* body : {"text", "book"}) {
    EXPECT_THROW(Binding(WrongRawBodyRequest::descriptor(), {}, body), std::logic_error) << body;
  }
}

}  // namespace
}  // namespace shop::gateway
