#include "notification/mail_sender.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/kafka/events.h"
#include "common/telemetry/log.h"
#include "common/telemetry/metrics.h"
#include "common/telemetry/trace.h"
#include "notification/mail_jobs.h"
#include "notification/order_mail.h"
#include "shop/events/v1/orders.pb.h"
#include "shop/users/v1/users.pb.h"

namespace shop::notification {
namespace {

constexpr std::chrono::seconds kUsersLimit{3};
constexpr int kAtOnce = 16;  // jobs leased together

}  // namespace

struct MailSender::State {
  State(postgres::Pool& pool, const rpc::Channel& users, const SmtpSettings& smtp_settings,
        Mailbox sender, const SenderOptions& sender_options)
      : db(pool),
        get_user(users, "shop.users.v1.UsersService", "GetUser"),
        smtp(smtp_settings),
        from(std::move(sender)),
        options(sender_options),
        thread([this](const std::stop_token& stop) { Run(stop); }) {}

  void Run(const std::stop_token& stop) {
    bool broken = false;
    while (!stop.stop_requested()) {
      bool more = false;
      try {
        more = SendSome(stop);
        if (std::exchange(broken, false)) log::Info("mails are looked for again");
      } catch (const std::exception& error) {
        if (!std::exchange(broken, true)) {
          log::Warning("mails cannot be looked for now", {{"error", error.what()}});
        }
      }
      if (more) continue;
      std::unique_lock lock(mutex);
      wake.wait_for(lock, stop, options.poll, [] { return false; });
    }
  }

  // Whether to look for more at once: false when there are none, and after a failure, which will
  // often meet the next one too.
  bool SendSome(const std::stop_token& stop) {
    const auto leased = std::chrono::steady_clock::now();
    std::vector<MailJob> jobs = Lease(db, options.lease, kAtOnce);
    bool more = !jobs.empty();
    size_t done = 0;
    while (more && done < jobs.size() && !stop.stop_requested() &&
           std::chrono::steady_clock::now() - leased < options.lease / 4) {
      more = SendOne(jobs[done], stop);
      ++done;
    }
    jobs.erase(jobs.begin(), jobs.begin() + static_cast<std::ptrdiff_t>(done));
    GiveBack(db, jobs);
    return more;
  }

  // Should the database go away meanwhile the lease runs out, and the job is taken over as one
  // whose outcome is unknown.
  bool SendOne(const MailJob& job, const std::stop_token& stop) {
    const TraceContext trace = TraceContext::FromHeader(job.traceparent);
    const log::Scope scope({{"traceId", trace.trace_id}, {"orderId", job.order_id}});
    if (job.taken_over) {
      unknown.Increment();
      log::Warning("a sender left a mail without a word, it may be sent twice", {});
    }
    std::optional<MailAnswer> answer;
    try {
      answer = Attempt(job, trace, stop);
    } catch (const std::exception& error) {
      answer = MailAnswer{MailOutcome::kFailed, error.what()};
    }
    return Conclude(job, answer);
  }

  // Nothing when the user is gone. Throws only before anything was sent.
  std::optional<MailAnswer> Attempt(const MailJob& job, const TraceContext& trace,
                                    const std::stop_token& stop) {
    users::v1::GetUserRequest who;
    who.set_id(job.user_id);
    const Result<users::v1::User> user = get_user(rpc::BackgroundCall(trace, kUsersLimit), who);
    if (!user && user.refusal().code == Code::kNotFound) return std::nullopt;
    if (!user) throw std::runtime_error("users refuses: " + user.refusal().message);
    if (!IsPlainAddress(user->email())) {
      return MailAnswer{MailOutcome::kRefused, "the address is none that mail can be sent to"};
    }
    const Mail mail = Compose(job, {user->name(), user->email()});
    return smtp.Send(from.address, mail.to.address, ToMime(mail), stop);
  }

  bool Conclude(const MailJob& job, const std::optional<MailAnswer>& answer) {
    if (!answer) {
      log::Info("no mail, the user is gone", {{"userId", job.user_id}});
      Finish(db, job, MailEnd::kGone);
      return true;
    }
    switch (answer->outcome) {
      case MailOutcome::kSent:
        sent.Increment();
        log::Info("mail sent", {{"kind", job.kind}, {"attempt", job.attempt}});
        Finish(db, job, MailEnd::kSent);
        return true;
      case MailOutcome::kRefused:
        refused.Increment();
        log::Error("mail refused for good", {{"kind", job.kind}, {"error", answer->why}});
        Finish(db, job, MailEnd::kRefused, answer->why);
        return true;
      case MailOutcome::kUnknown:
        unknown.Increment();
        Pause(job, "the outcome is unknown, it may be sent twice: " + answer->why);
        return false;
      case MailOutcome::kFailed:
        failed.Increment();
        Pause(job, answer->why);
        return false;
    }
    return false;
  }

  Mail Compose(const MailJob& job, const Mailbox& to) const {
    events::v1::OrderCreated order;
    if (const Result<void> read = kafka::ReadValue(job.event, &order); !read) {
      throw std::runtime_error("the job's event cannot be read: " + read.refusal().message);
    }
    return OrderCreatedMail(order, from, to, job.created_at);
  }

  void Pause(const MailJob& job, const std::string& why) {
    const int doublings = std::min(job.attempt - 1, 20);
    const auto pause = std::min(options.first_pause * (1 << doublings), options.longest_pause);
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

  postgres::Pool& db;
  const rpc::Remote<users::v1::GetUserRequest, users::v1::User> get_user;
  Smtp smtp;
  const Mailbox from;
  const SenderOptions options;
  std::mutex mutex;
  std::condition_variable_any wake;
  std::jthread thread;  // the last: it uses the others, and is stopped and joined before they go
};

MailSender::MailSender(postgres::Pool& db, const rpc::Channel& users, const SmtpSettings& smtp,
                       Mailbox from, const SenderOptions& options)
    : state_(std::make_unique<State>(db, users, smtp, std::move(from), options)) {}

MailSender::~MailSender() = default;

}  // namespace shop::notification
