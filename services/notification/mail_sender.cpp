#include "notification/mail_sender.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <iterator>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "common/core/periodic.h"
#include "common/messaging/event.h"
#include "common/telemetry/log.h"
#include "common/telemetry/metrics.h"
#include "common/telemetry/span.h"
#include "common/telemetry/trace.h"
#include "notification/mail_jobs.h"
#include "notification/order_mail.h"
#include "shop/auth/v1/auth.pb.h"
#include "shop/events/v1/accounts.pb.h"
#include "shop/users/v1/users.pb.h"

namespace shop::notification {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::chrono::seconds kUsersLimit{3};
constexpr std::chrono::seconds kAuthLimit{3};
constexpr std::string_view kResetRequested = "PASSWORD_RESET_REQUESTED";
constexpr std::string_view kConfirmationRequested = "EMAIL_CONFIRMATION_REQUESTED";
constexpr std::string_view kRegistrationRepeated = "REGISTRATION_REPEATED";

// From how many mails about orders on users is asked once for all of a lease. Of few each asks by itself,
// in the trace of its order.
constexpr size_t kManyMails = 4;

// A leased job, and what users answered about its user, if it was asked: nobody, or who that is.
struct LeasedMail {
  MailJob job;
  std::optional<std::optional<users::v1::User>> user = {};
};

// What an attempt has come to: the mail server's answer, or the state of a mail that was not to be sent.
using Attempted = std::variant<MailAnswer, JobState>;

// Doubles from `first` up to `longest`.
milliseconds Pause(int failures, milliseconds first, milliseconds longest) {
  return std::min(first * (1 << std::clamp(failures - 1, 0, 20)), longest);
}

}  // namespace

struct MailSender::State {
  State(postgres::Pool& pool, const rpc::Channel& users, const rpc::Channel& auth,
        const SmtpSettings& smtp_settings, Mailbox sender, const SenderOptions& sender_options)
      : db(pool),
        get_user(users, "shop.users.v1.UsersService", "GetUser"),
        get_users(users, "shop.users.v1.UsersService", "BatchGetUsers"),
        prepare_reset(auth, "shop.auth.v1.AuthService", "PrepareResetMail"),
        prepare_confirmation(auth, "shop.auth.v1.AuthService", "PrepareConfirmationMail"),
        smtp(smtp_settings),
        from(std::move(sender)),
        options(sender_options) {
    up.Set(1);
    for (int i = 0; i < options.at_once; ++i) {
      workers.emplace_back([this](const std::stop_token& stop) { Work(stop); });
    }
    leasing = std::jthread([this](const std::stop_token& stop) { RunLeasing(stop); });
  }

  ~State() {
    leasing.request_stop();
    for (std::jthread& worker : workers) worker.request_stop();
    leasing.join();
    for (std::jthread& worker : workers) worker.join();
    try {
      RecordCompleted();
    } catch (const std::exception& error) {
      for (const CompletedMail& mail : completed) NotRecorded(mail.job, error);
    }
    try {
      std::vector<MailJob> jobs;
      for (LeasedMail& mail : leased) jobs.push_back(std::move(mail.job));
      Release(db, jobs);
    } catch (const std::exception& error) {
      log::Warning("mail jobs were not released, their leases will expire",
                   {{"error", error.what()}});
    }
  }

  bool healthy() const {
    const std::lock_guard lock(mutex);
    return outages == 0;
  }

  // --- leasing: one thread

  void RunLeasing(const std::stop_token& stop) {
    bool broken = false;
    while (!stop.stop_requested()) {
      bool found = false;
      const auto begun = steady_clock::now();
      try {
        RecordCompleted();
        const MailSlots slots = AwaitSlots(stop);
        found = slots.fresh + slots.retries == 0 || LeaseSome(slots, stop);
        if (std::exchange(broken, false)) log::Info("mail jobs are leased again");
      } catch (const std::exception& error) {
        if (!std::exchange(broken, true)) {
          log::Warning("mail jobs cannot be leased", {{"error", error.what()}});
        }
      }
      std::unique_lock lock(mutex);
      if (broken) {
        round_ends.wait_for(lock, stop, options.poll, [] { return false; });
      } else if (found) {
        round_ends.wait_until(lock, stop, begun + options.interval, [] { return false; });
      } else {
        attempt_ends.wait_for(lock, stop, options.poll, [this] { return !completed.empty(); });
      }
    }
  }

