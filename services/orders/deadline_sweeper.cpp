#include "orders/deadline_sweeper.h"

#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include "common/core/deadline.h"
#include "common/telemetry/log.h"
#include "common/telemetry/metrics.h"
#include "orders/order_events.h"

namespace shop::orders {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kPause{1'000};
constexpr milliseconds kCountEvery{10'000};
constexpr milliseconds kShippingLimit{5'000};
constexpr int kBatch = 50;
constexpr Waiting kWaitings[] = {Waiting::kStock, Waiting::kPayment, Waiting::kDispatch,
                                 Waiting::kCancel, Waiting::kDelivery};

std::string WhyExpired(Waiting waiting) {
  switch (waiting) {
    case Waiting::kStock:
      return "its stock was not reserved in time";
    case Waiting::kPayment:
      return "it was not paid in time";
    default:
      return "it was not dispatched in time";
  }
}

prometheus::Counter& Expired(const std::string& waiting) {
  static auto& expired =
      CounterFamily("orders_expired_total", "Orders that were cancelled at their deadline");
  return expired.Add({{"for", waiting}});
}

void SetGauges(const std::vector<WaitingOrders>& counted) {
  static auto& orders = GaugeFamily("orders_waiting", "Orders that wait for something");
  static auto& oldest =
      GaugeFamily("orders_waiting_oldest_seconds", "How long the first of them has waited");
  static auto& overdue = GaugeFamily("orders_overdue", "Those beyond their deadline");
  for (const Waiting waiting : kWaitings) {
    const std::string text(WaitingText(waiting));
    WaitingOrders found;
    for (const WaitingOrders& one : counted) {
      if (one.waiting == text) found = one;
    }
    const prometheus::Labels labels{{"for", text}};
    orders.Add(labels).Set(static_cast<double>(found.orders));
    oldest.Add(labels).Set(static_cast<double>(found.oldest_seconds));
    overdue.Add(labels).Set(static_cast<double>(found.overdue));
    if (waiting == Waiting::kDelivery && found.overdue > 0) {
      log::Warning("orders have shipped long ago and have not arrived",
                   {{"orders", std::to_string(found.overdue)}});
    }
  }
}

}  // namespace

ConsumedUntil::ConsumedUntil(postgres::Pool& db, std::string group, Ends ends)
    : db_(db), group_(std::move(group)), ends_(std::move(ends)) {}

std::optional<int64_t> ConsumedUntil::Look() {
  if (!mark_) {
    // In this sequence: what was published before the time is before the ends.
    const int64_t now = postgres::Read(db_, [](postgres::Tx& tx) { return DatabaseTime(tx); });
    mark_ = {now, ends_()};
  }
  if (messaging::HasReached(messaging::Positions(db_, group_), mark_->ends)) {
    until_us_ = mark_->time_us;
    mark_.reset();
  }
  return until_us_;
}

int ExpireOverdue(postgres::Pool& db, int64_t until_us, int limit, const Deadlines& deadlines) {
  std::map<std::string, int> expired;
  const Result<int> count = postgres::InTransaction(db, [&](postgres::Tx& tx) -> Result<int> {
    expired.clear();
    std::map<int64_t, LockedOrder> orders;
    std::vector<OrderFact> facts;
    for (LockedOrder& order : LockOverdue(tx, until_us, limit)) {
      const Waiting waiting = WaitingFor(order.facts);
      ++expired[std::string(WaitingText(waiting))];
      facts.push_back({order.id,
                       CancelRequested{CancelledBy::kDeadline, WhyExpired(waiting)},
                       {.source = "orders", .trace = TraceContext::New()},
                       CancelledBy::kDeadline});
      orders.emplace(order.id, std::move(order));
    }
    const Result<void> applied = ApplyFacts(tx, std::move(orders), facts, deadlines);
    if (!applied) return applied.refusal();
    return static_cast<int>(facts.size());
  });
  if (!count) throw std::runtime_error(count.refusal().message);
  for (const auto& [waiting, orders] : expired) {
    Expired(waiting).Increment(orders);
    log::Warning("orders have waited too long",
                 {{"for", waiting}, {"orders", std::to_string(orders)}});
  }
  return *count;
}

int FinishCancels(postgres::Pool& db, const OrderShipping& shipping, int limit,
                  const Deadlines& deadlines) {
  const std::vector<LockedOrder> orders = postgres::InTransaction(
      db, [&](postgres::Tx& tx) { return LeaseUnfinishedCancels(tx, limit, deadlines); });
  for (const LockedOrder& order : orders) {
    const Call call = rpc::BackgroundCall(TraceContext::New(), kShippingLimit);
    const Result<CancelAnswered> answer =
        shipping.Cancel(call, order.id, order.uuid, order.user_id);
    if (!answer) {
      log::Error("shipping refuses to cancel a shipment",
                 {{"order", std::to_string(order.id)}, {"error", answer.refusal().message}});
      continue;
    }
    const Result<void> applied = postgres::InTransaction(db, [&](postgres::Tx& tx) {
      return ApplyFacts(tx,
                        {{order.id,
                          *answer,
                          {.source = "orders", .trace = call.trace},
                          order.facts.cancelled_by}},
                        deadlines);
    });
    if (!applied) throw std::runtime_error(applied.refusal().message);
  }
  return static_cast<int>(orders.size());
}

struct DeadlineSweeper::State {
  State(postgres::Pool& pool, OrderShipping with, ConsumedUntil::Ends ends, const Deadlines& limits)
      : db(pool),
        shipping(std::move(with)),
        consumed(pool, "orders", std::move(ends)),
        deadlines(limits),
        thread([this](const std::stop_token& stop) { Run(stop); }) {
    // So that there is a 0 before the first one.
    for (const Waiting waiting : {Waiting::kStock, Waiting::kPayment, Waiting::kDispatch}) {
      Expired(std::string(WaitingText(waiting)));
    }
  }

  void Run(const std::stop_token& stop) {
    const DeadlineScope scope(DeadlineScope::TimePoint::max(), stop);
    while (!stop.stop_requested()) {
      // Each goes on without the others: Kafka may be away, or shipping.
      Try(stop, "orders cannot expire", expire_failed, [this] { Expire(); });
      Try(stop, "cancellations cannot be finished", finish_failed, [this] {
        while (FinishCancels(db, shipping, kBatch, deadlines) == kBatch) continue;
      });
      Try(stop, "waiting orders cannot be counted", count_failed, [this] { Count(); });
      std::unique_lock lock(mutex);
      wake.wait_for(lock, stop, kPause, [] { return false; });
    }
  }

  template <typename Work>
  static void Try(const std::stop_token& stop, const char* what, bool& failed, const Work& work) {
    try {
      work();
      failed = false;
    } catch (const std::exception& error) {
      // Once, and not every second.
      if (stop.stop_requested() || std::exchange(failed, true)) return;
      log::Warning(what, {{"error", error.what()}});
    }
  }

  void Expire() {
    const std::optional<int64_t> until_us = consumed.Look();
    if (!until_us) return;
    while (ExpireOverdue(db, *until_us, kBatch, deadlines) == kBatch) continue;
  }

  void Count() {
    if (counted && steady_clock::now() - *counted < kCountEvery) return;
    counted = steady_clock::now();
    SetGauges(postgres::Read(db, [](postgres::Tx& tx) { return CountWaiting(tx); }));
  }

  postgres::Pool& db;
  const OrderShipping shipping;
  ConsumedUntil consumed;
  const Deadlines deadlines;
  std::optional<steady_clock::time_point> counted;
  bool expire_failed = false;
  bool finish_failed = false;
  bool count_failed = false;
  std::mutex mutex;
  std::condition_variable_any wake;
  std::jthread thread;  // the last: it uses the others
};

DeadlineSweeper::DeadlineSweeper(postgres::Pool& db, OrderShipping shipping,
                                 ConsumedUntil::Ends ends, const Deadlines& deadlines)
    : state_(std::make_unique<State>(db, std::move(shipping), std::move(ends), deadlines)) {}

DeadlineSweeper::~DeadlineSweeper() = default;

}  // namespace shop::orders
