// All SQL of sessions and their refresh tokens. Everything runs in the caller's transaction; times are
// those of the database. A session that ends while its access token is good is published in that
// transaction, as SESSION_REVOKED.
//
// A refresh token is 256 random bits in base64url and is kept as its hash. Used, it has one successor,
// made of the token and a random salt, which is kept until the successor is used: so who did not get the
// answer is given the same successor again, and nobody can make it of what is stored.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "common/messaging/event.h"
#include "common/postgres/pool.h"
#include "shop/auth/v1/auth.pb.h"

namespace shop::auth {

struct Lifetimes {
  std::chrono::seconds access_token{900};
  // Of a session that is not refreshed, and of any.
  std::chrono::seconds idle{7 * 86400};
  std::chrono::seconds session{30 * 86400};
};

// How long after its first use a refresh token is answered once more, with the same successor.
inline constexpr std::chrono::seconds kRefreshGrace{10};

struct NewSession {
  int64_t account;
  // Of the profile whose role the access token will have.
  int64_t profile_version;
  std::string user_agent;
};

// A session that goes on, and the refresh token with which it can be continued.
struct Continued {
  std::string session = {};
  std::string refresh_token = {};
};

Continued BeginSession(postgres::Tx& tx, const NewSession& session, const Lifetimes& life);

// Whose session the token was once given to, used or not; nothing if it has ended.
std::optional<int64_t> FindOwner(postgres::Tx& tx, const std::string& refresh_token);
// Uses the token. Nothing if the session has ended or is too old, or ends now, because the token was used
// before: then two have it.
std::optional<Continued> ContinueSession(postgres::Tx& tx, const std::string& refresh_token,
                                         const Lifetimes& life,
                                         const messaging::EventContext& context);

// Ending what has ended, or never was, is no error.
void EndSession(postgres::Tx& tx, int64_t account, const std::string& session,
                const messaging::EventContext& context);
void EndSessions(postgres::Tx& tx, int64_t account, const messaging::EventContext& context);
void EndOtherSessions(postgres::Tx& tx, int64_t account, const std::string& but,
                      const messaging::EventContext& context);
// Those whose access tokens have a role from before this version of the profile.
void EndSessionsBefore(postgres::Tx& tx, int64_t account, int64_t profile_version,
                       const messaging::EventContext& context);

// The latest hundred, last used first.
v1::Sessions ListSessions(postgres::Tx& tx, int64_t account, const std::string& current);

// Deletes up to `limit` of the sessions that are too old, and answers how many.
int64_t SweepSessions(postgres::Tx& tx, int64_t limit);

}  // namespace shop::auth
