#include "payments/payment_worker.h"

#include <absl/strings/ascii.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/telemetry/log.h"
#include "common/telemetry/metrics.h"
#include "common/telemetry/span.h"
#include "common/telemetry/trace.h"

namespace shop::payments {
namespace {

constexpr int kAwayAfter = 5;

// What a call has brought, and how that is told to people.
struct Brought {
  std::optional<Fact> fact;  // nothing: there was no answer
  Ending ending;
};

Brought FromCharge(const ChargeAnswer& answer) {
  if (const auto* reported = std::get_if<Reported>(&answer)) {
    return {*reported, {std::string(Text(reported->charge)), reported->message}};
  }
  if (std::holds_alternative<NotFound>(answer)) return {NotFound{}, {"NOT_FOUND"}};
  return {std::nullopt, {"UNKNOWN", std::get<NoAnswer>(answer).why}};
}

Brought FromRefund(const std::string& uuid, const RefundAnswer& answer) {
  if (std::holds_alternative<RefundAccepted>(answer)) return {RefundDone{uuid}, {"REFUNDED"}};
  if (const auto* rejected = std::get_if<RefundRejected>(&answer)) {
    return {RefundRefused{uuid, rejected->reason}, {"REFUSED", rejected->reason}};
  }
  return {std::nullopt, {"UNKNOWN", std::get<NoAnswer>(answer).why}};
}

}  // namespace

struct PaymentWorker::State {
  State(postgres::Pool& pool, PaymentProvider& asked, const WorkerOptions& chosen)
      : db(pool), provider(asked), options(chosen) {
    up.Set(1);
    CountedOutcomes();  // so that there is a 0 before the first one
    subscription = db.Subscribe(kWorkSignal, [this] { Wake(); });
    for (int i = 0; i < options.at_once; ++i) {
      threads.emplace_back([this](const std::stop_token& stop) { Run(stop); });
    }
    threads.emplace_back([this](const std::stop_token& stop) { Tick(stop); });
  }

  ~State() {
    subscription.reset();
    for (std::jthread& thread : threads) thread.request_stop();
    threads.clear();
  }

  void Wake() {
    const std::lock_guard lock(mutex);
    due = true;
    wake.notify_one();
  }

  void Tick(const std::stop_token& stop) {
    std::mutex own;
    std::condition_variable_any sleep;
    while (!stop.stop_requested()) {
      Wake();
      std::unique_lock lock(own);
      sleep.wait_for(lock, stop, options.poll, [] { return false; });
    }
  }

  void Run(const std::stop_token& stop) {
    for (;;) {
      {
        std::unique_lock lock(mutex);
        if (!wake.wait(lock, stop, [this] { return due; }) || stop.stop_requested()) return;
        due = false;
      }
      try {
        WorkOnOne(stop);
        broken = false;
      } catch (const std::exception& error) {
        if (!broken.exchange(true)) {
          log::Warning("payments cannot be worked on", {{"error", error.what()}});
        }
      }
    }
  }

  // Leases a payment and makes its calls, one after another.
  void WorkOnOne(const std::stop_token& stop) {
    // Taken before it is known whether this is a retry, so that several threads never take more.
    const bool slot = TakeRetrySlot();
    std::optional<Job> job;
    try {
      job = BeginNext(db, options.pace, slot);
    } catch (...) {
      if (slot) --retrying;
      throw;
    }
    const bool retry = slot && job && job->stored.failures > 0;
    if (slot && !retry) --retrying;
    if (!job) return;
    Wake();  // there may be more
    try {
      while (job) {
        const Brought brought = Make(*job, stop);
        job = Finish(db, *job, brought.fact, brought.ending, options.pace, stop.stop_requested());
      }
    } catch (const std::exception& error) {
      // The lease expires, and the next holder asks again.
      log::Warning("what a call has brought was not recorded", {{"error", error.what()}});
    }
    if (retry) --retrying;
    Wake();  // one that had to wait for its turn
  }

