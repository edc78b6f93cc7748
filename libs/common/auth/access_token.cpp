#include "common/auth/access_token.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "common/auth/jose.h"
#include "common/auth/revoked_sessions.h"
#include "common/auth/token_cache.h"

namespace shop::auth {
namespace {

using jose::Struct;
using jose::ToUnix;
using jose::Unauthenticated;
using jose::Value;
using std::chrono::seconds;
using TimePoint = std::chrono::system_clock::time_point;

constexpr seconds kFirstFetchPause{1};
constexpr seconds kUnknownKeyPause{5};
constexpr seconds kRefreshAfter{300};
constexpr seconds kPatience{1};  // of a Verify that waits for a fetch

constexpr char kType[] = "at+jwt";

std::optional<int64_t> ParseUserId(const std::string& text) {
  int64_t id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size() || id <= 0 || text[0] == '0') {
    return std::nullopt;
  }
  return id;
}

std::string RoleName(api::v1::Role role) {
  return api::v1::Role_Name(role).substr(std::string_view("ROLE_").size());
}

// The highest role in `roles` that this version knows; a newer issuer may name others too.
std::optional<api::v1::Role> HighestRole(const Struct& claims) {
  const Value* roles = jose::Find(claims, "roles", Value::kListValue);
  if (roles == nullptr) return std::nullopt;
  std::optional<api::v1::Role> highest;
  for (const Value& value : roles->list_value().values()) {
    api::v1::Role role = api::v1::ROLE_UNSPECIFIED;
    if (value.kind_case() != Value::kStringValue ||
        !api::v1::Role_Parse("ROLE_" + value.string_value(), &role) || role < api::v1::ROLE_USER) {
      continue;
    }
    highest = std::max(highest.value_or(role), role);
  }
  return highest;
}

}  // namespace

std::string NewPrivateKey() {
  return jose::NewPrivateKey();
}

struct TokenSigner::State {
  jose::Key key;
  Clock clock;
  PublicKey public_key;
  std::string header;
};

TokenSigner::TokenSigner(const std::string& private_key_pem, Clock clock)
    : state_(std::make_unique<State>()) {
  state_->key = jose::ReadPrivateKey(private_key_pem);
  state_->clock = std::move(clock);
  const jose::Point point = jose::PublicPoint(state_->key.get());
  state_->public_key = {jose::Thumbprint(point), point.x, point.y};
  state_->header =
      fmt::format(R"({{"alg":"ES256","kid":"{}","typ":"{}"}})", state_->public_key.kid, kType);
}

TokenSigner::~TokenSigner() = default;

const PublicKey& TokenSigner::public_key() const {
  return state_->public_key;
}

std::string TokenSigner::Sign(int64_t user_id, api::v1::Role role, seconds life,
                              std::string_view session) const {
  const int64_t now = ToUnix(state_->clock());
  const std::string sid = session.empty() ? "" : fmt::format(R"(,"sid":"{}")", session);
  return jose::Assemble(
      state_->header,
      fmt::format(
          R"({{"iss":"{}","aud":"{}","sub":"{}","roles":["{}"],"iat":{},"exp":{},"jti":"{}"{}}})",
          kIssuer, kAudience, user_id, RoleName(role), now, now + life.count(), jose::NewTokenId(),
          sid),
      [this](std::string_view text) { return jose::SignEs256(state_->key.get(), text); });
}

struct TokenVerifier::State {
  State(FetchKeys fetch_keys, Clock own_clock, size_t cached)
      : fetch(std::move(fetch_keys)), clock(std::move(own_clock)), cache(cached) {}

  ~State() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
    }
    changed.notify_all();
    if (thread.joinable()) thread.join();
  }

  using Keys = std::map<std::string, jose::Key, std::less<>>;

  struct Snapshot {
    std::shared_ptr<const Keys> keys;
    uint64_t generation = 0;
  };

  // Nothing while `kid` is unknown and a fetch is wanted or under way.
  std::optional<Result<Snapshot>> KeysWith(const std::string& kid) {
    const std::lock_guard lock(mutex);
    if (keys != nullptr && keys->contains(kid)) return Snapshot{keys, generation};
    if (RequestFetch()) return std::nullopt;
    if (!worked) return Refusal{Code::kUnavailable, "tokens cannot be checked at the moment"};
    return Unauthenticated("the token's key is unknown");
  }

  // Asks for a fetch unless the last one ended too recently. Returns whether one is wanted or under
  // way. Needs the lock.
  bool RequestFetch() {
    if (wanted || fetching) return true;
    if (last_attempt + (keys == nullptr ? kFirstFetchPause : kUnknownKeyPause) > clock()) {
      return false;
    }
    wanted = true;
    if (!thread.joinable()) thread = std::thread([this] { Run(); });
    changed.notify_all();
    return true;
  }

  void Run() {
    std::unique_lock lock(mutex);
    while (!stopping) {
      const auto due = [this] { return wanted || stopping; };
      if (prepared && keys == nullptr) {
        if (!changed.wait_for(lock, kFirstFetchPause, due)) wanted = true;
      } else {
        changed.wait(lock, due);
      }
      if (stopping) return;
      wanted = false;
      fetching = true;
      lock.unlock();
      std::shared_ptr<const Keys> fetched = Fetch();
      lock.lock();
      fetching = false;
      Store(std::move(fetched));
      changed.notify_all();
    }
  }

  // Null when the fetch failed or brought no key.
  std::shared_ptr<const Keys> Fetch() const {
    try {
      auto fetched = std::make_shared<Keys>();
      for (const PublicKey& key : fetch())
        fetched->emplace(key.kid, jose::PublicKeyAt({key.x, key.y}));
      return fetched->empty() ? nullptr : fetched;
    } catch (const std::exception&) {
      return nullptr;  // the keys at hand stay in use; without any, Verify is UNAVAILABLE
    }
  }

  // Needs the lock.
  void Store(std::shared_ptr<const Keys> fetched) {
    // The time after the fetch, so that callers who waited for it do not ask for the next one at once.
    last_attempt = clock();
    worked = fetched != nullptr;
    if (!worked) return;
    if (keys != nullptr && std::any_of(keys->begin(), keys->end(), [&](const auto& key) {
          return !fetched->contains(key.first);
        })) {
      ++generation;
    }
    keys = std::move(fetched);
    fresh_until = last_attempt + kRefreshAfter;
  }

  // Waits until no fetch is wanted or under way, a second at most. False at once when too many wait
  // already.
  bool Wait() {
    std::unique_lock lock(mutex);
    if (waiting >= max_waiting) return false;
    ++waiting;
    changed.wait_for(lock, kPatience, [this] { return !wanted && !fetching; });
    --waiting;
    return true;
  }

  const FetchKeys fetch;
  const Clock clock;

  mutable std::mutex mutex;  // of everything up to max_waiting
  std::condition_variable changed;
  std::shared_ptr<const Keys> keys;  // null until the first fetch has worked
  TimePoint last_attempt = TimePoint::min() + kRefreshAfter;
  bool worked = false;  // whether the last fetch did
  bool wanted = false;
  bool fetching = false;
  bool prepared = false;
  bool stopping = false;
  int waiting = 0;
  int max_waiting = 2;

  std::atomic<uint64_t> generation{0};
  std::atomic<TimePoint> fresh_until{TimePoint::max()};  // until the first fetch

  TokenCache<Caller> cache;
  RevokedSessions revoked;
  std::thread thread;  // started with the first fetch
};

