// Which route an HTTP request takes: the path templates of google.api.http
// (/api/v1/orders/{id}, /v1/{name=shelves/*/books/**}:archive).
//
// Where several templates match a path, one with a verb wins, then literal segments over `*`, and
// `*` over `**`, from left to right: /products/search is never taken for /products/{id}. Segments
// are percent-decoded before they are compared, verbs are what follows a colon that is not encoded;
// the value of a variable of one segment is decoded whole, %2F in one of several stays as it is.
// One slash at the end makes no difference; an empty segment matches nothing.
//
// Built once at the start, then read from any thread.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace shop::gateway {

class Router {
 public:
  // Adds a route and answers its number, counted from 0. Throws std::invalid_argument when the
  // template is malformed, std::logic_error when another route takes just the same requests.
  size_t Add(std::string_view method, std::string_view path_template);

  // Field paths of the template's variables, in its order.
  const std::vector<std::string>& variables(size_t route) const;

  struct Found {
    std::optional<size_t> route;
    std::vector<std::string> values;  // of the variables, decoded
    std::string allow;                // without a route: the methods that the path has, or ""
    bool malformed = false;           // the path is not percent-encoded properly
  };
  // `target` is a path without query. HEAD takes the route of GET unless it has its own.
  Found Find(std::string_view method, std::string_view target) const;

 private:
  enum class Kind { kLiteral, kAny, kRest };
  struct Segment {
    Kind kind;
    std::string literal;
  };
  struct Variable {
    size_t first;
    size_t count;
  };
  struct Route {
    size_t number;
    std::string method;
    std::vector<Segment> segments;
    std::string verb;  // without its colon
    std::vector<Variable> variables;
  };

  // The path of a request, taken apart.
  struct Path {
    // Of a path without its first slash. False when it is not percent-encoded properly.
    bool Split(std::string_view path);

    std::vector<std::string_view> raw;    // the segments as they were sent
    std::vector<std::string_view> plain;  // decoded
    std::string_view raw_stem;            // the last one, when it has a colon: what is before it,
    std::string_view stem;                // decoded,
    std::string_view verb;                // and what is after it
    std::vector<std::string> decoded;     // what the views of encoded parts look at
  };

  static Route Parse(std::string_view path_template, std::vector<std::string>* names);
  static bool Before(const Route& a, const Route& b);
  static bool Matches(const Route& route, const Path& path);
  static std::string ValueOf(const Variable& variable, const Route& route, const Path& path);

  std::vector<Route> routes_;  // the first that matches wins
  std::vector<std::vector<std::string>> variables_;
};

enum class Encoded {
  kSegment,   // one segment of a path
  kSegments,  // several: %2F is not one of the slashes between them, and stays as it is
  kForm,      // a query: + is a space
};

// Decodes %41; nothing when it is malformed.
std::optional<std::string> PercentDecode(std::string_view text, Encoded as);

}  // namespace shop::gateway