  bool TakeRetrySlot() {
    if (retrying.fetch_add(1) < options.retries_at_once) return true;
    --retrying;
    return false;
  }

  Brought Make(const Job& job, const std::stop_token& stop) {
    const Payment& payment = job.stored.payment;
    const TraceContext cause = TraceContext::FromHeader(job.stored.traceparent);
    const std::string operation(Text(job.next.ask));
    Span span(SpanKind::kInternal, absl::AsciiStrToLower(operation) + " payment", cause);
    const Span::Scope current(span);
    const log::Scope scope({{"traceId", cause.trace_id}, {"orderId", payment.order.id}});
    const Brought brought = Call(job, stop);
    span.Set("shop.order.id", payment.order.id);
    span.Set("shop.payment.outcome", brought.ending.outcome);
    if (!brought.fact) span.Fail(brought.ending.detail);
    calls
        .Add({{"operation", absl::AsciiStrToLower(operation)},
              {"outcome", absl::AsciiStrToLower(brought.ending.outcome)}})
        .Increment();
    if (stop.stop_requested()) return brought;
    Note(brought.fact.has_value());
    if (!brought.fact) {
      log::Warning("the payment provider has not answered, it will be asked again",
                   {{"operation", operation}, {"error", brought.ending.detail}});
    } else if (brought.ending.outcome == "REFUSED") {
      log::Error("the payment provider refuses a refund for good",
                 {{"refund", job.next.refund_uuid}, {"error", brought.ending.detail}});
    } else {
      log::Info("the payment provider has answered",
                {{"operation", operation}, {"outcome", brought.ending.outcome}});
    }
    return brought;
  }

  Brought Call(const Job& job, const std::stop_token& stop) {
    const Payment& payment = job.stored.payment;
    const std::string& key = payment.order.uuid;
    switch (job.next.ask) {
      case Ask::kAuthorize:
        return FromCharge(
            provider.Authorize({key, payment.amount, payment.currency, payment.token}, stop));
      case Ask::kCapture:
        return FromCharge(provider.Capture(key, payment.amount, stop));
      case Ask::kVoid:
        return FromCharge(provider.Void(key, stop));
      case Ask::kQuery:
        return FromCharge(provider.Query(key, stop));
      case Ask::kRefund: {
        const auto refund = std::find_if(
            payment.refunds.begin(), payment.refunds.end(),
            [&](const Refund& candidate) { return candidate.uuid == job.next.refund_uuid; });
        return FromRefund(refund->uuid, provider.Refund(key, refund->uuid, refund->amount, stop));
      }
      case Ask::kNothing:
        break;
    }
    throw std::logic_error("a job without anything to ask");
  }

  void Note(bool answered) {
    unanswered = answered ? 0 : unanswered + 1;
    up.Set(healthy() ? 1 : 0);
  }

  bool healthy() const { return unanswered < kAwayAfter; }

  postgres::Pool& db;
  PaymentProvider& provider;
  const WorkerOptions options;

  prometheus::Family<prometheus::Counter>& calls = CounterFamily(
      "payment_calls_total", "Calls of the payment provider, by operation and outcome");
  prometheus::Gauge& up =
      GaugeFamily("payment_provider_up", "0 while the payment provider does not answer").Add({});

  std::atomic<int> unanswered = 0;  // in a row
  std::atomic<int> retrying = 0;
  std::atomic<bool> broken = false;

  std::mutex mutex;
  std::condition_variable_any wake;
  bool due = false;  // something may be; guarded by the mutex

  std::shared_ptr<const void> subscription;
  std::vector<std::jthread> threads;
};

PaymentWorker::PaymentWorker(postgres::Pool& db, PaymentProvider& provider,
                             const WorkerOptions& options)
    : state_(std::make_unique<State>(db, provider, options)) {}

PaymentWorker::~PaymentWorker() = default;

bool PaymentWorker::healthy() const {
  return state_->healthy();
}

}  // namespace shop::payments
