// A report as people and Prometheus read it.
#pragma once

#include <chrono>
#include <ostream>
#include <set>
#include <string>
#include <utility>

#include "reconciler/reconciler.h"

namespace shop::reconciler {

// The table of all drift, a line each: kind, what it is about, what each side says; then how much was
// compared, and what could not be decided.
void PrintTable(const Report& report, std::ostream& out);

// What a program that has run once ends with: 1 for drift, 2 for what could not be decided, else 0.
int ExitCodeOf(const Report& report);

// The metrics, and a line of the log for each drift that the report before did not have.
class Reporter {
 public:
  // All kinds are there from the start, at 0.
  Reporter();

  void Tell(const Report& report, std::chrono::duration<double> took);
  // The gauges keep what the last whole run has found.
  void TellUnreadable(const std::string& why);

 private:
  std::set<std::pair<Kind, std::string>> told_;
};

}  // namespace shop::reconciler
