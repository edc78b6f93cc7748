// Rows of the table `products` as messages: what the statements of the stores have in common.
#pragma once

#include "common/core/paging.h"
#include "common/postgres/pool.h"
#include "shop/products/v1/products.pb.h"

// The columns that ToProduct reads, in its order; `description` and `images` are those columns or a part
// of them.
#define SHOP_PRODUCT_COLUMNS_WITH(description, images)                                \
  "id, name, " description ", price, on_hand - reserved AS stock, seller_id, " images \
  ", category, (date_part('epoch', created_at) * 1000000)::bigint AS created_at,"     \
  " (date_part('epoch', updated_at) * 1000000)::bigint AS updated_at, version,"       \
  " stock_version"
#define SHOP_PRODUCT_COLUMNS SHOP_PRODUCT_COLUMNS_WITH("description", "images")
// What a list shows of each, so that a page of a hundred stays short: the beginning of the description and
// the first image.
#define SHOP_LISTED_PRODUCT_COLUMNS                                  \
  SHOP_PRODUCT_COLUMNS_WITH("left(description, 200) AS description", \
                            "jsonb_path_query_array(images, '$[0]') AS images")

namespace shop::products {

inline constexpr int kProductColumns = 12;

// The product of a row that begins with these columns. Its currency is left empty: no column holds
// it.
v1::Product ToProduct(const pqxx::row& row);

// Adds those of the rows that the page holds: one more may have been read, to see whether there is
// a next page.
void AddItems(const pqxx::result& rows, const Page& page, v1::ListProductsResponse* response);

}  // namespace shop::products