TokenVerifier::TokenVerifier(FetchKeys fetch, Clock clock, size_t cached)
    : state_(std::make_unique<State>(std::move(fetch), std::move(clock), cached)) {}

TokenVerifier::~TokenVerifier() = default;

void TokenVerifier::Prepare() {
  const std::lock_guard lock(state_->mutex);
  state_->prepared = true;
  if (state_->keys == nullptr) state_->RequestFetch();
}

bool TokenVerifier::HasKeys() const {
  const std::lock_guard lock(state_->mutex);
  return state_->keys != nullptr;
}

void TokenVerifier::SetMaxWaiting(int most) {
  const std::lock_guard lock(state_->mutex);
  state_->max_waiting = most;
}

std::optional<Caller> TokenVerifier::FindCached(std::string_view token) {
  std::optional<Caller> known =
      state_->cache.Find(token, ToUnix(state_->clock()), state_->generation);
  if (known && IsRevoked(known->session)) return std::nullopt;
  return known;
}

bool TokenVerifier::Revoke(const std::string& session, TimePoint until) {
  return state_->revoked.Add(session, ToUnix(until), ToUnix(state_->clock()));
}

bool TokenVerifier::IsRevoked(const std::string& session) const {
  return state_->revoked.Contains(session);
}

size_t TokenVerifier::revoked() const {
  return state_->revoked.size();
}

Result<Caller> TokenVerifier::Verify(std::string_view token) {
  std::optional<Result<Caller>> caller = Check(token);
  if (!caller && state_->Wait()) caller = Check(token);
  if (caller) return *std::move(caller);
  return Refusal{Code::kUnavailable, "the token's key could not be fetched"};
}

std::optional<Result<Caller>> TokenVerifier::Check(std::string_view token) {
  if (state_->fresh_until.load() <= state_->clock()) {
    const std::lock_guard lock(state_->mutex);
    state_->RequestFetch();
  }
  if (std::optional<Caller> known = FindCached(token)) return Result<Caller>(std::move(*known));

  Result<jose::Parts> parts = jose::Split(token);
  if (!parts) return parts.refusal();
  if (Result<void> good = jose::CheckHeader(parts->header, "ES256", kType); !good) {
    return good.refusal();
  }
  const Value* kid = jose::Find(parts->header, "kid", Value::kStringValue);
  if (kid == nullptr) return Unauthenticated("the token names no key");

  const std::optional<Result<State::Snapshot>> current = state_->KeysWith(kid->string_value());
  if (!current) return std::nullopt;
  if (!*current) return current->refusal();
  const State::Snapshot& snapshot = **current;
  const auto key = snapshot.keys->find(kid->string_value());
  if (!jose::VerifyEs256(key->second.get(), parts->signed_text, parts->signature)) {
    return Unauthenticated("the token's signature is wrong");
  }

  Result<jose::Subject> subject =
      jose::CheckClaims(parts->payload, kIssuer, kAudience, ToUnix(state_->clock()));
  if (!subject) return subject.refusal();
  const std::optional<int64_t> user_id = ParseUserId(subject->sub);
  const std::optional<api::v1::Role> role = HighestRole(subject->claims);
  if (!user_id || !role) return Unauthenticated("the token is malformed");

  Caller caller;
  caller.user_id = *user_id;
  caller.role = *role;
  if (const Value* sid = jose::Find(subject->claims, "sid", Value::kStringValue)) {
    caller.session = sid->string_value();
  }
  caller.expires = std::chrono::system_clock::from_time_t(subject->expires);
  if (IsRevoked(caller.session)) return Unauthenticated("the session of this token has ended");
  state_->cache.Add(token, {caller, subject->expires, snapshot.generation});
  return Result<Caller>(caller);
}

}  // namespace shop::auth
