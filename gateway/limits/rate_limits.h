// How much each client may ask for in a time: one quota for each user, one for each address that
// requests without a valid token come from, and those that change what anybody may. A call takes its
// method's shop.api.v1.cost of it.
//
// Counted in sliding windows: what was taken in the running minute, and of the minute before as much as
// is less than a minute ago, if that was spread evenly. Unlike the level of a token bucket such counts add
// up, so gateways can share them (gateway/limits/rate_sharing.h) without asking anybody for each request.
// What is refused is not counted: whoever slows down is served again.
//
// Thread-safe. Metrics: http_rate_limited_total{policy=address|user,mode=enforced|shadow} and
// http_rate_limit_clients.
#pragma once

#include <boost/asio/ip/address.hpp>
#include <chrono>
#include <compare>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "common/core/env.h"

namespace prometheus {
class Counter;
class Gauge;
}  // namespace prometheus

namespace shop::gateway {

// Whose quota it is: a user's, or that of a ClientNetwork (gateway/limits/client_address.h).
struct RateKey {
  enum class Kind : uint8_t { kUser, kIpv4, kIpv6 };
  Kind kind = Kind::kUser;
  uint64_t bits = 0;

  static RateKey Of(int64_t user_id);
  static RateKey Of(const boost::asio::ip::address& address);
  // The same for the same key in every gateway.
  std::string Text() const;

  auto operator<=>(const RateKey&) const = default;
};

class RateLimits {
 public:
  using Clock = std::function<std::chrono::system_clock::time_point()>;

  struct Settings {
    bool enabled = false;
    bool shadow = false;  // counts what it would refuse, and refuses nothing
    int64_t user_quota = 1200;
    int64_t address_quota = 2000;

    // RATE_LIMIT_ENABLED (on unless set), RATE_LIMIT_SHADOW, RATE_LIMIT_USER and RATE_LIMIT_ADDRESS (a
    // minute).
    static Settings Read(Env& env);
  };
  static constexpr std::chrono::seconds kWindow{60};

  struct Verdict {
    bool allowed = true;
    // How the headers that tell of the quota begin; of the RateLimits. "" where nothing is limited.
    std::string_view headers = {};
    int64_t left = 0;     // of the quota
    int resets_in = 0;    // seconds until the running window ends
    int retry_after = 0;  // seconds until the same request would be allowed; 0 where it is
  };

  explicit RateLimits(const Settings& settings, Clock clock = &std::chrono::system_clock::now);

  // Takes `cost` of what `key` has, if it has as much.
  Verdict Take(const RateKey& key, int64_t cost);
  // Whether Take would allow it; takes and counts nothing. In shadow mode it would.
  bool HasLeft(const RateKey& key, int64_t cost);

  // What was taken in this window since the last call, for others to know.
  struct Taken {
    RateKey key;
    int64_t window = 0;  // since 1970
    int64_t amount = 0;
  };
  std::vector<Taken> TakeUnshared();
  // Others could not be told: it stays to be shared.
  void KeepUnshared(const Taken& taken);
  // What all have taken together in that window.
  void Learn(const RateKey& key, int64_t window, int64_t total);

  bool enabled() const { return settings_.enabled; }

 private:
  // A user's quota, or an address's.
  struct Policy {
    Policy(const char* name, int64_t quota, bool shadow);
    const int64_t quota;
    const std::string headers;  // as in Verdict
    prometheus::Counter& limited;
  };
  struct Count {
    int64_t window = 0;
    int64_t before = 0;  // taken in the window before
    int64_t now = 0;
    int64_t unshared = 0;  // of `now`
  };
  struct Hash {
    size_t operator()(const RateKey& key) const {
      return std::hash<uint64_t>()(key.bits * 3 + static_cast<uint64_t>(key.kind));
    }
  };

  const Policy& PolicyOf(const RateKey& key) const;
  int64_t WindowOf(std::chrono::system_clock::time_point time) const;
  void Advance(Count& count, int64_t window) const;
  void Forget(int64_t window);

  const Settings settings_;
  const Clock clock_;
  const Policy users_;
  const Policy addresses_;
  prometheus::Gauge& clients_;
  std::mutex mutex_;  // guards these:
  std::unordered_map<RateKey, Count, Hash> counts_;
  std::vector<RateKey> unshared_;
  int64_t forgotten_until_ = 0;
};

// Adds `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10), as whole lines.
void AddRateHeaders(const RateLimits::Verdict& verdict, std::string* headers);

}  // namespace shop::gateway