  // Waits until a mail can be started; returns how many. None when completed mails are to be recorded before that.
  MailSlots AwaitSlots(const std::stop_token& stop) {
    std::unique_lock lock(mutex);
    while (!stop.stop_requested() && completed.empty()) {
      MailSlots slots;
      if (steady_clock::now() < paused_until) {
        attempt_ends.wait_until(lock, stop, paused_until, [this] { return !completed.empty(); });
        continue;
      }
      const int busy = fresh_busy + retries_busy;
      // During an outage one mail finds out whether it is over.
      const int most = outages > 0 ? 1 : options.at_once;
      slots.retries = std::clamp(most - busy, 0, options.retries_at_once - retries_busy);
      slots.fresh = std::max(most - busy - slots.retries, 0);
      if (outages > 0 && busy == 0) slots = {.fresh = 1, .retries = 0};
      if (slots.fresh + slots.retries > 0) return slots;
      attempt_ends.wait(lock, stop,
                        [&] { return fresh_busy + retries_busy < busy || !completed.empty(); });
    }
    return {};
  }

  // Marks the mails that workers have completed. While the database is away they wait here; by then somebody
  // else may have leased them again, and then it changes nothing. Should the database refuse one of them, the
  // others are not sent again because of it.
  void RecordCompleted() {
    std::vector<CompletedMail> mails;
    {
      const std::lock_guard lock(mutex);
      mails.swap(completed);
    }
    try {
      Complete(db, mails);
    } catch (const Unavailable&) {
      const std::lock_guard lock(mutex);
      std::ranges::move(completed, std::back_inserter(mails));
      completed.swap(mails);
      throw;
    } catch (const std::exception&) {
      for (const CompletedMail& mail : mails) {
        try {
          Complete(db, {mail});
        } catch (const std::exception& error) {
          NotRecorded(mail.job, error);
        }
      }
    }
  }

  // The lease expires, and the next holder counts the outcome as unknown.
  static void NotRecorded(const MailJob& job, const std::exception& error) {
    log::Warning("the outcome of a mail was not recorded",
                 {{"orderId", job.order_id}, {"error", error.what()}});
  }

  bool LeaseSome(MailSlots slots, const std::stop_token& stop) {
    if (stop.stop_requested()) return false;
    std::vector<MailJob> jobs = Lease(db, options.lease, slots);
    if (jobs.empty() && !healthy()) jobs = Lease(db, options.lease, {.retries = 1});
    std::vector<LeasedMail> mails = WithUsers(std::move(jobs));
    const std::lock_guard lock(mutex);
    for (LeasedMail& mail : mails) {
      const MailJob& job = mail.job;
      if (job.lease_expired) {
        unknown.Increment();
        log::Warning("the lease of a mail expired, it may be sent twice",
                     {{"orderId", job.order_id}});
      }
      ++(IsFresh(job) ? fresh_busy : retries_busy);
      leased.push_back(std::move(mail));
      mail_is_leased.notify_one();
    }
    return !mails.empty();
  }

  // Asks users once for all who get a mail about an order. Whatever goes wrong with that, each mail then asks by itself,
  // and fails by itself.
  std::vector<LeasedMail> WithUsers(std::vector<MailJob> jobs) const {
    std::vector<LeasedMail> mails;
    std::set<int64_t> ids;
    size_t about_orders = 0;
    for (MailJob& job : jobs) {
      if (job.user_id > 0) {
        ids.insert(job.user_id);
        ++about_orders;
      }
      mails.push_back({std::move(job)});
    }
    if (about_orders < kManyMails) return mails;
    users::v1::BatchGetUsersRequest who;
    who.mutable_ids()->Assign(ids.begin(), ids.end());
    std::map<int64_t, users::v1::User> found;
    try {
      const auto trace = TraceContext::FromHeader(mails.front().job.traceparent);
      const auto answer = get_users(rpc::BackgroundCall(trace, kUsersLimit), who);
      if (!answer) return mails;
      for (const users::v1::User& user : answer->users()) found.emplace(user.id(), user);
    } catch (const std::exception&) {
      return mails;
    }
    for (LeasedMail& mail : mails) {
      if (mail.job.user_id <= 0) continue;
      const auto user = found.find(mail.job.user_id);
      mail.user.emplace();
      if (user != found.end()) *mail.user = user->second;
    }
    return mails;
  }

  static bool IsFresh(const MailJob& job) { return job.attempt == 1; }

