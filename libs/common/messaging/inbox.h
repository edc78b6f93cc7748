// What a consumer group does with records, whoever brings them: the part of a Consumer that knows
// PostgreSQL and not Kafka. Thread-safe.
#pragma once

#include <chrono>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "common/messaging/event.h"
#include "common/messaging/handlers.h"

namespace shop::messaging {

struct Record {
  Envelope event;
  int partition = 0;
  int64_t position = 0;
};

// How often an event that a handler refuses is tried, and when.
struct RetryPolicy {
  int attempts = 10;
  // The pause after the first refusal; it doubles with each further one up to the longest.
  std::chrono::milliseconds first_pause{1'000};
  std::chrono::milliseconds longest_pause{300'000};
};

class Inbox {
 public:
  Inbox(postgres::Pool& db, std::string group, Handlers handlers, const RetryPolicy& retry = {});
  ~Inbox();
  Inbox(const Inbox&) = delete;
  Inbox& operator=(const Inbox&) = delete;

  // Handles the first of the records, in their order in one transaction, and answers how many these
  // are: all, or those up to an event that has to be asked for (Handlers::OnAsked) after what comes
  // before it is committed. What is malformed or unknown is held dead, and what belongs to a key
  // with held events is appended to them. A refusal or an exception of any handler comes back, and
  // nothing was kept.
  Result<size_t> Take(const std::vector<const Record*>& records);

  // Keeps a record whose handler refused, for a later try.
  void Hold(const Record& record, const std::string& reason);

  // Tries the held events that are due and first of their key, until told to stop. Whether there
  // were any.
  bool RetryDue(const std::stop_token& stop = {});

  // Forgets what has been seen long ago.
  void ForgetOld(const std::stop_token& stop = {});
  // Sets the gauges of what is held.
  void CountHeld();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shop::messaging
