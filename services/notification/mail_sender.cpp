#include "notification/mail_sender.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/messaging/event.h"
#include "common/telemetry/log.h"
#include "common/telemetry/metrics.h"
#include "common/telemetry/trace.h"
#include "notification/mail_jobs.h"
#include "notification/order_mail.h"
#include "shop/events/v1/orders.pb.h"
#include "shop/users/v1/users.pb.h"

namespace shop::notification {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::chrono::seconds kUsersLimit{3};

// Doubles from `first` up to `longest`.
milliseconds Pause(int failures, milliseconds first, milliseconds longest) {
  return std::min(first * (1 << std::clamp(failures - 1, 0, 20)), longest);
}

}  // namespace

struct MailSender::State {
  State(postgres::Pool& pool, const rpc::Channel& users, const SmtpSettings& smtp_settings,
        Mailbox sender, const SenderOptions& sender_options)
      : db(pool),
        get_user(users, "shop.users.v1.UsersService", "GetUser"),
        smtp(smtp_settings),
        from(std::move(sender)),
        options(sender_options) {
    up.Set(1);
    for (int i = 0; i < options.at_once; ++i) {
      workers.emplace_back([this](const std::stop_token& stop) { Work(stop); });
    }
    leasing = std::jthread([this](const std::stop_token& stop) { KeepLeasing(stop); });
  }

  ~State() {
    leasing.request_stop();
    for (std::jthread& worker : workers) worker.request_stop();
    leasing.join();
    for (std::jthread& worker : workers) worker.join();
    try {
      GiveBack(db, {leased.begin(), leased.end()});
    } catch (const std::exception& error) {
      log::Warning("mails could not be given back, their leases run out",
                   {{"error", error.what()}});
    }
  }

  bool healthy() const {
    const std::lock_guard lock(mutex);
    return away == 0;
  }

  // --- leasing: one thread

  void KeepLeasing(const std::stop_token& stop) {
    bool broken = false;
    while (!stop.stop_requested()) {
      bool found = false;
      try {
        found = LeaseSome(AwaitSlots(stop), stop);
        if (std::exchange(broken, false)) log::Info("mails are looked for again");
      } catch (const std::exception& error) {
        if (!std::exchange(broken, true)) {
          log::Warning("mails cannot be looked for now", {{"error", error.what()}});
        }
      }
      if (found) continue;
      std::unique_lock lock(mutex);
      wake.wait_for(lock, stop, options.poll, [] { return false; });
    }
  }

  // How many mails can begin at once, as soon as there are any.
  MailSlots AwaitSlots(const std::stop_token& stop) {
    std::unique_lock lock(mutex);
    MailSlots slots;
    while (!stop.stop_requested()) {
      if (steady_clock::now() < away_until) {
        wake.wait_until(lock, stop, away_until, [] { return false; });
        continue;
      }
      const int busy = fresh_busy + again_busy;
      // While everybody is away, one mail finds out whether they are back.
      const int most = away > 0 ? 1 : options.at_once;
      slots.again = std::clamp(most - busy, 0, options.again_at_once - again_busy);
      slots.fresh = std::max(most - busy - slots.again, 0);
      if (away > 0 && busy == 0) slots = {.fresh = 1, .again = 0};
      if (slots.fresh + slots.again > 0) return slots;
      wake.wait(lock, stop, [&] { return fresh_busy + again_busy < busy; });
    }
    return slots;
  }

  bool LeaseSome(MailSlots slots, const std::stop_token& stop) {
    if (stop.stop_requested()) return false;
    std::vector<MailJob> jobs = Lease(db, options.lease, slots);
    if (jobs.empty() && !healthy()) jobs = Lease(db, options.lease, {.again = 1});
    const std::lock_guard lock(mutex);
    for (const MailJob& job : jobs) {
      if (job.taken_over) {
        unknown.Increment();
        log::Warning("a sender left a mail without a word, it may be sent twice",
                     {{"orderId", job.order_id}});
      }
      ++(IsFresh(job) ? fresh_busy : again_busy);
      leased.push_back(job);
    }
    wake.notify_all();
    return !jobs.empty();
  }