  // --- sending: as many threads as mails at once

  void Work(const std::stop_token& stop) {
    Smtp connection(smtp);
    for (;;) {
      std::unique_lock lock(mutex);
      mail_is_leased.wait(lock, stop, [this] { return !leased.empty(); });
      if (stop.stop_requested()) return;
      const LeasedMail mail = std::move(leased.front());
      const MailJob& job = mail.job;
      leased.pop_front();
      const bool paused = steady_clock::now() < paused_until;
      lock.unlock();
      try {
        if (paused) {
          Release(db, {job});
        } else {
          SendOne(mail, connection, stop);
        }
      } catch (const std::exception& error) {
        NotRecorded(job, error);
      }
      lock.lock();
      --(IsFresh(job) ? fresh_busy : retries_busy);
      attempt_ends.notify_one();
    }
  }

  void SendOne(const LeasedMail& mail, Smtp& connection, const std::stop_token& stop) {
    const MailJob& job = mail.job;
    const TraceContext cause = TraceContext::FromHeader(job.traceparent);
    Span span(SpanKind::kClient, "send mail", cause);
    const Span::Scope current(span);
    span.Set("shop.mail.kind", job.kind);
    span.Set("shop.order.id", job.order_id);
    const TraceContext trace = span.ContextOr(cause);
    const log::Scope scope({{"traceId", trace.trace_id}, {"orderId", job.order_id}});
    Attempted attempted = JobState::kGone;
    try {
      attempted = Attempt(mail, trace, connection, stop);
    } catch (const Unavailable& error) {
      attempted = MailAnswer{MailOutcome::kAway, error.what()};
    } catch (const std::exception& error) {
      attempted = MailAnswer{MailOutcome::kFailed, error.what()};
    }
    const MailAnswer* answer = std::get_if<MailAnswer>(&attempted);
    if (answer && answer->outcome != MailOutcome::kSent) span.Fail(answer->why);
    const bool cancelled =
        answer && stop.stop_requested() &&
        (answer->outcome == MailOutcome::kFailed || answer->outcome == MailOutcome::kAway);
    if (cancelled) {
      Release(db, {job});
    } else if (answer && answer->outcome == MailOutcome::kAway) {
      PauseSending(job, answer->why);
    } else if (answer) {
      Record(job, *answer);
    } else {
      End(job, std::get<JobState>(attempted));
    }
  }

  // Who gets the mail, and the token that one about an account may carry.
  struct Addressee {
    int64_t user_id;
    bool about_account = false;
    std::string token = {};
  };

  // Nothing when there is nobody to send it to. Throws as Attempt does, but not Unavailable: it is no
  // concern of other mails that auth is away.
  std::optional<Addressee> FindAddressee(const MailJob& job, const TraceContext& trace) const {
    if (job.kind == kResetRequested) {
      return AddresseeOf<events::v1::PasswordResetRequested>(prepare_reset, job, trace);
    }
    if (job.kind == kConfirmationRequested) {
      return AddresseeOf<events::v1::EmailConfirmationRequested>(prepare_confirmation, job, trace);
    }
    if (job.kind == kRegistrationRepeated) {
      return Addressee{EventOf<events::v1::RegistrationRepeated>(job).user_id(), true};
    }
    return Addressee{job.user_id};
  }

  // Of a mail that carries a token.
  template <typename Event, typename Request, typename Response>
  std::optional<Addressee> AddresseeOf(const rpc::ClientMethod<Request, Response>& prepare,
                                       const MailJob& job, const TraceContext& trace) const {
    Request request;
    request.set_request(EventOf<Event>(job).request());
    const Result<Response> mail = AskAuth(prepare, request, trace);
    if (mail) return Addressee{mail->user_id(), true, mail->token()};
    if (mail.refusal().code == Code::kNotFound) return std::nullopt;
    throw std::runtime_error("auth refused: " + mail.refusal().message);
  }

  template <typename Event>
  static Event EventOf(const MailJob& job) {
    Event event;
    if (!messaging::ReadValue(job.event, &event)) {
      throw std::runtime_error("the job's event cannot be read");
    }
    return event;
  }

  template <typename Request, typename Response>
  static Result<Response> AskAuth(const rpc::ClientMethod<Request, Response>& prepare,
                                  const Request& request, const TraceContext& trace) {
    try {
      return prepare(rpc::BackgroundCall(trace, kAuthLimit), request);
    } catch (const Unavailable& error) {
      throw std::runtime_error(error.what());
    }
  }

