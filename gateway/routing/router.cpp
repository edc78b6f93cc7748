#include "gateway/routing/router.h"

#include <algorithm>
#include <boost/algorithm/string/join.hpp>
#include <charconv>
#include <stdexcept>

#include "gateway/http/message.h"

namespace shop::gateway {
namespace {

[[noreturn]] void Malformed(std::string_view path_template, const char* why) {
  throw std::invalid_argument("path template " + std::string(path_template) + ": " + why);
}

}  // namespace

std::optional<std::string> PercentDecode(std::string_view text, Encoded as) {
  std::string decoded;
  decoded.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+' && as == Encoded::kForm) {
      decoded += ' ';
    } else if (text[i] != '%') {
      decoded += text[i];
    } else {
      if (i + 2 >= text.size()) return std::nullopt;
      const char* digits = text.data() + i + 1;
      unsigned code = 0;
      if (std::from_chars(digits, digits + 2, code, 16).ptr != digits + 2) return std::nullopt;
      const char c = static_cast<char>(code);
      if (c == '/' && as == Encoded::kSegments) {
        decoded += text.substr(i, 3);
      } else {
        decoded += c;
      }
      i += 2;
    }
  }
  return decoded;
}

// Template  = "/" Segments [ ":" Verb ]
// Segments  = Segment { "/" Segment }
// Segment   = "*" | "**" | LITERAL | "{" FieldPath [ "=" Segments ] "}"
Router::Route Router::Parse(std::string_view path_template, std::vector<std::string>* names) {
  Route route{};
  std::string_view rest = path_template;
  bool in_variable = false;
  const auto take = [&rest](char c) {
    if (rest.empty() || rest.front() != c) return false;
    rest.remove_prefix(1);
    return true;
  };
  const auto take_until = [&rest](const char* ends) {
    const size_t length = std::min(rest.find_first_of(ends), rest.size());
    const std::string_view taken = rest.substr(0, length);
    rest.remove_prefix(length);
    return taken;
  };
  const auto literal = [path_template](std::string_view text) {
    std::optional<std::string> plain = PercentDecode(text, Encoded::kSegment);
    if (!plain) Malformed(path_template, "is not percent-encoded properly");
    return *std::move(plain);
  };
  const auto add = [&](std::string_view text) {
    if (text.empty()) Malformed(path_template, "has an empty segment");
    if (!route.segments.empty() && route.segments.back().kind == Kind::kRest) {
      Malformed(path_template, "goes on after **");
    }
    if (text == "*" || text == "**") {
      route.segments.push_back({text == "*" ? Kind::kAny : Kind::kRest, {}});
    } else if (text.find('*') != std::string_view::npos) {
      Malformed(path_template, "has a * that is not a whole segment");
    } else {
      route.segments.push_back({Kind::kLiteral, literal(text)});
    }
  };
  if (!take('/')) Malformed(path_template, "does not begin with a slash");
  do {
    if (take('{')) {
      if (in_variable) Malformed(path_template, "has a variable in a variable");
      in_variable = true;
      names->emplace_back(take_until("=}/"));
      if (names->back().empty()) Malformed(path_template, "has a variable without a name");
      route.variables.push_back({route.segments.size(), 0});
      if (rest.starts_with('/')) Malformed(path_template, "has a slash in a variable's name");
      add(take('=') ? take_until("/:{}") : std::string_view("*"));
    } else {
      add(take_until("/:{}"));
    }
    if (take('}')) {
      if (!in_variable) Malformed(path_template, "closes what is not open");
      in_variable = false;
      route.variables.back().count = route.segments.size() - route.variables.back().first;
    }
  } while (take('/'));
  if (in_variable) Malformed(path_template, "does not close its variable");
  if (take(':')) {
    route.verb = literal(take_until("/:{}*"));
    if (route.verb.empty()) Malformed(path_template, "has an empty verb");
  }
  if (!rest.empty()) Malformed(path_template, "has something after its end");
  return route;
}

bool Router::Before(const Route& a, const Route& b) {
  // A verb is also what a * would match.
  if (a.verb.empty() != b.verb.empty()) return b.verb.empty();
  const size_t common = std::min(a.segments.size(), b.segments.size());
  for (size_t i = 0; i < common; ++i) {
    if (a.segments[i].kind != b.segments[i].kind) return a.segments[i].kind < b.segments[i].kind;
  }
  return a.segments.size() > b.segments.size();
}