  static bool IsFresh(const MailJob& job) { return job.attempt == 1; }

  // --- sending: as many threads as mails at once

  void Work(const std::stop_token& stop) {
    Smtp connection(smtp);
    for (;;) {
      std::unique_lock lock(mutex);
      if (!wake.wait(lock, stop, [this] { return !leased.empty(); }) || stop.stop_requested())
        return;
      const MailJob job = std::move(leased.front());
      leased.pop_front();
      const bool away_now = steady_clock::now() < away_until;
      lock.unlock();
      try {
        if (away_now) {
          GiveBack(db, {job});
        } else {
          SendOne(job, connection, stop);
        }
      } catch (const std::exception& error) {
        // The lease runs out, and the job is taken over as one whose outcome is unknown.
        log::Warning("what became of a mail could not be written down",
                     {{"orderId", job.order_id}, {"error", error.what()}});
      }
      lock.lock();
      --(IsFresh(job) ? fresh_busy : again_busy);
      wake.notify_all();
    }
  }

  void SendOne(const MailJob& job, Smtp& connection, const std::stop_token& stop) {
    const TraceContext trace = TraceContext::FromHeader(job.traceparent);
    const log::Scope scope({{"traceId", trace.trace_id}, {"orderId", job.order_id}});
    std::optional<MailAnswer> answer;
    try {
      answer = Attempt(job, trace, connection, stop);
    } catch (const Unavailable& error) {
      answer = MailAnswer{MailOutcome::kAway, error.what()};
    } catch (const std::exception& error) {
      answer = MailAnswer{MailOutcome::kFailed, error.what()};
    }
    const bool given_up =
        answer && stop.stop_requested() &&
        (answer->outcome == MailOutcome::kFailed || answer->outcome == MailOutcome::kAway);
    if (given_up) {
      GiveBack(db, {job});
    } else if (answer && answer->outcome == MailOutcome::kAway) {
      PauseEverybody(job, answer->why);
    } else {
      Conclude(job, answer);
    }
  }

  // Nothing when the user is gone. Throws only before anything was sent: Unavailable when users
  // cannot be asked, anything else when this mail is at fault.
  std::optional<MailAnswer> Attempt(const MailJob& job, const TraceContext& trace, Smtp& connection,
                                    const std::stop_token& stop) {
    users::v1::GetUserRequest who;
    who.set_id(job.user_id);
    const Result<users::v1::User> user = get_user(rpc::BackgroundCall(trace, kUsersLimit), who);
    if (!user && user.refusal().code == Code::kNotFound) return std::nullopt;
    if (!user) throw std::runtime_error("users refuses: " + user.refusal().message);
    if (!IsPlainAddress(user->email())) {
      return MailAnswer{MailOutcome::kRefused, "the address is none that mail can be sent to"};
    }
    const Mail mail = MakeEvent(job, {user->name(), user->email()});
    const MailAnswer answer =
        connection.Send(from.address, mail.to.address, ToMime(mail),
                        IsFresh(job) ? options.first_patience : smtp.timeout, stop);
    if (answer.outcome != MailOutcome::kAway) GoOn();
    return answer;
  }

  // Whoever is away is away for all mails. The pause grows once for all that found it out together,
  // and another mail is the next to try, should it be due to this one after all.
  void PauseEverybody(const MailJob& job, const std::string& why) {
    attempts_away.Increment();
    milliseconds pause;
    {
      const std::lock_guard lock(mutex);
      if (steady_clock::now() >= away_until) {
        ++away;
        away_until = steady_clock::now() + Pause(away, options.first_pause, options.longest_away);
      }
      pause = std::chrono::ceil<milliseconds>(away_until - steady_clock::now());
      up.Set(0);
    }
    log::Error("no mail can be sent, all of them wait",
               {{"pauseMs", pause.count()}, {"error", why}});
    GiveBack(db, {job}, pause + options.first_pause);
  }

