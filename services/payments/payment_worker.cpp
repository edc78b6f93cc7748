#include "payments/payment_worker.h"

#include <absl/strings/ascii.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
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

  // Makes calls, and takes turns with the database whenever there is something to be recorded or may be
  // something due, and no other thread is at it. Calls that end meanwhile wait, and are recorded together.
  void Run(const std::stop_token& stop) {
    std::unique_lock lock(mutex);
    const auto may_take_turn = [&] {
      return !at_database &&
             (!made.empty() || (due && !stop.stop_requested() && FreeThreads() > 0));
    };
    // Told to stop, whoever is the last to end a call records it.
    while (wake.wait(lock, stop, [&] { return !jobs.empty() || may_take_turn(); })) {
      if (jobs.empty()) {
        Advance(lock, stop);
      } else {
        MakeFirst(lock, stop);
      }
      // The others, for what this one does not do next.
      const size_t left = jobs.size() + (may_take_turn() ? 1 : 0);
      for (size_t i = 1; i < left; ++i) wake.notify_one();
    }
  }

  // Those that make no call and have none to make next.
  size_t FreeThreads() const {
    return Less(static_cast<size_t>(options.at_once), calling + jobs.size());
  }

  static size_t Less(size_t most, size_t taken) { return most - std::min(most, taken); }

  void MakeFirst(std::unique_lock<std::mutex>& lock, const std::stop_token& stop) {
    Job job = std::move(jobs.front());
    jobs.pop_front();
    ++calling;
    lock.unlock();
    std::optional<Brought> brought;
    try {
      brought = Make(job, stop);
    } catch (const std::exception& error) {
      WarnOfLoss(error);
    }
    lock.lock();
    --calling;
    if (job.retry) {
      --retrying;
      due = true;  // another one may have waited for its turn
    }
    if (!brought) return;
    made.push_back({std::move(job), std::move(brought->fact), std::move(brought->ending)});
  }

  // One turn with the database.
  void Advance(std::unique_lock<std::mutex>& lock, const std::stop_token& stop) {
    const std::vector<Made> taken = std::exchange(made, {});
    const bool stopping = stop.stop_requested();
    Room room;
    if (!stopping && std::exchange(due, false)) {
      room.calls = FreeThreads();
      room.retries = Less(static_cast<size_t>(options.retries_at_once), retrying);
    }
    at_database = true;
    lock.unlock();
    Turn turn;
    std::vector<Made> alone;  // to be recorded one by one
    try {
      turn = TakeTurn(db, taken, room, options.pace, stopping);
      for (const size_t i : turn.locked) alone.push_back(taken[i]);
      broken = false;
    } catch (const postgres::CommitUnknown& error) {
      WarnOfLoss(error);
    } catch (const std::exception& error) {
      alone = taken;  // so that one that cannot be recorded takes no other with it
      turn.more = !taken.empty();
      if (taken.empty() && !broken.exchange(true)) {
        log::Warning("payments cannot be worked on", {{"error", error.what()}});
      }
    }
    lock.lock();
    at_database = false;
    due = due || turn.more;
    Add(std::move(turn.jobs));
    if (!alone.empty()) RecordAlone(lock, alone, stopping);
  }

  // The others go on meanwhile.
  void RecordAlone(std::unique_lock<std::mutex>& lock, const std::vector<Made>& alone,
                   bool stopping) {
    calling += alone.size();
    for (const Made& call : alone) {
      wake.notify_all();
      lock.unlock();
      std::optional<Job> next;
      try {
        next = Finish(db, call, options.pace, stopping);
      } catch (const std::exception& error) {
        WarnOfLoss(error);
      }
      lock.lock();
      --calling;
      if (next) Add({*std::move(next)});
    }
  }

  void Add(std::vector<Job> begun) {
    for (Job& job : begun) {
      if (job.retry) ++retrying;
      jobs.push_back(std::move(job));
    }
  }

  static void WarnOfLoss(const std::exception& error) {
    // The lease expires, and the next holder asks again.
    log::Warning("what a call has brought was not recorded", {{"error", error.what()}});
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
  std::atomic<bool> broken = false;

  std::mutex mutex;  // guards what follows
  std::condition_variable_any wake;
  bool due = false;          // something may be
  bool at_database = false;  // a thread takes its turn
  std::deque<Job> jobs;      // calls that are to be made
  std::vector<Made> made;    // calls that are to be recorded
  size_t calling = 0;        // threads that make a call, or record one by itself
  size_t retrying = 0;       // of the jobs and calls, those that are retries

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
