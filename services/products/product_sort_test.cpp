#include "products/product_sort.h"

#include <gmock/gmock.h>

namespace shop::products {
namespace {

using ::testing::ElementsAre;

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

TEST(ParseSort, TheIdGoesTheWayOfTheKeyBefore) {
  EXPECT_THAT(*ParseSort("name,-price"),
              ElementsAre(SortKey{SortField::kName}, SortKey{SortField::kPrice, true},
                          SortKey{SortField::kId, true}));
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
