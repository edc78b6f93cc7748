// Runs the reconciler again and again, and tells what it finds (report.h).
#pragma once

#include <chrono>
#include <memory>

#include "reconciler/reconciler.h"

namespace shop::reconciler {

class Schedule {
 public:
  // The first run begins a few seconds after the start, as the services may have to make their tables
  // first; the others `every` so often after the end of the one before, and sooner after one that
  // could not read something. `reconciler` must outlive it.
  Schedule(Reconciler& reconciler, std::chrono::milliseconds every);
  // Ends the run under way.
  ~Schedule();

  // Whether the last run could read everything; true before the first.
  bool healthy() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shop::reconciler
