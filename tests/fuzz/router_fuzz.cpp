// Routes and requests of any kind: gateway/routing/router.h against a matcher that tries everything.
//
// A line of the input that begins with + adds a route ("+GET /a/{b}"), any other is a request.
#include <cstdint>
#include <stdexcept>
#include <utility>

#include "gateway/routing/router.h"
#include "property.h"

namespace {

using shop::fuzz::Require;
using shop::gateway::Encoded;
using shop::gateway::PercentDecode;
using shop::gateway::Router;
using Strings = std::vector<std::string>;

// The parts between `separator`s; one more than there are of them.
Strings Split(std::string_view text, char separator) {
  Strings parts;
  for (;;) {
    const size_t at = text.find(separator);
    parts.emplace_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

// A template the router has taken, the slow way.
struct Naive {
  std::string method;
  Strings segments;  // literals, * and **
  std::string verb;
  // Of each variable its first segment and the one after its last.
  std::vector<std::pair<size_t, size_t>> variables;

  Naive(std::string_view method, std::string_view path_template) : method(method) {
    size_t open = 0;
    std::string segment;
    bool in_name = false;
    bool in_variable = false;
    bool in_verb = false;
    for (const char c : path_template.substr(1)) {
      if (in_verb) {
        verb += c;
      } else if (c == '{') {
        in_name = in_variable = true;
        open = segments.size();
        segment = "*";
      } else if (c == '}') {
        in_name = in_variable = false;
        variables.emplace_back(open, segments.size() + 1);
      } else if (in_name) {
        if (c == '=') {
          in_name = false;
          segment.clear();
        }
      } else if (c == '/') {
        segments.push_back(std::exchange(segment, {}));
      } else if (c == ':' && !in_variable) {
        in_verb = true;
      } else {
        segment += c;
      }
    }
    segments.push_back(segment);
    for (std::string& literal : segments) literal = *PercentDecode(literal, Encoded::kSegment);
    verb = *PercentDecode(verb, Encoded::kSegment);
  }

  // 0 a literal, 1 *, 2 **.
  int Kind(size_t i) const { return segments[i] == "**" ? 2 : segments[i] == "*" ? 1 : 0; }

  // The values of the variables where the request's segments match, which are given as they came.
  bool Match(Strings raw, Strings* values) const {
    if (!verb.empty()) {
      if (raw.empty()) return false;
      const size_t colon = raw.back().rfind(':');
      if (colon == std::string::npos) return false;
      if (PercentDecode(raw.back().substr(colon + 1), Encoded::kSegment) != verb) return false;
      raw.back().resize(colon);
    }
    Strings request;
    for (const std::string& segment : raw) {
      if (segment.empty()) return false;
      request.push_back(*PercentDecode(segment, Encoded::kSegment));
    }
    const bool open = Kind(segments.size() - 1) == 2;
    const size_t fixed = segments.size() - (open ? 1 : 0);
    if (request.size() < fixed || (!open && request.size() > fixed)) return false;
    for (size_t i = 0; i < fixed; ++i) {
      if (Kind(i) == 0 && segments[i] != request[i]) return false;
    }
    for (const auto& [first, end] : variables) {
      if (end == first + 1 && Kind(first) != 2) {
        values->push_back(request[first]);
        continue;
      }
      std::string value;
      const size_t last = Kind(end - 1) == 2 ? request.size() : end;
      for (size_t i = first; i < last; ++i) value += (i > first ? "/" : "") + raw[i];
      values->push_back(*PercentDecode(value, Encoded::kSegments));
    }
    return true;
  }

  // Whether this one is more special than `other`.
  bool Beats(const Naive& other) const {
    if (verb.empty() != other.verb.empty()) return other.verb.empty();
    for (size_t i = 0; i < segments.size() && i < other.segments.size(); ++i) {
      if (Kind(i) != other.Kind(i)) return Kind(i) < other.Kind(i);
    }
    return segments.size() > other.segments.size();
  }
};

void Check(const Router& router, const std::vector<Naive>& routes, const std::string& method,
           const std::string& path) {
  const Router::Found found = router.Find(method, path);
  if (!path.starts_with('/')) return Require(!found.route, "a path begins with a slash", path);
  Strings request;
  for (const std::string& segment : Split(std::string_view(path).substr(1), '/')) {
    if (!PercentDecode(segment, Encoded::kSegment)) {
      return Require(found.malformed, "bad percent-encoding is malformed", path);
    }
    request.push_back(segment);
  }
  Require(!found.malformed, "good percent-encoding is not malformed", path);
  if (path.ends_with('/')) request.pop_back();

  const Naive* best = nullptr;
  Strings values;
  Strings allowed;
  for (const Naive& route : routes) {
    Strings of_route;
    if (!route.Match(request, &of_route)) continue;
    allowed.push_back(route.method);
    const auto rank = [&](const Naive& one) {
      return one.method == method ? 2 : method == "HEAD" && one.method == "GET" ? 1 : 0;
    };
    if (rank(route) == 0) continue;
    if (best == nullptr || rank(route) > rank(*best) ||
        (rank(route) == rank(*best) && route.Beats(*best))) {
      best = &route;
      values = of_route;
    }
  }
  Require(found.route.has_value() == (best != nullptr), "the router finds what there is", path);
  if (best != nullptr) {
    Require(*found.route == static_cast<size_t>(best - routes.data()), "the most special wins",
            path);
    Require(found.values == values, "the variables have their values", path);
    return;
  }
  const Strings listed = found.allow.empty() ? Strings() : Split(found.allow, ',');
  for (const std::string& one : allowed) {
    bool there = false;
    for (const std::string& other : listed) there |= other == one || other == " " + one;
    Require(there, "Allow names each method of the path", found.allow + " lacks " + one);
  }
  Require(allowed.empty() == listed.empty(), "Allow is of this path", path);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Router router;
  std::vector<Naive> routes;
  for (std::string line :
       Split(std::string_view(reinterpret_cast<const char*>(data), size), '\n')) {
    const bool add = line.starts_with('+');
    if (add) line.erase(0, 1);
    const size_t space = std::min(line.find(' '), line.size());
    const std::string method = line.substr(0, space);
    const std::string rest = space < line.size() ? line.substr(space + 1) : "";
    if (!add) {
      Check(router, routes, method, rest);
      continue;
    }
    if (method.empty() || method.find(',') != std::string::npos) continue;
    try {
      const size_t number = router.Add(method, rest);
      Require(number == routes.size(), "routes are counted", rest);
    } catch (const std::logic_error&) {  // malformed, or there already
      continue;
    }
    routes.emplace_back(method, rest);
    Require(router.variables(routes.size() - 1).size() == routes.back().variables.size(),
            "a template has the variables it shows", rest);
  }
  return 0;
}
