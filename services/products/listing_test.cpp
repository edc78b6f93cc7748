#include "products/listing.h"

#include <gmock/gmock.h>

namespace shop::products {
namespace {

using ::testing::ElementsAre;

TEST(Page, WhatIsLeftOutIsTheFirstTwenty) {
  const Page page = Page::Of({}, {});
  EXPECT_EQ(page.number, 1);
  EXPECT_EQ(page.limit, 20);
  EXPECT_EQ(page.offset(), 0);
}

TEST(Page, AFarPageDoesNotOverflow) {
  EXPECT_EQ(Page::Of(1'000'000, 100).offset(), 99'999'900);
  EXPECT_EQ(Page::Of(2'000'000'000, 100).offset(), 199'999'999'900);
}

TEST(Page, TheLastPageMayBePartlyFilled) {
  const Page page = Page::Of(1, 20);
  EXPECT_EQ(page.pages(0), 0);
  EXPECT_EQ(page.pages(1), 1);
  EXPECT_EQ(page.pages(20), 1);
  EXPECT_EQ(page.pages(21), 2);
}

TEST(ParseSort, NothingIsByTheId) {
  EXPECT_THAT(*ParseSort(""), ElementsAre(SortKey{SortField::kId}));
}

TEST(ParseSort, KeysKeepTheirOrderAndEndInTheId) {
  EXPECT_THAT(*ParseSort("-price,name"),
              ElementsAre(SortKey{SortField::kPrice, true}, SortKey{SortField::kName},
                          SortKey{SortField::kId}));
  EXPECT_THAT(*ParseSort("createdAt,-id"),
              ElementsAre(SortKey{SortField::kCreatedAt}, SortKey{SortField::kId, true}));
}

TEST(ParseSort, WhatIsNoNameIsRefusedAsFieldSort) {
  for (const char* text : {"colour", "Price", "--price", "-", ",", "price,", ",price", "price name",
                           "price;DROP TABLE products", "created_at", "price,-price"}) {
    const auto keys = ParseSort(text);
    ASSERT_FALSE(keys) << text;
    EXPECT_EQ(keys.refusal().code, Code::kInvalidArgument);
    EXPECT_EQ(keys.refusal().details.at(0).field, "sort");
  }
}

}  // namespace
}  // namespace shop::products