  // For when the mail server has let us get as far as a recipient. A mail that ends before it was
  // asked says nothing about it: the pause is over, and the next mail finds out.
  void GoOn() {
    const std::lock_guard lock(mutex);
    if (std::exchange(away, 0) == 0) return;
    away_until = {};
    up.Set(1);
    wake.notify_all();
    log::Info("mails can be sent again");
  }

  void Conclude(const MailJob& job, const std::optional<MailAnswer>& answer) {
    if (!answer) {
      log::Info("no mail, the user is gone", {{"userId", job.user_id}});
      Finish(db, job, MailEnd::kGone);
      return;
    }
    switch (answer->outcome) {
      case MailOutcome::kSent:
        sent.Increment();
        log::Info("mail sent", {{"kind", job.kind}, {"attempt", job.attempt}});
        Finish(db, job, MailEnd::kSent);
        return;
      case MailOutcome::kRefused:
        refused.Increment();
        log::Error("mail refused for good", {{"kind", job.kind}, {"error", answer->why}});
        Finish(db, job, MailEnd::kRefused, answer->why);
        return;
      case MailOutcome::kUnknown:
        unknown.Increment();
        TryLater(job, "the outcome is unknown, it may be sent twice: " + answer->why);
        return;
      case MailOutcome::kFailed:
      case MailOutcome::kAway:  // is no mail's fault, and does not get here
        failed.Increment();
        TryLater(job, answer->why);
        return;
    }
  }

  Mail MakeEvent(const MailJob& job, const Mailbox& to) const {
    events::v1::OrderCreated order;
    if (const Result<void> read = messaging::ReadValue(job.event, &order); !read) {
      throw std::runtime_error("the job's event cannot be read: " + read.refusal().message);
    }
    return OrderCreatedMail(order, from, to, job.created_at);
  }

  void TryLater(const MailJob& job, const std::string& why) {
    const milliseconds pause = Pause(job.attempt, options.first_pause, options.longest_pause);
    log::Warning(
        "mail not sent, trying again later",
        {{"kind", job.kind}, {"attempt", job.attempt}, {"pauseMs", pause.count()}, {"error", why}});
    Postpone(db, job, pause, why);
  }

  static prometheus::Counter& Attempts(const char* outcome) {
    return prometheus::BuildCounter()
        .Name("mail_attempts_total")
        .Help("Attempts to send a mail, by what came of them")
        .Register(Metrics())
        .Add({{"outcome", outcome}});
  }

  prometheus::Counter& sent = Attempts("sent");
  prometheus::Counter& refused = Attempts("refused");
  prometheus::Counter& unknown = Attempts("unknown");
  prometheus::Counter& failed = Attempts("failed");
  prometheus::Counter& attempts_away = Attempts("away");
  prometheus::Gauge& up = prometheus::BuildGauge()
                              .Name("mail_relay_up")
                              .Help("0 while no mail can be sent and all of them wait")
                              .Register(Metrics())
                              .Add({});

  postgres::Pool& db;
  const rpc::ClientMethod<users::v1::GetUserRequest, users::v1::User> get_user;
  const SmtpSettings smtp;
  const Mailbox from;
  const SenderOptions options;

  mutable std::mutex mutex;  // all of these
  std::condition_variable_any wake;
  std::deque<MailJob> leased;  // and not begun
  int fresh_busy = 0;          // leased or under way
  int again_busy = 0;
  int away = 0;  // how many times in a row everybody was found away
  steady_clock::time_point away_until{};

  std::vector<std::jthread> workers;
  std::jthread leasing;
};

MailSender::MailSender(postgres::Pool& db, const rpc::Channel& users, const SmtpSettings& smtp,
                       Mailbox from, const SenderOptions& options)
    : state_(std::make_unique<State>(db, users, smtp, std::move(from), options)) {}

MailSender::~MailSender() = default;

bool MailSender::healthy() const {
  return state_->healthy();
}

}  // namespace shop::notification