  // Throws only before anything was sent: Unavailable if the users service is down, anything else if the
  // fault is this mail's.
  Attempted Attempt(const LeasedMail& leased_mail, const TraceContext& trace, Smtp& connection,
                    const std::stop_token& stop) {
    const MailJob& job = leased_mail.job;
    const std::optional<Addressee> addressee = FindAddressee(job, trace);
    if (!addressee) return JobState::kGone;
    const std::optional<users::v1::User> user =
        leased_mail.user ? *leased_mail.user : FindUser(addressee->user_id, trace);
    if (!user) return JobState::kGone;
    if (!IsPlainAddress(user->email())) {
      return MailAnswer{MailOutcome::kRefused, "mail cannot be sent to this address"};
    }
    // Whoever registers an address that is not theirs writes nothing to its owner: not even a name.
    const bool named = user->email_confirmed() || !addressee->about_account;
    const Mail mail = Render(job, {named ? user->name() : "", user->email()}, addressee->token);
    if (!addressee->about_account) {
      const std::optional<JobState> forbidden = WhyNotTo(*user, job);
      if (forbidden) return *forbidden;
    }
    const MailAnswer answer =
        connection.Send(from.address, mail.to.address, ToMime(mail),
                        IsFresh(job) ? options.first_patience : smtp.timeout, stop);
    if (answer.outcome != MailOutcome::kAway) Resume();
    return answer;
  }

  std::optional<users::v1::User> FindUser(int64_t id, const TraceContext& trace) const {
    users::v1::GetUserRequest who;
    who.set_id(id);
    const Result<users::v1::User> user = get_user(rpc::BackgroundCall(trace, kUsersLimit), who);
    if (user) return *user;
    if (user.refusal().code == Code::kNotFound) return std::nullopt;
    throw std::runtime_error("users refused: " + user.refusal().message);
  }

  // In which state a mail about an order ends that must not be sent.
  std::optional<JobState> WhyNotTo(const users::v1::User& user, const MailJob& job) const {
    if (options.confirmed_only && !user.email_confirmed()) return JobState::kUnconfirmed;
    if (options.a_day > 0 && !CountMail(db, job, user.email(), options.a_day)) {
      return JobState::kOverLimit;
    }
    return std::nullopt;
  }

  // An outage concerns all mails. The pause grows once for all attempts that failed together. This
  // job is released for longer, so that another mail is tried next, in case this one is the cause.
  void PauseSending(const MailJob& job, const std::string& why) {
    attempts_away.Increment();
    milliseconds pause;
    {
      const std::lock_guard lock(mutex);
      if (steady_clock::now() >= paused_until) {
        ++outages;
        paused_until =
            steady_clock::now() + Pause(outages, options.first_pause, options.longest_away);
      }
      pause = std::chrono::ceil<milliseconds>(paused_until - steady_clock::now());
      up.Set(0);
    }
    log::Error("no mail can be sent, sending is paused",
               {{"pauseMs", pause.count()}, {"error", why}});
    Release(db, {job}, pause + options.first_pause);
  }

  // Called when the mail server has let an attempt name a recipient. A mail that ends before the
  // server was asked says nothing about the outage: the next mail finds out.
  void Resume() {
    const std::lock_guard lock(mutex);
    if (std::exchange(outages, 0) == 0) return;
    paused_until = {};
    up.Set(1);
    attempt_ends.notify_one();
    log::Info("mails can be sent again");
  }

  // A mail that is not to be sent.
  void End(const MailJob& job, JobState state) {
    std::string why = "there is nobody to send it to";
    if (state == JobState::kUnconfirmed) {
      unconfirmed.Increment();
      why = "nobody has confirmed the address";
    } else if (state == JobState::kOverLimit) {
      over_limit.Increment();
      why = "the address has had its mails of the day";
    }
    log::Info("no mail, " + why, {{"userId", job.user_id}, {"kind", job.kind}});
    HasCompleted(job, state, state == JobState::kGone ? "" : why);
  }

  // The leasing thread records it, with others.
  void HasCompleted(const MailJob& job, JobState state, const std::string& why = {}) {
    const std::lock_guard lock(mutex);
    completed.push_back({job, state, why});
  }

