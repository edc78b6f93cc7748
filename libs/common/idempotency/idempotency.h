// Idempotency keys: a request that a client sends again under the same Idempotency-Key takes effect
// once, and every repeat gets the bytes of the first answer, whatever has become of the thing since.
//
//   Result<v1::Order> OrdersService::CancelOrder(const Call& call, const v1::CancelOrderRequest& request) {
//     return idempotency::Once(db_, call, request, [&](idempotency::Attempt& attempt) -> Result<v1::Order> {
//       …  // ask other services, refuse
//       return attempt.InTransaction([&](postgres::Tx& tx) -> Result<v1::Order> {
//         …  // the effect; commits together with its answer under the key
//       });
//     });
//   }
//
// The key is the request's string field that is filled by the header Idempotency-Key (option `header`
// of shop/api/v1/options.proto). Without one, Once runs the handler and remembers nothing. Keys belong
// to a user (Caller::user_id) and to the service, for all of its methods; two methods with keys must
// not have one request type, as that is how they are told apart.
//
// What becomes of a request with a key:
//   a repeat                     the first answer, and Call::replayed is set
//   another request              INVALID_ARGUMENT, reason IDEMPOTENCY_KEY_REUSED
//   the first one still runs     waits for its transaction up to two seconds, then replays its answer, or
//                                takes effect where it was rolled back. After that: ABORTED, try again
//   it was refused               nothing was done, and the key is free, also for another request. But a
//                                request that began before that refusal was answered takes no effect after
//                                it (ABORTED): who reads a refusal may ask anew under another key
//   it was refused, while the same request has taken effect meanwhile
//                                the answer of that request, and not the refusal, whose reason may come
//                                from that very effect
//   the process dies             the effect, its answer and the key are one transaction: all or nothing
//   after a day                  the key is forgotten (sweeper.h), and free
//
// Needs the table of kIdempotencyMigrations ("idempotency_migrations.h").
#pragma once

#include <google/protobuf/message.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "common/core/result.h"
#include "common/postgres/pool.h"
#include "common/rpc/call.h"

namespace shop::idempotency {

// Equal for requests that may share a key: the hex SHA-256 of the request without its key.
std::string Fingerprint(const google::protobuf::Message& request);

// INVALID_ARGUMENT: the key was used with another request.
Refusal KeyReused();
// ABORTED: nothing was done because of another request with the key; the client may try again.
Refusal KeyBusy();

// One attempt to answer a request, with its key or without one. Used by one thread at a time.
class Attempt {
 public:
  // Throws std::logic_error when the request's type has no field for the key.
  Attempt(postgres::Pool& db, const Call& call, const google::protobuf::Message& request);
  Attempt(const Attempt&) = delete;
  Attempt& operator=(const Attempt&) = delete;

  // Empty without a key.
  const std::string& key() const { return key_; }
  const std::string& fingerprint() const { return fingerprint_; }

  // postgres::InTransaction for the effect, `Result<Response> effect(Tx&)`: takes the key first, and
  // keeps the answer under it in the same transaction. Where another request has used the key
  // meanwhile, `effect` does not run. May be called again after a refusal; nothing that a client
  // could notice may come after a success. Like postgres::InTransaction it may run `effect` again.
  template <typename Effect>
  std::invoke_result_t<Effect&, postgres::Tx&> InTransaction(Effect&& effect) {
    using Answer = std::invoke_result_t<Effect&, postgres::Tx&>;
    return postgres::InTransaction(db_, [&](postgres::Tx& tx) -> Answer {
      typename Answer::Value earlier;
      const Result<Use> use = Claim(tx, &earlier);
      if (!use) return use.refusal();
      if (*use == Use::kReplayed) return earlier;
      Answer answer = effect(tx);
      if (answer) Keep(tx, *answer);
      return answer;
    });
  }

  // For several requests that share a transaction, in the place of each one's InTransaction. ClaimTogether takes
  // their keys and says of each whether it may take effect in this transaction; KeepTogether keeps the answers of
  // those that have. One that may not (its key has an answer, a request with it was refused meanwhile, or an earlier
  // one in `attempts` has the same) goes on to its own InTransaction once this transaction has ended, and so do all
  // where it is rolled back. A key that is claimed and gets no answer stays free. No key is waited for long:
  // pqxx::sql_error (lock_not_available) where another transaction has one, and the rest of this transaction
  // waits no longer for any other lock.
  static std::vector<bool> ClaimTogether(postgres::Tx& tx, const std::vector<Attempt*>& attempts);
  static void KeepTogether(
      postgres::Tx& tx,
      const std::vector<std::pair<Attempt*, const google::protobuf::Message*>>& answers);

 private:
  template <typename Handler>
  friend std::invoke_result_t<Handler&, Attempt&> Once(postgres::Pool& db, const Call& call,
                                                       const google::protobuf::Message& request,
                                                       Handler&& handler);

  enum class Use { kFree, kReplayed };

  // Fills `earlier` with the answer that is kept under the key, if there is one; refuses when that
  // is another request's.
  Result<Use> LookUp(google::protobuf::Message* earlier);
  Result<Use> Claim(postgres::Tx& tx, google::protobuf::Message* earlier);
  // The keys that are claimed. Both times are values of lock_timeout.
  static pqxx::result ClaimKeys(postgres::Tx& tx, const std::vector<Attempt*>& attempts,
                                const char* patience, const char* patience_afterwards);
  void Keep(postgres::Tx& tx, const google::protobuf::Message& answer);
  // Before a refusal is answered: remembers it, so that requests that began earlier take no effect.
  // Or the answer of a request that has taken effect meanwhile.
  Result<Use> Refuse(google::protobuf::Message* earlier);
  Result<Use> Replay(const pqxx::row& row, google::protobuf::Message* earlier);
  int64_t UserId() const { return call_.caller.user_id; }

  postgres::Pool& db_;
  const Call& call_;
  std::string key_;
  std::string request_type_;
  std::string fingerprint_;
  int64_t refusals_seen_ = 0;
  bool kept_ = false;     // the answer, or it was kept before
  bool decided_ = false;  // the refusal is about the key itself
};

// Answers a request once: see above. `handler` is called with the Attempt, unless the key has an
// answer already, and its success must come from Attempt::InTransaction (else std::logic_error).
template <typename Handler>
std::invoke_result_t<Handler&, Attempt&> Once(postgres::Pool& db, const Call& call,
                                              const google::protobuf::Message& request,
                                              Handler&& handler) {
  using Answer = std::invoke_result_t<Handler&, Attempt&>;
  using Use = Attempt::Use;
  Attempt attempt(db, call, request);
  if (attempt.key().empty()) return handler(attempt);

  typename Answer::Value earlier;
  const Result<Use> found = attempt.LookUp(&earlier);
  if (!found) return found.refusal();
  if (*found == Use::kReplayed) return earlier;

  Answer answer = handler(attempt);
  if (answer) {
    if (!attempt.kept_) throw std::logic_error("an answer was not kept under its Idempotency-Key");
    return answer;
  }
  if (attempt.decided_) return answer;
  const Result<Use> refused = attempt.Refuse(&earlier);
  if (!refused) return refused.refusal();
  if (*refused == Use::kReplayed) return earlier;
  return answer;
}

}  // namespace shop::idempotency
