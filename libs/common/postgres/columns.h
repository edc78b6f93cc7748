// From rows in memory to parameters and back, a column at a time.
//
// A statement that finds rows of a table that grows by their keys takes these from
//     (SELECT * FROM unnest($1::bigint[], $2::text[]) LIMIT cardinality($1))
// which is all of them: of a LIMIT that it does not know PostgreSQL expects a tenth, here one row in the place of ten, so
// that it looks for each by the index and keeps that plan for any number. For ten rows it would read all of a table that
// is nearly empty, and go on doing so as the table grows, until that is analysed.
#pragma once

#include <functional>
#include <string>
#include <type_traits>
#include <vector>

#include "common/postgres/pool.h"

namespace shop::postgres {

// One value of each element as a parameter (Array in pool.h): Array(items, &Item::id). A value is an
// int64_t, an int or a text.
template <typename Elements, typename Value>
std::string Array(const Elements& elements, const Value& value) {
  using T = std::decay_t<decltype(std::invoke(value, *elements.begin()))>;
  std::vector<std::conditional_t<std::is_integral_v<T>, int64_t, std::string>> values;
  for (const auto& element : elements) values.emplace_back(std::invoke(value, element));
  return Array(values);
}

// The first column of the rows; T is a set or a vector.
template <typename T>
T FirstColumn(const pqxx::result& rows) {
  T values;
  for (const auto& row : rows) {
    values.insert(values.end(), row[0].template as<typename T::value_type>());
  }
  return values;
}

}  // namespace shop::postgres
