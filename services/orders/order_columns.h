// How columns of this service's tables become messages, for its two stores.
#pragma once

#include <google/protobuf/generated_enum_reflection.h>

#include <cstdint>
#include <stdexcept>
#include <string>

#include "common/json/codec.h"
#include "common/postgres/pool.h"
#include "shop/orders/v1/orders.pb.h"

namespace shop::orders {

// An enum's text in the database is the name of its value without the prefix.
template <typename Enum>
std::string EnumText(Enum value) {
  const auto* type = google::protobuf::GetEnumDescriptor<Enum>();
  return std::string(json::BareName(type->FindValueByNumber(value)));
}

// The reverse. std::runtime_error for another text.
template <typename Enum>
Enum ParseEnum(const std::string& text) {
  const auto* type = google::protobuf::GetEnumDescriptor<Enum>();
  for (int i = 0; i < type->value_count(); ++i) {
    if (json::BareName(type->value(i)) == text) return static_cast<Enum>(type->value(i)->number());
  }
  throw std::runtime_error("a column holds the unknown " + type->name() + " " + text);
}

// Reads product_id, name, quantity and unit_price.
inline v1::OrderItem ReadItem(const pqxx::row& row) {
  v1::OrderItem item;
  item.set_product_id(row["product_id"].as<int64_t>());
  item.set_name(row["name"].as<std::string>());
  item.set_quantity(row["quantity"].as<int64_t>());
  item.set_unit_price(row["unit_price"].as<int64_t>());
  item.set_total_price(item.quantity() * item.unit_price());
  return item;
}

}  // namespace shop::orders
