#include "gateway/http/conditional.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gateway/testing/library.pb.h"

namespace shop::gateway {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;

constexpr std::string_view kTag = "\"12-0123456789abcdef\"";

HttpRequest With(std::vector<std::pair<std::string_view, std::string_view>> headers) {
  HttpRequest request;
  request.headers = std::move(headers);
  return request;
}

TEST(EntityTag, IsOfTheBodyAndItsVersion) {
  EXPECT_THAT(EntityTag("body"), MatchesRegex("\"[0-9a-f]{16}\""));
  EXPECT_THAT(EntityTag("body", {12}), MatchesRegex("\"12-[0-9a-f]{16}\""));
  EXPECT_THAT(EntityTag("body", {12, 7}), MatchesRegex("\"12[.]7-[0-9a-f]{16}\""));
  EXPECT_NE(EntityTag("body"), EntityTag("Body"));
  EXPECT_NE(EntityTag("body", {1}), EntityTag("body", {2}));
  EXPECT_NE(EntityTag("body", {1, 1}), EntityTag("body", {1, 2}));
  EXPECT_EQ(GzipTag("\"a\""), "\"a-gzip\"");
}

// Clients keep tags for longer than a process lives, and several gateways serve them.
TEST(EntityTag, IsTheSameEverywhere) {
  EXPECT_EQ(EntityTag(""), "\"2d06800538d394c2\"");
}

TEST(IfNoneMatch, IsComparedWeakly) {
  for (const std::string_view value :
       {"\"12-0123456789abcdef\"", "W/\"12-0123456789abcdef\"", "\"x\", \"12-0123456789abcdef\"",
        "W/\"x\",W/\"12-0123456789abcdef\"", "*", ",\"12-0123456789abcdef\" ,, \"y,z\""}) {
    EXPECT_TRUE(MatchesIfNoneMatch(With({{"If-None-Match", value}}), kTag)) << value;
  }
  EXPECT_TRUE(
      MatchesIfNoneMatch(With({{"if-none-match", "\"x\""}, {"If-None-Match", kTag}}), kTag));
}

TEST(IfNoneMatch, ThatNamesSomethingElseOrNothingDoesNotMatch) {
  for (const std::string_view value :
       {"", "\"x\"", "\"12-0123456789abcdef-gzip\"", "12-0123456789abcdef", "w/\"x\"",
        "\"12-0123456789abcdef", "\"x\" \"12-0123456789abcdef\"", "*, \"12-0123456789abcdef\"",
        "\"12-0123456789abcdef\"; x", "W/ \"12-0123456789abcdef\""}) {
    EXPECT_FALSE(MatchesIfNoneMatch(With({{"If-None-Match", value}}), kTag)) << value;
  }
  EXPECT_FALSE(MatchesIfNoneMatch(With({}), kTag));
  EXPECT_FALSE(MatchesIfNoneMatch(With({{"If-Match", kTag}}), kTag));
  EXPECT_FALSE(MatchesIfNoneMatch(With({{"If-None-Match", "*"}, {"If-None-Match", kTag}}), kTag));
}

TEST(IfMatch, IsComparedStrongly) {
  EXPECT_TRUE(MatchesIfMatch(With({}), kTag));
  EXPECT_TRUE(MatchesIfMatch(With({{"If-Match", "*"}}), kTag));
  EXPECT_TRUE(MatchesIfMatch(With({{"If-Match", "\"x\""}, {"If-Match", kTag}}), kTag));
  EXPECT_FALSE(MatchesIfMatch(With({{"If-Match", "W/\"12-0123456789abcdef\""}}), kTag));
  EXPECT_FALSE(MatchesIfMatch(With({{"If-Match", "\"x\""}}), kTag));
}

TEST(VersionFields, AreThoseOfTheMessage) {
  testing::v1::Book book;
  const VersionFields fields = VersionFields::Of(*book.GetDescriptor());
  EXPECT_EQ(fields.Read(book), TagVersion());
  book.set_version(12);
  book.set_copies_version(7);
  EXPECT_EQ(fields.Read(book), (TagVersion{12, 7}));
  EXPECT_EQ(VersionFields::Of(*testing::v1::EchoResponse::descriptor()).version, nullptr);
  EXPECT_THROW(VersionFields::Of(*testing::v1::WrongPartVersion::descriptor()), std::logic_error);
}

TEST(IfMatch, GivesTheVersionsOfItsTags) {
  const auto versions = [](std::string_view value) {
    return *VersionsMeant(With({{"If-Match", value}}));
  };
  EXPECT_THAT(versions(kTag), ElementsAre(TagVersion{12}));
  EXPECT_THAT(versions(GzipTag(kTag)), ElementsAre(TagVersion{12}));
  EXPECT_THAT(versions(GzipTag(EntityTag("body", {12, 7}))), ElementsAre(TagVersion{12, 7}));
  constexpr int64_t kBeyondDoubles = 9007199254740993;
  EXPECT_THAT(versions(EntityTag("body", {kBeyondDoubles, kBeyondDoubles})),
              ElementsAre(TagVersion{kBeyondDoubles, kBeyondDoubles}));
  EXPECT_THAT(versions("\"12-0123456789abcdef\", \"13.1-0123456789abcdef\""),
              ElementsAre(TagVersion{12}, TagVersion{13, 1}));
  EXPECT_THAT(versions("*"), IsEmpty());
  EXPECT_THAT(*VersionsMeant(With({})), IsEmpty());
}

TEST(IfMatch, AWeakOrForeignTagIsVersionZero) {
  for (const std::string_view value :
       {"W/\"12-0123456789abcdef\"", "\"\"", "\"x\"", "\"12\"", "\"12-\"", "\"12-0123\"",
        "\"-0123456789abcdef\"", "\"0123456789abcdef\"", "\"-1-0123456789abcdef\"",
        "\"+1-0123456789abcdef\"", "\"1.5.5-0123456789abcdef\"", "\"1.-0123456789abcdef\"",
        "\".5-0123456789abcdef\"", "\"1.0-0123456789abcdef\"", "\"1.x-0123456789abcdef\"",
        "\"-gzip\"", "\"99999999999999999999-0123456789abcdef\"",
        "\"1.99999999999999999999-0123456789abcdef\""}) {
    EXPECT_THAT(*VersionsMeant(With({{"If-Match", value}})), ElementsAre(TagVersion())) << value;
  }
}

TEST(IfMatch, ThatIsNoListOfTagsIsRefused) {
  for (const std::string_view value : {"", ",", "12", "\"12", "12\"", "* *", "*,*", "\"a\" \"b\"",
                                       "\"a\",b", "w/\"a\"", "W/a", "\"a b\"", "\"a\x7f\""}) {
    const auto versions = VersionsMeant(With({{"If-Match", value}}));
    ASSERT_FALSE(versions) << value;
    EXPECT_EQ(versions.refusal().details[0].field, "If-Match");
  }
}

}  // namespace
}  // namespace shop::gateway