size_t Router::Add(std::string_view method, std::string_view path_template) {
  std::vector<std::string> names;
  Route route = Parse(path_template, &names);
  route.number = variables_.size();
  route.method = method;
  const auto same_segment = [](const Segment& a, const Segment& b) {
    return a.kind == b.kind && a.literal == b.literal;
  };
  for (const Route& other : routes_) {
    if (other.method == route.method && other.verb == route.verb &&
        std::equal(other.segments.begin(), other.segments.end(), route.segments.begin(),
                   route.segments.end(), same_segment)) {
      throw std::logic_error(std::string(method) + " " + std::string(path_template) +
                             " is declared twice");
    }
  }
  variables_.push_back(std::move(names));
  routes_.insert(std::upper_bound(routes_.begin(), routes_.end(), route, Before), route);
  return route.number;
}

const std::vector<std::string>& Router::variables(size_t route) const {
  return variables_[route];
}

bool Router::Matches(const Route& route, const Path& path) {
  const bool open = route.segments.back().kind == Kind::kRest;
  const size_t fixed = route.segments.size() - (open ? 1 : 0);
  const size_t count = path.plain.size();
  if (open ? count < fixed : count != fixed) return false;
  if (!route.verb.empty() && route.verb != path.verb) return false;
  for (size_t i = 0; i < count; ++i) {
    const bool stem = i + 1 == count && !route.verb.empty();
    const std::string_view segment = stem ? path.stem : path.plain[i];
    if (segment.empty()) return false;
    if (i < fixed && route.segments[i].kind == Kind::kLiteral &&
        route.segments[i].literal != segment) {
      return false;
    }
  }
  return true;
}

bool Router::Path::Split(std::string_view path) {
  if (path.empty()) return true;
  if (path.ends_with('/')) path.remove_suffix(1);
  plain = raw = gateway::Split(path, '/');
  // An encoded colon is a part of the segment.
  if (const size_t colon = raw.back().rfind(':'); colon != std::string_view::npos) {
    raw_stem = stem = raw.back().substr(0, colon);
    verb = raw.back().substr(colon + 1);
  }
  if (path.find('%') == std::string_view::npos) return true;
  decoded.reserve(plain.size() + 2);
  const auto decode = [this](std::string_view* text) {
    if (text->find('%') == std::string_view::npos) return true;
    std::optional<std::string> made = PercentDecode(*text, Encoded::kSegment);
    if (!made) return false;
    *text = decoded.emplace_back(*std::move(made));
    return true;
  };
  return std::ranges::all_of(plain, [&](std::string_view& segment) { return decode(&segment); }) &&
         decode(&stem) && decode(&verb);
}

std::string Router::ValueOf(const Variable& variable, const Route& route, const Path& path) {
  const bool open = route.segments[variable.first + variable.count - 1].kind == Kind::kRest;
  const bool single = variable.count == 1 && !open;
  const size_t end = open ? path.raw.size() : variable.first + variable.count;
  const auto segment = [&](size_t i, const auto& segments, std::string_view stem) {
    return i + 1 == segments.size() && !route.verb.empty() ? stem : segments[i];
  };
  if (single) return std::string(segment(variable.first, path.plain, path.stem));
  std::string value;
  for (size_t i = variable.first; i < end; ++i) {
    if (i > variable.first) value += '/';
    value += segment(i, path.raw, path.raw_stem);
  }
  if (path.decoded.empty()) return value;
  return *PercentDecode(value, Encoded::kSegments);
}

Router::Found Router::Find(std::string_view method, std::string_view target) const {
  Found found;
  if (!target.starts_with('/')) return found;
  Path path;
  if (!path.Split(target.substr(1))) {
    found.malformed = true;
    return found;
  }

  const Route* taken = nullptr;
  std::vector<std::string> allowed;
  const auto allow = [&allowed](const std::string& name) {
    if (std::ranges::find(allowed, name) == allowed.end()) allowed.push_back(name);
  };
  for (const Route& route : routes_) {
    if (!Matches(route, path)) continue;
    if (route.method == method) {
      taken = &route;
      break;
    }
    if (taken == nullptr && method == "HEAD" && route.method == "GET") taken = &route;
    allow(route.method);
    if (route.method == "GET") allow("HEAD");
  }
  if (taken == nullptr) {
    if (!allowed.empty()) allow("OPTIONS");
    found.allow = boost::algorithm::join(allowed, ", ");
    return found;
  }
  found.route = taken->number;
  for (const Variable& variable : taken->variables) {
    found.values.push_back(ValueOf(variable, *taken, path));
  }
  return found;
}

}  // namespace shop::gateway
