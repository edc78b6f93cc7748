// One run: goes through all orders, products and events, some at a time, and finds what its sides
// contradict each other about (drift.h); looks at that again after a pause, and reports what is
// still the same.
//
// What differs at one moment is no drift: services follow each other through events. What was found
// is drift when
//   - it is there at both looks, and none of the rows it is about has changed in between, and
//   - where events could still resolve it (MayBeUnderWay), no event of that order is unpublished
//     or waits to be tried again, and all groups have consumed what was on the topics at the second
//     look. While a group is behind, that cannot be said: it is counted as undecided.
// What an order says of its own, such as a gap in its timeline, and what the provider says of a
// payment that waits for nothing from it, is drift after the second look alone.
//
// Memory: a batch of orders, 8 bytes for each payment that the provider knows, 8 for each event of
// the topics in the window (kMostRecords at most, else the window is made shorter) and 8 for each
// event in the outbox of orders, and what was found, kMostFound at most: then the run goes no further,
// and says so.
#pragma once

#include <chrono>
#include <cstdint>
#include <stop_token>
#include <string>
#include <vector>

#include "reconciler/databases.h"
#include "reconciler/drift.h"
#include "reconciler/ledger.h"
#include "reconciler/topics.h"

namespace shop::reconciler {

inline constexpr int64_t kMostRecords = 4'000'000;
inline constexpr size_t kMostFound = 20'000;

struct Options {
  std::chrono::milliseconds settle{3'000};     // between the two looks
  std::chrono::milliseconds patience{30'000};  // for the groups to have consumed
  int64_t outbox_seconds = 60;                 // how long an event may wait to be published
  int64_t window_seconds = 24 * 3600;          // how far back topics are read
  int batch = 1000;
};

struct Report {
  Drifts drifts;
  // What could be drift and could not be decided, and why; empty: there is none.
  int64_t undecided = 0;
  std::string why_undecided;
  // How much was compared.
  int64_t orders = 0;
  int64_t products = 0;
  int64_t events = 0;
};

class Reconciler {
 public:
  // All of them must outlive it.
  Reconciler(Databases& databases, Ledger& ledger, Topics& topics, const Options& options)
      : databases_(databases), ledger_(ledger), topics_(topics), options_(options) {}

  // Throws Unreadable, which names what cannot be read. A stop ends it so, too.
  Report Run(const std::stop_token& stop = {});

 private:
  Databases& databases_;
  Ledger& ledger_;
  Topics& topics_;
  const Options options_;
};

}  // namespace shop::reconciler
