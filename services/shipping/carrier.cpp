#include "shipping/carrier.h"

#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <thread>
#include <utility>

#include "common/core/deadline.h"
#include "common/telemetry/log.h"
#include "shipping/shipment_store.h"

namespace shop::shipping {
namespace {

constexpr std::chrono::milliseconds kPause{200};
constexpr std::chrono::milliseconds kPauseAfterFailure{2'000};

bool MoveKind(postgres::Pool& db, shipping::State state,
              std::optional<std::chrono::milliseconds> after, Fact fact, int limit) {
  if (!after) return false;
  const size_t moved = postgres::InTransaction(
      db, [&](postgres::Tx& tx) { return MoveDue(tx, state, *after, fact, limit); });
  return std::cmp_equal(moved, limit);
}

}  // namespace

bool MoveDueShipments(postgres::Pool& db, const CarrierSettings& settings) {
  const bool more_to_dispatch =
      MoveKind(db, State::kReady, settings.dispatch_after, Fact::kDispatched, settings.batch);
  const bool more_to_deliver =
      MoveKind(db, State::kDispatched, settings.deliver_after, Fact::kDelivered, settings.batch);
  return more_to_dispatch || more_to_deliver;
}

struct Carrier::State {
  State(postgres::Pool& pool, const CarrierSettings& what)
      : db(pool), settings(what), thread([this](const std::stop_token& stop) { Run(stop); }) {}

  void Run(const std::stop_token& stop) {
    const DeadlineScope scope(DeadlineScope::TimePoint::max(), stop);
    bool broken = false;
    while (!stop.stop_requested()) {
      std::chrono::milliseconds pause = kPause;
      try {
        if (MoveDueShipments(db, settings)) pause = {};
        if (std::exchange(broken, false)) log::Info("the carrier goes on");
      } catch (const std::exception& error) {
        if (stop.stop_requested()) return;
        if (!std::exchange(broken, true)) {
          log::Warning("the carrier has to wait", {{"error", error.what()}});
        }
        pause = kPauseAfterFailure;
      }
      std::unique_lock lock(mutex);
      wake.wait_for(lock, stop, pause, [] { return false; });
    }
  }

  postgres::Pool& db;
  const CarrierSettings settings;
  std::mutex mutex;
  std::condition_variable_any wake;
  std::jthread thread;
};

Carrier::Carrier(postgres::Pool& db, const CarrierSettings& settings) {
  if (!settings.dispatch_after && !settings.deliver_after) return;
  state_ = std::make_unique<State>(db, settings);
}

Carrier::~Carrier() = default;

}  // namespace shop::shipping
