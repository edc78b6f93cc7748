#include "products/product_rows.h"

#include <google/protobuf/util/time_util.h>
#include <simdjson.h>

#include <string>
#include <string_view>

namespace shop::products {
namespace {

using google::protobuf::util::TimeUtil;

void ReadImages(std::string_view json, v1::Product* product) {
  if (json == "[]") return;
  thread_local simdjson::dom::parser parser;
  for (const simdjson::dom::element image : parser.parse(json).get_array()) {
    v1::Image* read = product->add_images();
    read->set_url(std::string(image["url"].get_string().value()));
    read->set_index(static_cast<int32_t>(image["index"].get_int64().value()));
  }
}

}  // namespace

v1::Product ToProduct(const pqxx::row& row) {
  v1::Product product;
  product.set_id(row[0].as<int64_t>());
  product.set_name(row[1].c_str(), row[1].size());
  product.set_description(row[2].c_str(), row[2].size());
  product.set_price(row[3].as<int64_t>());
  product.set_stock(row[4].as<int64_t>());
  if (!row[5].is_null()) product.set_seller_id(row[5].as<int64_t>());
  ReadImages({row[6].c_str(), row[6].size()}, &product);
  if (!row[7].is_null()) product.set_category(row[7].c_str(), row[7].size());
  *product.mutable_created_at() = TimeUtil::MicrosecondsToTimestamp(row[8].as<int64_t>());
  *product.mutable_updated_at() = TimeUtil::MicrosecondsToTimestamp(row[9].as<int64_t>());
  product.set_version(row[10].as<int64_t>());
  product.set_stock_version(row[11].as<int64_t>());
  return product;
}

void AddItems(const pqxx::result& rows, const Page& page, v1::ListProductsResponse* response) {
  for (const pqxx::row& row : rows) {
    if (response->items_size() < page.limit) *response->add_items() = ToProduct(row);
  }
}

}  // namespace shop::products
