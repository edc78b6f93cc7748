// Forgetting a person: what every service does that keeps something of its users, or of whose events
// something may wait in its outbox and its retry queue.
//
//   messaging::Handlers EventHandlers() {
//     return messaging::WithErasure(messaging::Handlers().On<…>(…));   // and the topic `users`
//   }
//   const messaging::ErasureSweeper erasures(db, EraseUser, config.erasures);
//
// USER_DELETED writes a row into deleted_users, and nothing else. A sweep erases, and comes again: for
// what had to stay (an address that the carrier needs) and for what came late (an ORDER_CREATED after the
// USER_DELETED). So it does not matter in which sequence events come, nor where a process dies. Needs the
// tables of kMessagingMigrations.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/core/env.h"
#include "common/messaging/handlers.h"
#include "common/postgres/pool.h"

namespace shop::messaging {

// Adds what every group does with the topic `users`.
Handlers WithErasure(Handlers handlers);

// What is left of a person after an attempt to erase all of it.
enum class Left { kNothing, kSomething };
// Something where a search for it has found rows.
inline Left LeftOf(const pqxx::result& rows) {
  return rows.empty() ? Left::kNothing : Left::kSomething;
}
inline Left operator+(Left one, Left other) {
  return one == Left::kNothing ? other : Left::kSomething;
}

// Erases what a service has of a user and may erase now, in the caller's transaction. It is called again
// and again, so what it has erased before must be cheap to pass over. What it throws is logged, and it is
// tried again later.
using EraseUser = std::function<Left(postgres::Tx&, int64_t user_id)>;

// An EraseUser for the outbox and the retry queue, which every service's own calls: takes addresses,
// reasons and payment tokens out of the user's events (person_of_event in the migration). Events that
// are not published yet stay as they are until they are, and those that are being tried.
Left EraseEvents(postgres::Tx& tx, int64_t user_id);

// An order whose charge is decided, or that will not be charged.
struct DecidedOrder {
  int64_t order_id;
  int64_t user_id;
};
// Takes the payment tokens out of the outbox's events of this type about these orders, whether they have
// left or not: whoever deleted their account or not, nobody keeps a token that has been used.
void ForgetTokens(postgres::Tx& tx, const std::string& type,
                  const std::vector<DecidedOrder>& orders);

// When a deleted user is looked at: at once, then each time that twice as long has passed since the
// deletion, at most `longest_pause` after the last time; after 30 days, when none of their events
// can come any more (retention.h), only as long as something is left.
struct ErasurePace {
  std::chrono::milliseconds longest_pause{std::chrono::hours(1)};
};
// ERASURE_PAUSE_SECONDS.
ErasurePace ReadErasurePace(Env& env);

// Looks at up to `limit` users that are due, each in a transaction of its own; answers how many.
// Replicas may do so at the same time.
int EraseDue(postgres::Pool& db, const EraseUser& erase, const ErasurePace& pace, int limit);

// A thread that does so, about once a second and as soon as a user was deleted.
class ErasureSweeper {
 public:
  // `db` must outlive it.
  ErasureSweeper(postgres::Pool& db, EraseUser erase, const ErasurePace& pace);
  // Ends the waits of what is under way.
  ~ErasureSweeper();
  ErasureSweeper(const ErasureSweeper&) = delete;
  ErasureSweeper& operator=(const ErasureSweeper&) = delete;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shop::messaging
