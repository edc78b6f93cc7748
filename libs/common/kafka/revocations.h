// Hears which sessions have ended, and has their access tokens refused in this process from then on.
//
// Every process that checks access tokens reads all of the topic `sessions`, without a consumer group:
// from as far back as an access token can have been signed, and then whatever comes. A SESSION_REVOKED
// that is read again changes nothing. docs/decisions/0034-revoked-sessions.md has the reasons.
//
// While the brokers are away nothing is heard: then the tokens of a session that ends meanwhile are
// taken until they expire.
//
// Metrics: revoked_sessions, how many are remembered; revoked_sessions_forgotten_total, those that were too
// many; revocations_current, 1 while it hears of them.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "common/auth/access_token.h"
#include "common/core/process.h"
#include "common/kafka/settings.h"

namespace shop::kafka {

class Revocations {
 public:
  // Reads at once, in a thread of its own. `tokens` must outlive this.
  Revocations(const KafkaSettings& kafka, auth::TokenVerifier& tokens,
              std::string topic = "sessions");
  // The same, and the process is not ready before this is. While it is not current the process is
  // degraded.
  Revocations(const KafkaSettings& kafka, auth::TokenVerifier& tokens, Process& process);
  // Takes up to a few seconds while the brokers are away.
  ~Revocations();
  Revocations(const Revocations&) = delete;
  Revocations& operator=(const Revocations&) = delete;

  // Whether everything was read that was on the topic when this started.
  bool caught_up() const;
  // Whether it has caught up, or has tried for ten seconds in vain: a process may start without brokers.
  bool ready() const;
  // Whether it has caught up and the brokers answer.
  bool current() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shop::kafka
