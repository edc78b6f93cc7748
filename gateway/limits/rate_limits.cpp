#include "gateway/limits/rate_limits.h"

#include <fmt/compile.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "common/telemetry/metrics.h"
#include "gateway/limits/client_address.h"

namespace shop::gateway {
namespace {

using std::chrono::duration;
using std::chrono::duration_cast;
using std::chrono::seconds;
using std::chrono::system_clock;

// Whoever comes beyond these is not counted, rather than that memory is without bounds.
constexpr size_t kMostClients = 200'000;
constexpr double kRounding = 1e-6;

prometheus::Counter& Limited(const char* policy, bool shadow) {
  return prometheus::BuildCounter()
      .Name("http_rate_limited_total")
      .Help(
          "Requests beyond a client's quota, which were refused or, in shadow mode, would have "
          "been.")
      .Register(Metrics())
      .Add({{"policy", policy}, {"mode", shadow ? "shadow" : "enforced"}});
}

// The seconds until the window ends.
double RestOf(system_clock::time_point time, int64_t window) {
  const auto end = (window + 1) * RateLimits::kWindow;
  return duration<double>(end - time.time_since_epoch()).count();
}

// What counts of what was taken in the window before and in this one, `rest` seconds before that ends.
double Estimate(double before, double now, double rest) {
  return before * rest / seconds(RateLimits::kWindow).count() + now;
}

// The seconds after which `cost` fits, where `estimate` of `quota` is taken now, `rest` seconds before
// the window ends.
double SecondsUntilFits(double before, double now, double estimate, double quota, double cost,
                        double rest) {
  const double window = seconds(RateLimits::kWindow).count();
  const double too_much = estimate + cost - quota;
  const double leaves = before / window;  // of what was taken in the window before, a second
  if (leaves > 0 && too_much / leaves <= rest) return too_much / leaves;
  // In the next window it is this one that fades.
  const double fades = now > 0 ? window * (1 - (quota - cost) / now) : 0;
  return rest + std::max(0.0, fades);
}

}  // namespace

RateKey RateKey::Of(int64_t user_id) {
  return {Kind::kUser, static_cast<uint64_t>(user_id)};
}

RateKey RateKey::Of(const boost::asio::ip::address& address) {
  const ClientNetwork network = NetworkOf(address);
  return {network.is_v6 ? Kind::kIpv6 : Kind::kIpv4, network.bits};
}

std::string RateKey::Text() const {
  switch (kind) {
    case Kind::kUser:
      return fmt::format("user:{}", bits);
    case Kind::kIpv4:
      return fmt::format("ipv4:{:08x}", bits);
    case Kind::kIpv6:
      return fmt::format("ipv6:{:016x}", bits);
  }
  return {};
}

RateLimits::Settings RateLimits::Settings::Read(Env& env) {
  Settings settings;
  settings.enabled = env.Flag("RATE_LIMIT_ENABLED", true);
  settings.shadow = env.Flag("RATE_LIMIT_SHADOW", false);
  settings.user_quota = env.Integer("RATE_LIMIT_USER", settings.user_quota, 100, 1'000'000'000);
  settings.address_quota =
      env.Integer("RATE_LIMIT_ADDRESS", settings.address_quota, 100, 1'000'000'000);
  return settings;
}

RateLimits::Policy::Policy(const char* name, int64_t quota, bool shadow)
    : quota(quota),
      headers(fmt::format("RateLimit-Policy: \"{}\";q={};w={}\r\nRateLimit: \"{}\";r=", name, quota,
                          kWindow.count(), name)),
      limited(Limited(name, shadow)) {}

RateLimits::RateLimits(const Settings& settings, Clock clock)
    : settings_(settings),
      clock_(std::move(clock)),
      users_("user", settings.user_quota, settings.shadow),
      addresses_("address", settings.address_quota, settings.shadow),
      clients_(prometheus::BuildGauge()
                   .Name("http_rate_limit_clients")
                   .Help("Users and addresses whose requests are counted.")
                   .Register(Metrics())
                   .Add({})) {}

const RateLimits::Policy& RateLimits::PolicyOf(const RateKey& key) const {
  return key.kind == RateKey::Kind::kUser ? users_ : addresses_;
}

int64_t RateLimits::WindowOf(system_clock::time_point time) const {
  return duration_cast<seconds>(time.time_since_epoch()) / kWindow;
}

void RateLimits::Advance(Count& count, int64_t window) const {
  if (window <= count.window) return;
  // What was not shared of a window that is over concerns nobody any more.
  count = {window, window == count.window + 1 ? count.now : 0, 0, 0};
}

RateLimits::Verdict RateLimits::Take(const RateKey& key, int64_t cost) {
  if (!settings_.enabled) return {};
  const Policy& policy = PolicyOf(key);
  Verdict verdict{.headers = policy.headers};
  const auto time = clock_();
  const int64_t window = WindowOf(time);
  const double rest = RestOf(time, window);
  verdict.resets_in = static_cast<int>(std::ceil(rest));

  const std::lock_guard lock(mutex_);
  auto found = counts_.find(key);
  if (found == counts_.end()) {
    if (counts_.size() >= kMostClients) return {};
    found = counts_.emplace(key, Count{.window = window}).first;
    clients_.Increment();
  }
  Count& count = found->second;
  Advance(count, window);
  const auto before = static_cast<double>(count.before);
  const double estimate = Estimate(before, static_cast<double>(count.now), rest);
  const auto quota = static_cast<double>(policy.quota);
  if (estimate + static_cast<double>(cost) > quota + kRounding) {
    policy.limited.Increment();
    verdict.left = static_cast<int64_t>(std::max(0.0, quota - estimate));
    if (settings_.shadow) return verdict;
    verdict.allowed = false;
    verdict.retry_after = std::max(1, static_cast<int>(std::ceil(SecondsUntilFits(
                                          before, static_cast<double>(count.now), estimate, quota,
                                          static_cast<double>(cost), rest))));
    return verdict;
  }
  count.now += cost;
  if (count.unshared == 0) unshared_.push_back(key);
  count.unshared += cost;
  verdict.left = static_cast<int64_t>(quota - estimate) - cost;
  return verdict;
}

bool RateLimits::HasLeft(const RateKey& key, int64_t cost) {
  if (!settings_.enabled || settings_.shadow) return true;
  const auto time = clock_();
  const int64_t window = WindowOf(time);
  const std::lock_guard lock(mutex_);
  const auto found = counts_.find(key);
  if (found == counts_.end()) return true;
  Count& count = found->second;
  Advance(count, window);
  const double estimate = Estimate(static_cast<double>(count.before),
                                   static_cast<double>(count.now), RestOf(time, window));
  return estimate + static_cast<double>(cost) <=
         static_cast<double>(PolicyOf(key).quota) + kRounding;
}

std::vector<RateLimits::Taken> RateLimits::TakeUnshared() {
  const int64_t window = WindowOf(clock_());
  const std::lock_guard lock(mutex_);
  std::vector<Taken> taken;
  for (const RateKey& key : std::exchange(unshared_, {})) {
    const auto found = counts_.find(key);
    if (found == counts_.end() || found->second.unshared == 0) continue;
    taken.push_back({key, found->second.window, std::exchange(found->second.unshared, 0)});
  }
  Forget(window);
  return taken;
}

void RateLimits::KeepUnshared(const Taken& taken) {
  const std::lock_guard lock(mutex_);
  const auto found = counts_.find(taken.key);
  if (found == counts_.end() || found->second.window != taken.window) return;
  if (found->second.unshared == 0) unshared_.push_back(taken.key);
  found->second.unshared += taken.amount;
}

void RateLimits::Learn(const RateKey& key, int64_t window, int64_t total) {
  const std::lock_guard lock(mutex_);
  const auto found = counts_.find(key);
  if (found == counts_.end() || found->second.window != window) return;
  found->second.now = std::max(found->second.now, total + found->second.unshared);
}

// Drops, once a window, who has not come since the one before.
void RateLimits::Forget(int64_t window) {
  if (window <= forgotten_until_) return;
  forgotten_until_ = window;
  std::erase_if(counts_, [window](const auto& count) { return count.second.window < window - 1; });
  clients_.Set(static_cast<double>(counts_.size()));
}

void AddRateHeaders(const RateLimits::Verdict& verdict, std::string* headers) {
  if (verdict.headers.empty()) return;
  // A request in a dozen microseconds has none to spare for a general format.
  char numbers[64];
  char* const end =
      fmt::format_to(numbers, FMT_COMPILE("{};t={}\r\n"), verdict.left, verdict.resets_in);
  headers->append(verdict.headers).append(numbers, static_cast<size_t>(end - numbers));
}

}  // namespace shop::gateway
