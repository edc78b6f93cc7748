#include "auth/session_store.h"

#include <google/protobuf/util/time_util.h>

#include <vector>

#include "common/crypto/base64.h"
#include "common/crypto/random.h"
#include "common/crypto/sha256.h"
#include "common/messaging/outbox.h"
#include "common/telemetry/log.h"
#include "shop/events/v1/sessions.pb.h"

namespace shop::auth {
namespace {

using google::protobuf::util::TimeUtil;
using messaging::EventContext;
using postgres::Statement;
using postgres::Tx;

// When its latest access token is expired at every verifier: a minute later, as clocks differ.
#define SHOP_ACCESS_UNTIL(life) "now() + " life " * interval '1 second' + interval '1 minute'"

constexpr Statement kBegin{R"sql(
    INSERT INTO sessions (id, account_id, user_agent, profile_version, expires_at, ends_at,
                          access_until)
    VALUES ($1, $2, $3, $4, now() + least($5::bigint, $6::bigint) * interval '1 second',
            now() + $6 * interval '1 second', )sql" SHOP_ACCESS_UNTIL("$7") ")"};
constexpr Statement kFindOwner{R"sql(
    SELECT account_id FROM refresh_tokens JOIN sessions ON sessions.id = session_id
    WHERE hash = $1)sql"};
constexpr Statement kLock{R"sql(
    SELECT id, expires_at > now(), account_id FROM sessions
    WHERE id = (SELECT session_id FROM refresh_tokens WHERE hash = $1) FOR UPDATE)sql"};
constexpr Statement kFindUse{R"sql(
    SELECT used_at IS NOT NULL, used_at > now() - $2 * interval '1 second', salt
    FROM refresh_tokens WHERE hash = $1)sql"};
constexpr Statement kForgetSalts{
    "UPDATE refresh_tokens SET salt = NULL WHERE session_id = $1 AND salt IS NOT NULL"};
constexpr Statement kUse{"UPDATE refresh_tokens SET used_at = now(), salt = $2 WHERE hash = $1"};
constexpr Statement kAddToken{"INSERT INTO refresh_tokens (hash, session_id) VALUES ($1, $2)"};
// The version of the profile stays that of the beginning: the access token of before is still around when the role
// has changed. And that token may live longer than those of now.
constexpr Statement kContinue{R"sql(
    UPDATE sessions
    SET last_used_at = now(), expires_at = least(now() + $2 * interval '1 second', ends_at),
        access_until = greatest(access_until, )sql" SHOP_ACCESS_UNTIL("$3") ") WHERE id = $1"};
#define SHOP_ENDED " RETURNING id, extract(epoch FROM access_until)::bigint, access_until > now()"
constexpr Statement kEnd{"DELETE FROM sessions WHERE account_id = $1 AND id = $2" SHOP_ENDED};
constexpr Statement kEndAll{"DELETE FROM sessions WHERE account_id = $1" SHOP_ENDED};
constexpr Statement kEndOthers{
    "DELETE FROM sessions WHERE account_id = $1 AND id <> $2" SHOP_ENDED};
constexpr Statement kEndBefore{
    "DELETE FROM sessions WHERE account_id = $1 AND profile_version < $2" SHOP_ENDED};
constexpr Statement kList{R"sql(
    SELECT id, user_agent, (extract(epoch FROM created_at) * 1000000)::bigint,
           (extract(epoch FROM last_used_at) * 1000000)::bigint,
           (extract(epoch FROM expires_at) * 1000000)::bigint
    FROM sessions WHERE account_id = $1 AND expires_at > now()
    ORDER BY last_used_at DESC, id LIMIT 100)sql"};
constexpr Statement kSweep{R"sql(
    DELETE FROM sessions WHERE id = ANY (ARRAY(
      SELECT id FROM sessions WHERE expires_at <= now() ORDER BY expires_at LIMIT $1
      FOR UPDATE SKIP LOCKED)))sql"};

template <size_t kSize>
std::string RandomText() {
  const auto bytes = RandomBytes<kSize>();
  return EncodeBase64Url({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

std::string Successor(const std::string& token, const std::string& salt) {
  return EncodeBase64Url(HmacSha256(salt, token));
}

// What SHOP_ENDED returned, without those whose access tokens have all expired.
void Publish(Tx& tx, int64_t account, const pqxx::result& ended, const EventContext& context) {
  std::vector<messaging::Envelope> events;
  for (const pqxx::row& row : ended) {
    if (!row[2].as<bool>()) continue;
    events::v1::SessionRevoked event;
    event.set_session_id(row[0].as<std::string>());
    event.set_user_id(account);
    *event.mutable_expires_at() = TimeUtil::SecondsToTimestamp(row[1].as<int64_t>());
    events.push_back(messaging::MakeEvent(event, context));
  }
  if (!events.empty()) messaging::Publish(tx, events);
}

}  // namespace

Continued BeginSession(Tx& tx, const NewSession& session, const Lifetimes& life) {
  Continued begun{.session = RandomText<16>(), .refresh_token = RandomText<32>()};
  tx.Exec(kBegin, begun.session, session.account, session.user_agent, session.profile_version,
          int64_t{life.idle.count()}, int64_t{life.session.count()},
          int64_t{life.access_token.count()});
  tx.Exec(kAddToken, Sha256Hex(begun.refresh_token), begun.session);
  return begun;
}

std::optional<int64_t> FindOwner(Tx& tx, const std::string& refresh_token) {
  const pqxx::result rows = tx.Exec(kFindOwner, Sha256Hex(refresh_token));
  if (rows.empty()) return std::nullopt;
  return rows[0][0].as<int64_t>();
}

std::optional<Continued> ContinueSession(Tx& tx, const std::string& refresh_token,
                                         const Lifetimes& life, const EventContext& context) {
  const std::string hash = Sha256Hex(refresh_token);
  const pqxx::result found = tx.Exec(kLock, hash);
  if (found.empty() || !found[0][1].as<bool>()) return std::nullopt;
  Continued next{.session = found[0][0].as<std::string>()};

  // Read with the session locked: of two who use the token at once the second sees the first.
  const pqxx::row use = tx.Exec(kFindUse, hash, int64_t{kRefreshGrace.count()})[0];
  const bool used = use[0].as<bool>();
  if (!used) {
    const std::string salt = RandomText<32>();
    next.refresh_token = Successor(refresh_token, salt);
    tx.Exec(kForgetSalts, next.session);
    tx.Exec(kUse, hash, salt);
    tx.Exec(kAddToken, Sha256Hex(next.refresh_token), next.session);
  } else if (use[1].as<bool>() && !use[2].is_null()) {
    next.refresh_token = Successor(refresh_token, use[2].as<std::string>());
  } else {
    const int64_t account = found[0][2].as<int64_t>();
    log::Warning("a used refresh token came again: its session ends", {{"userId", account}});
    EndSession(tx, account, next.session, context);
    return std::nullopt;
  }
  tx.Exec(kContinue, next.session, int64_t{life.idle.count()}, int64_t{life.access_token.count()});
  return next;
}

void EndSession(Tx& tx, int64_t account, const std::string& session, const EventContext& context) {
  Publish(tx, account, tx.Exec(kEnd, account, session), context);
}

void EndSessions(Tx& tx, int64_t account, const EventContext& context) {
  Publish(tx, account, tx.Exec(kEndAll, account), context);
}

void EndOtherSessions(Tx& tx, int64_t account, const std::string& but,
                      const EventContext& context) {
  Publish(tx, account, tx.Exec(kEndOthers, account, but), context);
}

void EndSessionsBefore(Tx& tx, int64_t account, int64_t profile_version,
                       const EventContext& context) {
  Publish(tx, account, tx.Exec(kEndBefore, account, profile_version), context);
}

v1::Sessions ListSessions(Tx& tx, int64_t account, const std::string& current) {
  v1::Sessions list;
  for (const pqxx::row& row : tx.Exec(kList, account)) {
    v1::Session& session = *list.add_items();
    session.set_id(row[0].as<std::string>());
    session.set_user_agent(row[1].as<std::string>());
    *session.mutable_created_at() = TimeUtil::MicrosecondsToTimestamp(row[2].as<int64_t>());
    *session.mutable_last_used_at() = TimeUtil::MicrosecondsToTimestamp(row[3].as<int64_t>());
    *session.mutable_expires_at() = TimeUtil::MicrosecondsToTimestamp(row[4].as<int64_t>());
    session.set_current(session.id() == current);
  }
  return list;
}

int64_t SweepSessions(Tx& tx, int64_t limit) {
  return static_cast<int64_t>(tx.Exec(kSweep, limit).affected_rows());
}

}  // namespace shop::auth