  void Record(const MailJob& job, const MailAnswer& answer) {
    switch (answer.outcome) {
      case MailOutcome::kSent:
        sent.Increment();
        log::Info("mail sent", {{"kind", job.kind}, {"attempt", job.attempt}});
        HasCompleted(job, JobState::kSent);
        return;
      case MailOutcome::kRefused:
        refused.Increment();
        log::Error("mail permanently refused", {{"kind", job.kind}, {"error", answer.why}});
        HasCompleted(job, JobState::kRefused, answer.why);
        return;
      case MailOutcome::kUnknown:
        unknown.Increment();
        Retry(job, "the outcome is unknown, it may be sent twice: " + answer.why);
        return;
      case MailOutcome::kFailed:
      case MailOutcome::kAway:  // handled by PauseSending
        failed.Increment();
        Retry(job, answer.why);
        return;
    }
  }

  Mail Render(const MailJob& job, const Mailbox& to, const std::string& token) const {
    Result<Mail> mail =
        MailAbout(EventType(job.kind), job.event, {from, to, job.created_at, token});
    if (!mail)
      throw std::runtime_error("the job's event cannot be read: " + mail.refusal().message);
    return *std::move(mail);
  }

  void Retry(const MailJob& job, const std::string& why) {
    const milliseconds pause = Pause(job.attempt, options.first_pause, options.longest_pause);
    log::Warning(
        "mail not sent, will be retried",
        {{"kind", job.kind}, {"attempt", job.attempt}, {"pauseMs", pause.count()}, {"error", why}});
    RetryLater(db, job, pause, why);
  }

  static prometheus::Counter& Attempts(const char* outcome) {
    return prometheus::BuildCounter()
        .Name("mail_attempts_total")
        .Help("Attempts to send a mail, by outcome")
        .Register(Metrics())
        .Add({{"outcome", outcome}});
  }

  prometheus::Counter& sent = Attempts("sent");
  prometheus::Counter& refused = Attempts("refused");
  prometheus::Counter& unknown = Attempts("unknown");
  prometheus::Counter& failed = Attempts("failed");
  prometheus::Counter& unconfirmed = Attempts("unconfirmed");
  prometheus::Counter& over_limit = Attempts("over_limit");
  prometheus::Counter& attempts_away = Attempts("away");
  prometheus::Gauge& up = prometheus::BuildGauge()
                              .Name("mail_relay_up")
                              .Help("0 while sending is paused because no mail can be sent")
                              .Register(Metrics())
                              .Add({});

  prometheus::Gauge& waiting =
      GaugeFamily("mails_waiting", "Mails that wait to be sent, for the first time or again")
          .Add({});

  postgres::Pool& db;
  const rpc::ClientMethod<users::v1::GetUserRequest, users::v1::User> get_user;
  const rpc::ClientMethod<users::v1::BatchGetUsersRequest, users::v1::BatchGetUsersResponse>
      get_users;
  const rpc::ClientMethod<auth::v1::PrepareResetMailRequest, auth::v1::ResetMail> prepare_reset;
  const rpc::ClientMethod<auth::v1::PrepareConfirmationMailRequest, auth::v1::ConfirmationMail>
      prepare_confirmation;
  const SmtpSettings smtp;
  const Mailbox from;
  const SenderOptions options;

  mutable std::mutex mutex;                    // guards all of these
  std::condition_variable_any mail_is_leased;  // workers wait for it
  std::condition_variable_any attempt_ends;  // or sending goes on: the leasing thread waits for it
  std::condition_variable_any round_ends;    // with the time alone
  std::deque<LeasedMail> leased;             // and not started
  std::vector<CompletedMail> completed;      // and not recorded
  int fresh_busy = 0;                        // leased or being sent
  int retries_busy = 0;
  int outages = 0;  // failed probes in a row; 0 while mails are sent
  steady_clock::time_point paused_until{};

  const Periodic counting{"waiting mails cannot be counted", options.count_every, [this] {
                            waiting.Set(static_cast<double>(postgres::Read(
                                db, [](postgres::Tx& tx) { return CountWaiting(tx); })));
                          }};
  std::vector<std::jthread> workers;
  std::jthread leasing;
};

MailSender::MailSender(postgres::Pool& db, const rpc::Channel& users, const rpc::Channel& auth,
                       const SmtpSettings& smtp, Mailbox from, const SenderOptions& options)
    : state_(std::make_unique<State>(db, users, auth, smtp, std::move(from), options)) {}

MailSender::~MailSender() = default;

bool MailSender::healthy() const {
  return state_->healthy();
}

}  // namespace shop::notification
