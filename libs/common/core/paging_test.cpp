#include "common/core/paging.h"

#include <gtest/gtest.h>

namespace shop {
namespace {

std::string Blamed(const Result<Page>& page) {
  return page ? "" : page.refusal().details.at(0).field;
}

TEST(Pages, WhatIsLeftOutIsTheFirstOfTwenty) {
  const Result<Page> page = MakePage({}, {}, "", "q", 1);
  ASSERT_TRUE(page);
  EXPECT_EQ(page->number, 1);
  EXPECT_EQ(page->limit, 20);
  EXPECT_EQ(page->offset(), 0);
  EXPECT_EQ(MakePage(3, 50, "", "q", 1)->offset(), 100);
}

TEST(Pages, ANumberReachesTheFirstTenThousandAlone) {
  EXPECT_TRUE(MakePage(100, 100, "", "q", 1));
  EXPECT_EQ(Blamed(MakePage(101, 100, "", "q", 1)), "page");
  EXPECT_EQ(Blamed(MakePage(1'000'000, 100, "", "q", 1)), "page");
  // The last page of as many as are counted.
  EXPECT_TRUE(MakePage(334, 30, "", "q", 1));
  EXPECT_EQ(Blamed(MakePage(335, 30, "", "q", 1)), "page");
}

TEST(Cursors, HoldTheValuesTheyWereMadeOf) {
  const std::vector<std::string> values{"", "Lamp \"Ä\" \\", "-17"};
  const std::string cursor = MakeCursor(*MakePage({}, {}, "", "q", 3), values);
  const Result<Page> page = MakePage({}, 5, cursor, "q", 3);
  ASSERT_TRUE(page);
  EXPECT_EQ(page->after, values);
  EXPECT_TRUE(page->by_cursor());
  EXPECT_EQ(page->offset(), 0);
  EXPECT_EQ(
      cursor.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"),
      std::string::npos);
}

TEST(Cursors, AreOfUseForTheirQueryAlone) {
  const std::string cursor = MakeCursor(*MakePage({}, {}, "", "q", 1), {"1"});
  EXPECT_EQ(Blamed(MakePage({}, {}, cursor, "other", 1)), "cursor");
  EXPECT_EQ(Blamed(MakePage({}, {}, cursor, "q", 2)), "cursor");
  EXPECT_EQ(Blamed(MakePage(2, {}, cursor, "q", 1)), "page");
}

TEST(Cursors, WhatIsNoneIsRefused) {
  const std::string cursor = MakeCursor(*MakePage({}, {}, "", "q", 2), {"1", "2"});
  for (size_t length = 1; length + 1 < cursor.size(); ++length) {
    const Result<Page> page = MakePage({}, {}, cursor.substr(0, length), "q", 2);
    EXPECT_TRUE(!page || page->after.size() == 2) << length;
  }
  for (const char* text : {"x", "!", "bm9uZQ", "    ", "%00"}) {
    EXPECT_EQ(Blamed(MakePage({}, {}, text, "q", 2)), "cursor") << text;
  }
}

TEST(Cursors, NumbersInThemAreReadWhole) {
  EXPECT_EQ(CursorNumber("-42"), -42);
  EXPECT_EQ(CursorNumber("9223372036854775807"), INT64_MAX);
  for (const char* text : {"", "4x", " 4", "9223372036854775808", "1e3", "+1"}) {
    EXPECT_EQ(CursorNumber(text), std::nullopt) << text;
  }
}

TEST(Totals, AreKnownWithoutCountingWhereTheListEnds) {
  const Page page = *MakePage(3, 10, "", "q", 1);
  EXPECT_EQ(page.TotalFrom(11), std::nullopt);
  EXPECT_EQ(page.TotalFrom(10), 30);
  EXPECT_EQ(page.TotalFrom(4), 24);
  EXPECT_EQ(page.TotalFrom(0), std::nullopt);
  EXPECT_EQ(MakePage(1, 10, "", "q", 1)->TotalFrom(0), 0);
}

}  // namespace
}  // namespace shop
