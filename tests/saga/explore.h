// Breadth-first search through everything that can happen.
//
// A World is a value: a state of the whole system, with
//   std::string Key() const             equal for states that behave alike
//   std::vector<Step<World>> Next() const    what can happen next; empty at rest
// The search visits every state that can be reached, once, nearest first, so the way to the first
// one in which something is wrong is a shortest one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace shop::saga {

template <typename World>
struct Step {
  std::string name;  // what happens, for people
  World after;
  // Whether it happens by itself in the end. What need not happen, such as a cancellation, a crash or
  // a repeat, is no way out of a state.
  bool certain = true;
};

struct Finding {
  std::string wrong;
  std::vector<std::string> way;  // from the start
};

struct Explored {
  size_t states = 0;
  size_t steps = 0;
  size_t ends = 0;  // states at rest
  std::optional<Finding> finding;
};

// `wrong` answers what is wrong with a state, "" for nothing; `at_rest` likewise for one in which
// nothing can happen by itself any more. A state from which no such one can be reached by what is certain to
// happen is wrong too.
template <typename World>
Explored Explore(const World& start, const std::function<std::string(const World&)>& wrong,
                 const std::function<std::string(const World&)>& at_rest) {
  struct Seen {
    size_t from;
    std::string by;
  };
  std::unordered_map<std::string, size_t> numbers{{start.Key(), 0}};
  std::vector<Seen> seen{{0, ""}};
  std::vector<std::vector<uint32_t>> reached_from{{}};  // by certain steps
  std::deque<std::pair<size_t, World>> waiting{{0, start}};
  std::vector<size_t> resting;
  Explored explored;

  const auto finding = [&](size_t number, std::string what) {
    Finding found{std::move(what), {}};
    for (; number != 0; number = seen[number].from) {
      found.way.insert(found.way.begin(), seen[number].by);
    }
    return found;
  };
  while (!waiting.empty()) {
    const auto [number, world] = std::move(waiting.front());
    waiting.pop_front();
    std::string problem = wrong(world);
    bool rests = true;
    for (Step<World>& step : world.Next()) {
      ++explored.steps;
      const auto [place, is_new] = numbers.try_emplace(step.after.Key(), seen.size());
      if (is_new) {
        seen.push_back({number, std::move(step.name)});
        reached_from.emplace_back();
        waiting.emplace_back(place->second, std::move(step.after));
      }
      if (step.certain) {
        rests = false;
        reached_from[place->second].push_back(static_cast<uint32_t>(number));
      }
    }
    if (rests) {
      resting.push_back(number);
      if (problem.empty()) problem = at_rest(world);
    }
    if (!problem.empty()) {
      explored.states = seen.size();
      explored.finding = finding(number, std::move(problem));
      return explored;
    }
  }
  explored.states = seen.size();
  explored.ends = resting.size();

  std::vector<bool> ends(seen.size());
  for (const size_t number : resting) ends[number] = true;
  for (std::vector<size_t> left = resting; !left.empty();) {
    const size_t number = left.back();
    left.pop_back();
    for (const uint32_t before : reached_from[number]) {
      if (ends[before]) continue;
      ends[before] = true;
      left.push_back(before);
    }
  }
  for (size_t number = 0; number < ends.size(); ++number) {
    if (ends[number]) continue;
    explored.finding = finding(number, "no end can be reached from here");
    return explored;
  }
  return explored;
}

}  // namespace shop::saga
