// Events in, money and events out, on a real database: against a fake provider that can be held at any
// point, and against the built-in one over HTTP.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <ctime>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "audit_migrations.h"
#include "common/audit/testing/entries.h"
#include "common/postgres/migrations.h"
#include "common/rpc/identity.h"
#include "common/rpc/server.h"
#include "common/testing/callers.h"
#include "common/testing/database.h"
#include "common/testing/deliver.h"
#include "common/testing/published_events.h"
#include "common/testing/servers.h"
#include "idempotency_migrations.h"
#include "messaging_migrations.h"
#include "payments/payment_events.h"
#include "payments/payment_store.h"
#include "payments/payment_worker.h"
#include "payments/payments_service.h"
#include "payments/provider_client.h"
#include "payments_migrations.h"
#include "provider/api.h"
#include "provider/background.h"
#include "provider/http_server.h"
#include "provider/ledger.h"
#include "provider_migrations.h"
#include "shop/events/v1/orders.pb.h"
#include "shop/events/v1/stock.pb.h"

namespace shop::payments {
namespace {

using std::chrono::milliseconds;
using ::testing::AnyOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr int64_t kAda = 7;
constexpr int64_t kOrder = 42;
constexpr char kSecret[] = "whsec_test";
constexpr char kServiceName[] = "shop.payments.v1.PaymentsService";

// A UUID that follows from the number.
std::string Uuid(int64_t order_id) {
  const std::string digits = std::to_string(order_id);
  return "00000000-0000-4000-8000-" + std::string(12 - digits.size(), '0') + digits;
}

// 2 of product 1 at 10.00 and 1 of product 2 at 5.00.
events::v1::StockReserved Reserved(int64_t order_id = kOrder, const std::string& token = {}) {
  events::v1::StockReserved stock;
  stock.set_order_id(order_id);
  stock.set_order_uuid(Uuid(order_id));
  stock.set_user_id(kAda);
  stock.set_total_price(2500);
  stock.set_currency("USD");
  stock.set_payment_method(orders::v1::PAYMENT_METHOD_CREDIT_CARD);
  stock.set_payment_token(token);
  stock.set_order_number("7K3M-9QXD");
  for (const auto& [product, quantity, price] : {std::tuple(1, 2, 1000), std::tuple(2, 1, 500)}) {
    orders::v1::OrderItem* item = stock.add_items();
    item->set_product_id(product);
    item->set_quantity(quantity);
    item->set_unit_price(price);
    item->set_total_price(quantity * price);
  }
  return stock;
}

template <typename Event>
Event About(int64_t order_id = kOrder) {
  Event event;
  event.set_order_id(order_id);
  event.set_order_uuid(Uuid(order_id));
  event.set_user_id(kAda);
  return event;
}

// A provider in memory that keeps its promises, with a hook before and after each call takes effect.
class FakeProvider : public PaymentProvider {
 public:
  using Hook = std::function<void(Ask)>;

  ChargeAnswer Authorize(const ChargeRequest& request, const std::stop_token& stop) override {
    return Charged(Ask::kAuthorize, request.key, stop, [&](Account& account) {
      if (account.charge == Charge::kNone) account.charge = Charge::kAuthorized;
    });
  }
  ChargeAnswer Capture(const std::string& key, int64_t amount,
                       const std::stop_token& stop) override {
    return Charged(Ask::kCapture, key, stop, [&](Account& account) {
      if (account.charge != Charge::kAuthorized) return;
      account.charge = Charge::kCaptured;
      account.captured += amount;
    });
  }
  ChargeAnswer Void(const std::string& key, const std::stop_token& stop) override {
    return Charged(Ask::kVoid, key, stop, [&](Account& account) {
      if (account.charge <= Charge::kAuthorized) account.charge = Charge::kVoided;
    });
  }
  ChargeAnswer Query(const std::string& key, const std::stop_token& stop) override {
    return Charged(Ask::kQuery, key, stop, [](Account&) {});
  }
  RefundAnswer Refund(const std::string& key, const std::string& refund, int64_t amount,
                      const std::stop_token& stop) override {
    Run(before, Ask::kRefund);
    {
      const std::lock_guard lock(mutex_);
      ++calls_[Ask::kRefund];
      if (refuse_refunds) return RefundRejected{"no refunds today"};
      accounts_[key].refunds[refund] = amount;
    }
    return Unheard(Ask::kRefund, stop) ? RefundAnswer(NoAnswer{"lost"}) : RefundAccepted{};
  }

  int64_t Kept(const std::string& key) const {
    const std::lock_guard lock(mutex_);
    const auto found = accounts_.find(key);
    return found == accounts_.end() ? 0 : Kept(found->second);
  }
  // Under all keys.
  int64_t KeptInAll() const {
    const std::lock_guard lock(mutex_);
    int64_t kept = 0;
    for (const auto& [key, account] : accounts_) kept += Kept(account);
    return kept;
  }
  Charge ChargeOf(const std::string& key) const {
    const std::lock_guard lock(mutex_);
    const auto found = accounts_.find(key);
    return found == accounts_.end() ? Charge::kNone : found->second.charge;
  }
  int calls(Ask ask) const {
    const std::lock_guard lock(mutex_);
    const auto found = calls_.find(ask);
    return found == calls_.end() ? 0 : found->second;
  }

  // Set before the workers start.
  Hook before;
  Hook after;
  std::function<bool(Ask)> lose = [](Ask) { return false; };  // whether the answer is lost
  std::atomic<bool> refuse_refunds = false;
  std::atomic<bool> idle = false;           // answers what there is, and does nothing
  std::atomic<bool> until_stopped = false;  // answers once it is told to stop

 private:
  struct Account {
    Charge charge = Charge::kNone;
    int64_t captured = 0;
    std::map<std::string, int64_t> refunds;
  };

  static int64_t Kept(const Account& account) {
    int64_t kept = account.captured;
    for (const auto& [uuid, amount] : account.refunds) kept -= amount;
    return kept;
  }
  static void Run(const Hook& hook, Ask ask) {
    if (hook) hook(ask);
  }
  bool Unheard(Ask ask, const std::stop_token& stop) {
    Run(after, ask);
    return lose(ask) || stop.stop_requested();
  }
  ChargeAnswer Charged(Ask ask, const std::string& key, const std::stop_token& stop,
                       const std::function<void(Account&)>& effect) {
    Run(before, ask);
    Charge charge;
    {
      const std::lock_guard lock(mutex_);
      ++calls_[ask];
      Account& account = accounts_[key];
      if (!idle) effect(account);
      charge = account.charge;
    }
    while (until_stopped && !stop.stop_requested()) std::this_thread::yield();
    if (Unheard(ask, stop)) return NoAnswer{"lost"};
    if (charge == Charge::kNone) return NotFound{};
    return Reported{charge, "", ""};
  }

  mutable std::mutex mutex_;
  std::map<std::string, Account> accounts_;
  std::map<Ask, int> calls_;
};

// Holds whoever passes until it is opened.
class Gate {
 public:
  void Pass() {
    std::unique_lock lock(mutex_);
    ++waiting_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return open_; });
    --waiting_;
  }
  void AwaitSomebody() {
    std::unique_lock lock(mutex_);
    ASSERT_TRUE(changed_.wait_for(lock, std::chrono::seconds(20), [this] { return waiting_ > 0; }));
  }
  void Open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int waiting_ = 0;
  bool open_ = false;
};

class PaymentsTest : public ::testing::Test {
 protected:
  PaymentsTest() {
    postgres::Migrate(
        db_, {kMessagingMigrations, kIdempotencyMigrations, kAuditMigrations, kPaymentsMigrations});
  }

  static WorkerOptions Quick() {
    WorkerOptions options;
    options.poll = milliseconds(20);
    options.pace = {.lease = std::chrono::seconds(60),
                    .first_pause = milliseconds(5),
                    .longest_pause = milliseconds(50)};
    return options;
  }

  Result<void> Receive(const google::protobuf::Message& fact) { return Receive(EventOf(fact)); }
  Result<void> Receive(const messaging::Envelope& event) {
    return shop::testing::Deliver(db_, EventHandlers(), "payments", event);
  }
  std::vector<std::string> Published() { return shop::testing::PublishedTypes(db_); }
  bool Publishes(const std::string& type) {
    return shop::testing::Eventually([&] {
      const std::vector<std::string> types = Published();
      return std::find(types.begin(), types.end(), type) != types.end();
    });
  }
  // Nothing is left to ask, and nobody is at it.
  bool Rests() {
    return shop::testing::Eventually([&] {
      return Value(
                 "SELECT count(*) FROM payments WHERE next_at IS NOT NULL"
                 " OR leased_until IS NOT NULL") == "0";
    });
  }
  std::string Value(const std::string& sql) {
    return postgres::Read(db_,
                          [&](postgres::Tx& tx) { return tx.Run(sql)[0][0].as<std::string>(""); });
  }
  void Change(const std::string& sql) {
    postgres::InTransaction(db_, [&](postgres::Tx& tx) { tx.Run(sql); });
  }
  static Call CallOf(int64_t user_id, api::v1::Role role = api::v1::ROLE_USER) {
    Call call;
    call.caller.user_id = user_id;
    call.caller.role = role;
    return call;
  }
  Result<v1::Payment> Get(int64_t user_id = kAda, api::v1::Role role = api::v1::ROLE_USER,
                          int64_t order_id = kOrder) {
    v1::GetPaymentRequest request;
    request.set_order_id(order_id);
    return service_.GetPayment(CallOf(user_id, role), request);
  }
  Result<v1::Refund> Refund(const std::vector<RefundLine>& lines = {}, const std::string& key = {},
                            int64_t order_id = kOrder) {
    v1::CreateRefundRequest request;
    request.set_order_id(order_id);
    request.set_idempotency_key(key);
    for (const RefundLine& line : lines) {
      v1::RefundLine* item = request.add_items();
      item->set_product_id(line.product_id);
      item->set_quantity(line.quantity);
    }
    return service_.CreateRefund(CallOf(1, api::v1::ROLE_ADMIN), request);
  }
  static std::string Reason(const Result<v1::Refund>& refund) {
    return refund ? "" : refund.refusal().reason;
  }
  Result<void> ReceiveTogether(const std::vector<messaging::Envelope>& events) {
    return shop::testing::Deliver(db_, EventHandlers(), "payments", events);
  }
  static messaging::Envelope EventOf(const google::protobuf::Message& fact) {
    return messaging::MakeEvent(fact, {.source = "test", .trace = TraceContext::New()});
  }
  // The next call, begun.
  std::optional<Job> Lease(const Pace& pace = {}) {
    std::vector<Job> jobs = TakeTurn(db_, {}, {.calls = 1, .retries = 1}, pace).jobs;
    if (jobs.empty()) return std::nullopt;
    return std::move(jobs.front());
  }
  static Made Answered(const Job& job, shop::payments::Charge charge) {
    return {job, Reported{charge, "", ""}, {std::string(Text(charge))}};
  }
  static std::string UuidOf(const Job& job) { return job.stored.payment.order.uuid; }
  void Charge2500(int64_t order_id = kOrder) {
    ASSERT_TRUE(Receive(Reserved(order_id)));
    const PaymentWorker worker(db_, provider_, Quick());
    ASSERT_TRUE(Publishes("PAYMENT_COMPLETED"));
    ASSERT_TRUE(Rests());
  }

  shop::testing::TestDatabase database_;
  postgres::Pool db_{database_.settings()};
  PaymentsService service_{db_, kSecret};
  FakeProvider provider_;
};

TEST_F(PaymentsTest, AnOrderWhoseStockIsReservedIsChargedAndTold) {
  ASSERT_TRUE(Receive(Reserved()));
  EXPECT_EQ(Get()->status(), v1::PAYMENT_STATUS_PENDING);
  const PaymentWorker worker(db_, provider_, Quick());
  ASSERT_TRUE(Publishes("PAYMENT_COMPLETED"));
  ASSERT_TRUE(Rests());
  EXPECT_EQ(provider_.Kept(Uuid(kOrder)), 2500);
  const Result<v1::Payment> payment = Get();
  ASSERT_TRUE(payment);
  EXPECT_EQ(payment->status(), v1::PAYMENT_STATUS_COMPLETED);
  EXPECT_EQ(payment->captured(), 2500);
  EXPECT_EQ(payment->payment_method(), orders::v1::PAYMENT_METHOD_CREDIT_CARD);
  ASSERT_EQ(payment->attempts_size(), 2);
  EXPECT_EQ(payment->attempts(0).operation(), "AUTHORIZE");
  EXPECT_EQ(payment->attempts(0).outcome(), "AUTHORIZED");
  EXPECT_EQ(payment->attempts(1).operation(), "CAPTURE");
  EXPECT_EQ(payment->attempts(1).outcome(), "CAPTURED");
  EXPECT_TRUE(payment->attempts(1).has_ended_at());
  EXPECT_EQ(Value("SELECT token FROM payments"), "");
  const messaging::Envelope event = shop::testing::PublishedEvents(db_).at(0);
  EXPECT_EQ(event.key, std::to_string(kOrder));
  EXPECT_THAT(event.value, HasSubstr(R"("amount":25.00,"currency":"USD")"));
}

TEST_F(PaymentsTest, ASecondDeliveryChargesNothing) {
  const messaging::Envelope event =
      messaging::MakeEvent(Reserved(), {.source = "stock", .trace = TraceContext::New()});
  ASSERT_TRUE(Receive(event));
  const PaymentWorker worker(db_, provider_, Quick());
  ASSERT_TRUE(Publishes("PAYMENT_COMPLETED"));
  ASSERT_TRUE(Receive(event));
  ASSERT_TRUE(Receive(Reserved())) << "published again under another id";
  ASSERT_TRUE(Rests());
  EXPECT_EQ(provider_.calls(Ask::kAuthorize), 1);
  EXPECT_EQ(provider_.calls(Ask::kCapture), 1);
  EXPECT_THAT(Published(), ElementsAre("PAYMENT_COMPLETED"));
}

TEST_F(PaymentsTest, PaymentsAreCountedByTheirOutcomeOnce) {
  const Outcomes& counted = CountedOutcomes();
  const auto values = [&] {
    return std::vector{counted.completed.Value(), counted.failed.Value(), counted.refunded.Value()};
  };
  const std::vector<double> before = values();
  Charge2500();
  EXPECT_THAT(values(), ElementsAre(before[0] + 1, before[1], before[2]));
  ASSERT_TRUE(Receive(About<events::v1::OrderCancelled>()));
  ASSERT_TRUE(Receive(About<events::v1::OrderCancelled>(kOrder + 1)));
  ASSERT_TRUE(Receive(Reserved(kOrder + 1)));
  const PaymentWorker worker(db_, provider_, Quick());
  ASSERT_TRUE(Publishes("PAYMENT_REFUNDED"));
  ASSERT_TRUE(Rests());
  EXPECT_THAT(values(), ElementsAre(before[0] + 1, before[1] + 1, before[2] + 1));
  ASSERT_TRUE(Receive(Reserved()));
  ASSERT_TRUE(Receive(About<events::v1::OrderCancelled>()));
  ASSERT_TRUE(Rests());
  EXPECT_THAT(values(), ElementsAre(before[0] + 1, before[1] + 1, before[2] + 1));
}

TEST_F(PaymentsTest, AnOrderThatWasCancelledFirstIsNeverCharged) {
  ASSERT_TRUE(Receive(About<events::v1::OrderCancelled>()));
  EXPECT_EQ(Get().refusal().code, Code::kNotFound) << "it was never wanted";
  ASSERT_TRUE(Receive(Reserved()));
  EXPECT_THAT(Published(), ElementsAre("PAYMENT_FAILED"));
  EXPECT_EQ(Get()->failure_code(), "order_cancelled");
  EXPECT_EQ(Value("SELECT count(*) FROM payments WHERE next_at IS NOT NULL"), "0");
  EXPECT_EQ(Value("SELECT token FROM payments"), "");
}

TEST_F(PaymentsTest, ACancelDuringTheAuthorizationVoidsIt) {
  Gate gate;
  provider_.before = [&](Ask ask) {
    if (ask == Ask::kAuthorize) gate.Pass();
  };
  const PaymentWorker worker(db_, provider_, Quick());
  ASSERT_TRUE(Receive(Reserved()));
  gate.AwaitSomebody();
  ASSERT_TRUE(Receive(About<events::v1::OrderCancelled>()));
  EXPECT_THAT(Published(), IsEmpty()) << "what becomes of the charge is not known yet";
  gate.Open();
  ASSERT_TRUE(Publishes("PAYMENT_FAILED"));
  ASSERT_TRUE(Rests());
  EXPECT_EQ(provider_.ChargeOf(Uuid(kOrder)), Charge::kVoided);
  EXPECT_EQ(provider_.calls(Ask::kCapture), 0);
  EXPECT_THAT(Published(), ElementsAre("PAYMENT_FAILED"));
}

TEST_F(PaymentsTest, ACaptureThatFinishesAfterTheCancelGoesBackByItself) {
  Gate gate;
  provider_.before = [&](Ask ask) {
    if (ask == Ask::kCapture) gate.Pass();
  };
  const PaymentWorker worker(db_, provider_, Quick());
  ASSERT_TRUE(Receive(Reserved()));
  gate.AwaitSomebody();
  ASSERT_TRUE(Receive(About<events::v1::OrderCancelled>()));
  gate.Open();
  ASSERT_TRUE(Publishes("PAYMENT_REFUNDED"));
  ASSERT_TRUE(Rests());
  EXPECT_EQ(provider_.ChargeOf(Uuid(kOrder)), Charge::kCaptured);
  EXPECT_EQ(provider_.Kept(Uuid(kOrder)), 0);
  EXPECT_EQ(Get()->status(), v1::PAYMENT_STATUS_REFUNDED);
  EXPECT_EQ(Get()->refunds(0).cause(), "ORDER_CANCELLED");
  EXPECT_THAT(Published(), ElementsAre("PAYMENT_COMPLETED", "PAYMENT_REFUNDED"));
}

TEST_F(PaymentsTest, ACancelAfterTheChargeRefundsItOnce) {
  Charge2500();
  ASSERT_TRUE(Receive(About<events::v1::OrderCancelled>()));
  ASSERT_TRUE(Receive(About<events::v1::OrderCancelled>()));
  const PaymentWorker worker(db_, provider_, Quick());
  ASSERT_TRUE(Publishes("PAYMENT_REFUNDED"));
  ASSERT_TRUE(Rests());
  EXPECT_EQ(provider_.calls(Ask::kRefund), 1);
  EXPECT_EQ(provider_.Kept(Uuid(kOrder)), 0);
}

// A worker that dies after its call has had its effect, at each of the calls.
TEST_F(PaymentsTest, AWorkerThatDiesBetweenCallAndCommitCostsNoSecondCharge) {
  ASSERT_TRUE(Receive(Reserved()));
  const Pace no_lease{.lease = milliseconds(0)};
  const std::stop_token never;
  const std::string key = Uuid(kOrder);

  std::optional<Job> job = Lease(no_lease);
  ASSERT_EQ(job->next.ask, Ask::kAuthorize);
  (void)provider_.Authorize({key, 2500, "USD", "tok_approve"}, never);  // and dies

  job = Lease(no_lease);
  ASSERT_EQ(job->next.ask, Ask::kQuery) << "nobody knows what the first call did";
  job = Finish(db_, Answered(*job, Charge::kAuthorized), no_lease);
  ASSERT_EQ(job->next.ask, Ask::kCapture);
  (void)provider_.Capture(key, 2500, never);  // and dies

  const PaymentWorker worker(db_, provider_, Quick());
  ASSERT_TRUE(Publishes("PAYMENT_COMPLETED"));
  ASSERT_TRUE(Rests());
  EXPECT_EQ(provider_.KeptInAll(), 2500);
  EXPECT_THAT(Published(), ElementsAre("PAYMENT_COMPLETED"));
  EXPECT_EQ(Get()->attempts(0).outcome(), "UNKNOWN");
}

TEST_F(PaymentsTest, AnAnswerThatComesAfterItsLeaseStillCountsAndChangesNothingTwice) {
  ASSERT_TRUE(Receive(Reserved()));
  const Pace no_lease{.lease = milliseconds(0)};
  const std::optional<Job> slow = Lease(no_lease);
  const std::optional<Job> other = Lease();
  ASSERT_TRUE(other);
  EXPECT_FALSE(Finish(db_, Answered(*slow, Charge::kCaptured), Pace()))
      << "it goes on with nothing";
  EXPECT_THAT(Published(), ElementsAre("PAYMENT_COMPLETED"));
  EXPECT_NE(Value("SELECT leased_until FROM payments"), "") << "the other one's lease";
  EXPECT_FALSE(Finish(db_, Answered(*other, Charge::kAuthorized), Pace()));
  EXPECT_THAT(Published(), ElementsAre("PAYMENT_COMPLETED"));
  EXPECT_EQ(Get()->status(), v1::PAYMENT_STATUS_COMPLETED);
}

TEST_F(PaymentsTest, APaymentThatIsLeasedIsNobodyElses) {
  ASSERT_TRUE(Receive(Reserved()));
  ASSERT_TRUE(Lease());
  EXPECT_FALSE(Lease());
}

TEST_F(PaymentsTest, TwoWorkersAtOnceChargeEachPaymentOnce) {
  constexpr int kOrders = 40;
  for (int i = 1; i <= kOrders; ++i) ASSERT_TRUE(Receive(Reserved(i)));
  postgres::Pool other_db(database_.settings());
  const PaymentWorker one(db_, provider_, Quick());
  const PaymentWorker other(other_db, provider_, Quick());
  ASSERT_TRUE(Rests());
  for (int i = 1; i <= kOrders; ++i) EXPECT_EQ(provider_.Kept(Uuid(i)), 2500) << i;
  EXPECT_EQ(provider_.KeptInAll(), kOrders * 2500);
  EXPECT_EQ(provider_.calls(Ask::kAuthorize), kOrders);
  EXPECT_EQ(provider_.calls(Ask::kCapture), kOrders);
  EXPECT_EQ(Published().size(), static_cast<size_t>(kOrders));
}

TEST_F(PaymentsTest, AnswersThatAreLostAreFoundOutAndNothingIsDoneTwice) {
  std::mutex mutex;
  std::map<Ask, int> lost;
  provider_.lose = [&](Ask ask) {
    const std::lock_guard lock(mutex);
    return ask != Ask::kQuery && lost[ask]++ == 0;
  };
  const PaymentWorker worker(db_, provider_, Quick());
  ASSERT_TRUE(Receive(Reserved()));
  ASSERT_TRUE(Publishes("PAYMENT_COMPLETED"));
  ASSERT_TRUE(Rests());
  EXPECT_EQ(provider_.KeptInAll(), 2500);
  EXPECT_GE(provider_.calls(Ask::kQuery), 2);
  EXPECT_FALSE(Get()->attempts(0).has_detail());
  EXPECT_EQ(Get(1, api::v1::ROLE_ADMIN)->attempts(0).detail(), "lost");
  ASSERT_TRUE(Refund());
  ASSERT_TRUE(Publishes("PAYMENT_REFUNDED"));
  EXPECT_EQ(provider_.calls(Ask::kRefund), 2) << "the same one again";
  EXPECT_EQ(provider_.KeptInAll(), 0);
}

// Each call is answered, and by none is the payment any further.
TEST_F(PaymentsTest, AProviderThatAnswersAndDoesNothingIsAskedEverMoreSlowly) {
  provider_.idle = true;
  WorkerOptions options = Quick();
  options.pace.first_pause = milliseconds(200);
  options.pace.longest_pause = std::chrono::seconds(60);
  const PaymentWorker worker(db_, provider_, options);
  ASSERT_TRUE(Receive(Reserved()));
  ASSERT_TRUE(shop::testing::Eventually(
      [&] { return std::stoi(Value("SELECT failures FROM payments")) >= 3; }));
  EXPECT_LE(provider_.calls(Ask::kAuthorize) + provider_.calls(Ask::kQuery), 9);
  provider_.idle = false;
  EXPECT_TRUE(Publishes("PAYMENT_COMPLETED"));
}

// Looking for those that are new does not go through the others.
TEST_F(PaymentsTest, PaymentsThatFailAgainAndAgainDoNotSlowTheLeaseOfNewOnes) {
  ASSERT_TRUE(Receive(Reserved()));
  Change(
      "INSERT INTO payments (order_uuid, order_id, user_id, order_number, next_at, failures)"
      " SELECT gen_random_uuid(), 100 + n, 1, '', now() - interval '1 hour', 1"
      " FROM generate_series(1, 20000) AS n");
  Change("ANALYZE payments");
  const std::string plan = Value(
      "EXPLAIN (FORMAT JSON) SELECT FROM payments WHERE next_at <= now() AND failures = 0"
      " ORDER BY next_at LIMIT 16");
  EXPECT_THAT(plan, HasSubstr("payments_due_fresh"));
  EXPECT_THAT(plan, Not(AnyOf(HasSubstr("Sort"), HasSubstr("Filter")))) << "row by row";
}

TEST_F(PaymentsTest, NewPaymentsDoNotWaitBehindThoseWhoseCallsHang) {
  Gate gate;
  std::atomic<bool> hang = true;
  provider_.before = [&](Ask ask) {
    if (ask == Ask::kQuery && hang) gate.Pass();
  };
  std::atomic<int> to_lose = 8;
  provider_.lose = [&](Ask ask) { return ask == Ask::kAuthorize && to_lose-- > 0; };
  WorkerOptions options = Quick();
  options.at_once = 4;
  options.retries_at_once = 2;
  const PaymentWorker worker(db_, provider_, options);
  for (int i = 1; i <= 8; ++i) ASSERT_TRUE(Receive(Reserved(i)));
  gate.AwaitSomebody();
  ASSERT_TRUE(shop::testing::Eventually([&] { return provider_.calls(Ask::kAuthorize) == 8; }));
  ASSERT_TRUE(Receive(Reserved(99)));
  EXPECT_TRUE(shop::testing::Eventually([&] { return provider_.Kept(Uuid(99)) == 2500; }));
  hang = false;
  gate.Open();
  EXPECT_TRUE(Rests());
}

TEST_F(PaymentsTest, AWorkerIsUnwellWhileNobodyAnswersAndWellAgainAfterwards) {
  std::atomic<bool> away = true;
  provider_.lose = [&](Ask) { return away.load(); };
  const PaymentWorker worker(db_, provider_, Quick());
  ASSERT_TRUE(Receive(Reserved()));
  EXPECT_TRUE(shop::testing::Eventually([&] { return !worker.healthy(); }));
  away = false;
  EXPECT_TRUE(Publishes("PAYMENT_COMPLETED"));
  EXPECT_TRUE(worker.healthy());
}

TEST_F(PaymentsTest, AWorkerThatIsStoppedLeavesItsPaymentDueForTheNext) {
  provider_.until_stopped = true;
  {
    const PaymentWorker worker(db_, provider_, Quick());
    ASSERT_TRUE(Receive(Reserved()));
    ASSERT_TRUE(shop::testing::Eventually([&] { return provider_.calls(Ask::kAuthorize) == 1; }));
  }
  provider_.until_stopped = false;
  EXPECT_EQ(Value("SELECT count(*) FROM payments WHERE leased_until IS NOT NULL"), "0");
  EXPECT_THAT(Published(), IsEmpty());
  const PaymentWorker next(db_, provider_, Quick());
  ASSERT_TRUE(Publishes("PAYMENT_COMPLETED"));
  EXPECT_EQ(provider_.KeptInAll(), 2500);
}

// --- several at once

TEST_F(PaymentsTest, EventsThatComeTogetherDoWhatTheyDoOneByOne) {
  ASSERT_TRUE(Receive(About<events::v1::OrderCancelled>(3)));
  ASSERT_TRUE(Receive(Reserved(4)));
  ASSERT_TRUE(ReceiveTogether(
      {EventOf(Reserved(2)), EventOf(Reserved(1, "tok_a")), EventOf(Reserved(3)),
       EventOf(Reserved(1, "tok_b")), EventOf(Reserved(4)), EventOf(Reserved(5)),
       EventOf(About<events::v1::OrderCancelled>(5)), EventOf(About<events::v1::OrderCancelled>(4)),
       EventOf(About<events::v1::OrderCancelled>(5)),
       EventOf(About<events::v1::OrderCancelled>(6))}));
  EXPECT_EQ(Value("SELECT string_agg(order_id || ' ' || wanted || ' ' || cancelled || ' ' || amount"
                  " || ' ' || outcome || ' ' || token || ' ' || jsonb_array_length(items)"
                  " || CASE WHEN next_at IS NULL THEN '' ELSE ' due' END, ', ' ORDER BY order_id)"
                  " FROM payments"),
            "1 true false 2500 OPEN tok_a 2 due, 2 true false 2500 OPEN tok_approve 2 due, "
            "3 true true 2500 FAILED  2, 4 true true 2500 FAILED  2, 5 true true 2500 FAILED  2, "
            "6 false true 0 OPEN  0");
  EXPECT_THAT(Published(), ElementsAre("PAYMENT_FAILED", "PAYMENT_FAILED", "PAYMENT_FAILED"));
  const PaymentWorker worker(db_, provider_, Quick());
  ASSERT_TRUE(Rests());
  EXPECT_EQ(provider_.Kept(Uuid(1)) + provider_.Kept(Uuid(2)), 5000);
  EXPECT_EQ(provider_.calls(Ask::kAuthorize), 2);
}

TEST_F(PaymentsTest, ABadEventAmongGoodOnesIsRefusedAndKeepsNothing) {
  const std::vector<messaging::Envelope> events{EventOf(Reserved(1)), EventOf(Reserved(0)),
                                                EventOf(Reserved(2))};
  EXPECT_FALSE(ReceiveTogether(events));
  EXPECT_EQ(Value("SELECT count(*) FROM payments"), "0");
  // One by one, as the consumer does it then.
  EXPECT_TRUE(Receive(events[0]));
  EXPECT_FALSE(Receive(events[1]));
  EXPECT_TRUE(Receive(events[2]));
  EXPECT_EQ(Value("SELECT count(*) FROM payments"), "2");
  events::v1::StockReserved other = Reserved(1);
  other.set_order_uuid(Uuid(77));
  EXPECT_THROW((void)ReceiveTogether({EventOf(Reserved(3)), EventOf(other)}), std::runtime_error);
  EXPECT_EQ(Value("SELECT count(*) FROM payments"), "2");
}

TEST_F(PaymentsTest, SeveralReturnsOfOneOrderAreNoMoreThanWasBought) {
  Charge2500();
  std::vector<messaging::Envelope> events;
  for (int i = 0; i < 3; ++i) {
    auto returned = About<events::v1::OrderReturned>();
    returned.set_return_uuid(Uuid(i));
    orders::v1::OrderItem* item = returned.add_items();
    item->set_product_id(1);
    item->set_quantity(1);
    events.push_back(EventOf(returned));
  }
  ASSERT_TRUE(ReceiveTogether(events));
  const PaymentWorker worker(db_, provider_, Quick());
  ASSERT_TRUE(Rests());
  EXPECT_EQ(provider_.Kept(Uuid(kOrder)), 500);
  EXPECT_EQ(Get()->refunds_size(), 2);
}

TEST_F(PaymentsTest, ATurnLeasesAsManyAsThereIsRoomForAndTheOldestFirst) {
  for (int i = 1; i <= 5; ++i) ASSERT_TRUE(Receive(Reserved(i)));
  Turn turn = TakeTurn(db_, {}, {.calls = 3, .retries = 3}, Pace());
  EXPECT_TRUE(turn.more);
  ASSERT_EQ(turn.jobs.size(), 3);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(UuidOf(turn.jobs[i]), Uuid(i + 1));
  EXPECT_EQ(Value("SELECT count(*) FROM attempts WHERE outcome IS NULL"), "3");

  // Two bring nothing and are due again; of such only one is leased, and what is new besides.
  const Pace no_pause{.first_pause = milliseconds(0)};
  turn = TakeTurn(db_, {{turn.jobs[0], {}, {"UNKNOWN"}}, {turn.jobs[1], {}, {"UNKNOWN"}}},
                  {.calls = 4, .retries = 1}, no_pause);
  ASSERT_TRUE(Receive(Reserved(6)));
  turn = TakeTurn(db_, {}, {.calls = 1, .retries = 1}, no_pause);
  ASSERT_EQ(turn.jobs.size(), 1);
  EXPECT_TRUE(turn.jobs[0].retry);
  EXPECT_EQ(turn.jobs[0].next.ask, Ask::kQuery);
  EXPECT_TRUE(turn.more);
  turn = TakeTurn(db_, {}, {.calls = 4, .retries = 0}, no_pause);
  ASSERT_EQ(turn.jobs.size(), 1);
  EXPECT_EQ(UuidOf(turn.jobs[0]), Uuid(6));
  EXPECT_FALSE(turn.more);
}

TEST_F(PaymentsTest, CallsThatEndTogetherAreRecordedTogether) {
  for (int i = 1; i <= 4; ++i) ASSERT_TRUE(Receive(Reserved(i)));
  std::vector<Job> jobs = TakeTurn(db_, {}, {.calls = 3}, Pace()).jobs;
  ASSERT_EQ(jobs.size(), 3);
  Turn turn =
      TakeTurn(db_,
               {Answered(jobs[0], Charge::kAuthorized),
                {jobs[1], {}, {"UNKNOWN", "lost"}},
                {jobs[2], Reported{Charge::kDeclined, "card_declined", "no"}, {"DECLINED"}}},
               {.calls = 3}, Pace());
  ASSERT_EQ(turn.jobs.size(), 2) << "the capture, and the payment that was due";
  EXPECT_EQ(turn.jobs[0].next.ask, Ask::kCapture);
  EXPECT_EQ(UuidOf(turn.jobs[1]), Uuid(4));
  EXPECT_EQ(Value("SELECT string_agg(order_id || ' ' || charge || ' ' || failures || ' ' ||"
                  " (leased_until IS NOT NULL), ', ' ORDER BY order_id) FROM payments"),
            "1 AUTHORIZED 0 true, 2 NONE 1 false, 3 DECLINED 0 false, 4 NONE 0 true");
  EXPECT_EQ(Value("SELECT string_agg(operation || ' ' || coalesce(outcome, '-') || ' ' ||"
                  " coalesce(detail, '-'), ', ' ORDER BY id) FROM attempts WHERE order_uuid <> '" +
                  Uuid(4) + "'"),
            "AUTHORIZE AUTHORIZED -, AUTHORIZE UNKNOWN lost, AUTHORIZE DECLINED -, CAPTURE - -");
  turn = TakeTurn(
      db_, {Answered(turn.jobs[1], Charge::kCaptured), Answered(turn.jobs[0], Charge::kCaptured)},
      {}, Pace());
  EXPECT_TRUE(turn.jobs.empty());
  EXPECT_THAT(Published(), ElementsAre("PAYMENT_FAILED", "PAYMENT_COMPLETED", "PAYMENT_COMPLETED"));
}

TEST_F(PaymentsTest, AWorkerThatDiesBeforeItsCallsLeavesThemInDoubt) {
  for (int i = 1; i <= 3; ++i) ASSERT_TRUE(Receive(Reserved(i)));
  const Pace no_lease{.lease = milliseconds(0)};
  ASSERT_EQ(TakeTurn(db_, {}, {.calls = 3}, no_lease).jobs.size(), 3);  // and dies
  EXPECT_EQ(Value("SELECT count(*) FROM payments WHERE asked AND doubt = 'UNANSWERED'"), "3");
  const PaymentWorker worker(db_, provider_, Quick());
  ASSERT_TRUE(Rests());
  EXPECT_EQ(provider_.calls(Ask::kAuthorize), 3);
  for (int i = 1; i <= 3; ++i) EXPECT_EQ(provider_.Kept(Uuid(i)), 2500) << i;
  EXPECT_EQ(Value("SELECT count(*) FROM attempts WHERE outcome = 'UNKNOWN'"), "3");
}

TEST_F(PaymentsTest, OneOfAGroupWhoseLeaseWasLostStillCountsAndEndsNobodysLease) {
  ASSERT_TRUE(Receive(Reserved(1)));
  const std::optional<Job> slow = Lease({.lease = milliseconds(0)});
  const std::optional<Job> other = Lease();
  ASSERT_TRUE(Receive(Reserved(2)));
  const std::optional<Job> second = Lease();
  ASSERT_TRUE(slow && other && second);
  (void)provider_.Authorize({Uuid(1), 2500, "USD", "tok_approve"}, {});
  Turn turn =
      TakeTurn(db_, {Answered(*slow, Charge::kAuthorized), Answered(*second, Charge::kAuthorized)},
               {}, Pace());
  ASSERT_EQ(turn.jobs.size(), 1);
  EXPECT_EQ(UuidOf(turn.jobs[0]), Uuid(2));
  EXPECT_EQ(Value("SELECT charge || (leased_until IS NOT NULL) FROM payments WHERE order_id = 1"),
            "AUTHORIZEDtrue");

  // Both holders of one payment in one group: whoever has the lease goes on with it, once.
  turn = TakeTurn(db_,
                  {Answered(*other, Charge::kAuthorized), Answered(*slow, Charge::kAuthorized),
                   Answered(turn.jobs[0], Charge::kCaptured)},
                  {}, Pace());
  EXPECT_TRUE(turn.jobs.empty()) << "it brought no news";
  EXPECT_THAT(Published(), ElementsAre("PAYMENT_COMPLETED"));
  const PaymentWorker worker(db_, provider_, Quick());
  ASSERT_TRUE(Rests());
  EXPECT_EQ(provider_.Kept(Uuid(1)), 2500);
  EXPECT_EQ(provider_.calls(Ask::kAuthorize), 1);
}

TEST_F(PaymentsTest, ATurnWaitsForNobodysLock) {
  for (int i = 1; i <= 3; ++i) ASSERT_TRUE(Receive(Reserved(i)));
  std::vector<Job> jobs = TakeTurn(db_, {}, {.calls = 2}, Pace()).jobs;
  ASSERT_EQ(jobs.size(), 2);
  Turn turn;
  postgres::InTransaction(db_, [&](postgres::Tx& tx) {
    ASSERT_TRUE(LockByOrder(tx, 2));
    ASSERT_TRUE(LockByOrder(tx, 3));
    turn = TakeTurn(
        db_, {Answered(jobs[0], Charge::kAuthorized), Answered(jobs[1], Charge::kAuthorized)},
        {.calls = 2}, Pace());
  });
  ASSERT_EQ(turn.jobs.size(), 1);
  EXPECT_EQ(UuidOf(turn.jobs[0]), Uuid(1));
  EXPECT_THAT(turn.locked, ElementsAre(1));
  EXPECT_EQ(Value("SELECT charge FROM payments WHERE order_id = 2"), "NONE");
  const std::optional<Job> next = Finish(db_, Answered(jobs[1], Charge::kAuthorized), Pace());
  ASSERT_TRUE(next);
  EXPECT_EQ(next->next.ask, Ask::kCapture);
}

// A consumer has payments locked in a sequence of its own, as its events come.
TEST_F(PaymentsTest, AWorkerWhosePaymentsAreLockedByAConsumerNeitherLosesAnAnswerNorStopsIt) {
  Gate gate;
  provider_.before = [&](Ask ask) {
    if (ask == Ask::kAuthorize) gate.Pass();
  };
  const PaymentWorker worker(db_, provider_, Quick());
  for (int i = 1; i <= 2; ++i) ASSERT_TRUE(Receive(Reserved(i)));
  ASSERT_TRUE(shop::testing::Eventually(
      [&] { return Value("SELECT count(*) FROM payments WHERE asked") == "2"; }));
  gate.AwaitSomebody();
  postgres::InTransaction(db_, [&](postgres::Tx& tx) {
    (void)TakeIn(tx, {{{Uuid(2), 2, kAda, ""}, Cancelled{{Uuid(2), 2, kAda, ""}}, ""}});
    gate.Open();
    ASSERT_TRUE(shop::testing::Eventually([&] { return provider_.Kept(Uuid(1)) == 2500; }));
    (void)TakeIn(tx, {{{Uuid(1), 1, kAda, ""}, Cancelled{{Uuid(1), 1, kAda, ""}}, ""}});
  });
  ASSERT_TRUE(Rests());
  EXPECT_EQ(provider_.Kept(Uuid(1)), 0);
  EXPECT_EQ(provider_.ChargeOf(Uuid(2)), Charge::kVoided);
}

TEST_F(PaymentsTest, ConsumersWithTheSamePaymentsWaitForEachOtherInOneSequence) {
  constexpr int kOrders = 30;
  std::vector<Heard> up;
  std::vector<Heard> down;
  for (int i = 1; i <= kOrders; ++i) {
    const Order order{Uuid(i), i, kAda, ""};
    up.push_back({order, Cancelled{order}, ""});
    Wanted wanted;
    wanted.order = order;
    wanted.amount = 100;
    wanted.currency = "USD";
    down.push_back({order, wanted, ""});
  }
  std::reverse(down.begin(), down.end());
  postgres::Pool other_db(database_.settings());
  std::atomic<int> failed = 0;
  const auto take_in = [&](postgres::Pool& pool, const std::vector<Heard>& heard) {
    // Not InTransaction's answer to a deadlock, which is to try again.
    int tries = 0;
    postgres::InTransaction(pool, [&](postgres::Tx& tx) {
      ++tries;
      (void)TakeIn(tx, heard);
    });
    failed += tries - 1;
  };
  for (int round = 0; round < 10; ++round) {
    std::thread one([&] { take_in(db_, up); });
    std::thread other([&] { take_in(other_db, down); });
    one.join();
    other.join();
    postgres::InTransaction(db_, [&](postgres::Tx& tx) { tx.Run("DELETE FROM payments"); });
  }
  EXPECT_EQ(failed, 0);
}

// --- refunds

TEST_F(PaymentsTest, AnAdminRefundsLinesAndThenWhatIsLeft) {
  Charge2500();
  const Result<v1::Refund> lines = Refund({{1, 1}});
  ASSERT_TRUE(lines);
  EXPECT_EQ(lines->amount(), 1000);
  EXPECT_EQ(lines->status(), v1::REFUND_STATUS_PENDING);
  EXPECT_EQ(lines->cause(), "BY_HAND");
  EXPECT_EQ(Reason(Refund({{1, 2}})), "MORE_THAN_IS_LEFT");
  const Result<v1::Refund> rest = Refund();
  ASSERT_TRUE(rest);
  EXPECT_EQ(rest->amount(), 1500);
  EXPECT_EQ(Reason(Refund()), "NOTHING_LEFT");
  const PaymentWorker worker(db_, provider_, Quick());
  ASSERT_TRUE(Rests());
  EXPECT_EQ(provider_.Kept(Uuid(kOrder)), 0);
  const Result<v1::Payment> payment = Get();
  EXPECT_EQ(payment->status(), v1::PAYMENT_STATUS_REFUNDED);
  EXPECT_EQ(payment->refunded(), 2500);
  EXPECT_EQ(payment->refunds(0).status(), v1::REFUND_STATUS_COMPLETED);
  EXPECT_EQ(payment->refunds(0).items(0).quantity(), 1);
}

TEST_F(PaymentsTest, RefundsThatAreAskedTogetherAreNeverMoreThanWasCaptured) {
  Charge2500();
  const auto six_at_once = [&](const std::vector<RefundLine>& lines) {
    std::atomic<int> given = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 6; ++i) {
      threads.emplace_back([&] { given += Refund(lines) ? 1 : 0; });
    }
    for (std::thread& thread : threads) thread.join();
    return given.load();
  };
  EXPECT_EQ(six_at_once({{1, 1}}), 2) << "there are two of them";
  EXPECT_EQ(six_at_once({}), 1) << "the rest";
  EXPECT_EQ(Value("SELECT sum(amount) FROM refunds"), "2500");
}

TEST_F(PaymentsTest, AnIdempotencyKeyMakesOneRefund) {
  Charge2500();
  const Result<v1::Refund> first = Refund({{1, 1}}, "k1");
  const Result<v1::Refund> repeat = Refund({{1, 1}}, "k1");
  ASSERT_TRUE(first && repeat);
  EXPECT_EQ(first->uuid(), repeat->uuid());
  EXPECT_EQ(Reason(Refund({{2, 1}}, "k1")), "IDEMPOTENCY_KEY_REUSED");
  EXPECT_NE(Refund({{1, 1}}, "k2")->uuid(), first->uuid());
}

TEST_F(PaymentsTest, TheAuditLogSaysWhoGaveMoneyBack) {
  Charge2500();
  const Result<v1::Refund> refund = Refund({{1, 1}}, "k1");
  EXPECT_TRUE(Refund({{1, 1}}, "k1"));
  EXPECT_EQ(Reason(Refund({{1, 2}})), "MORE_THAN_IS_LEFT");
  EXPECT_THAT(audit::testing::Entries(db_),
              ElementsAre("ADMIN 1: REFUND_REQUESTED order " + std::to_string(kOrder) +
                          ", amount 10.00, refund " + refund->uuid()));
}

TEST_F(PaymentsTest, WhatWasNotCapturedIsNotRefunded) {
  EXPECT_EQ(Refund().refusal().code, Code::kNotFound);
  ASSERT_TRUE(Receive(Reserved()));
  EXPECT_EQ(Reason(Refund()), "PAYMENT_NOT_COMPLETED");
}

TEST_F(PaymentsTest, ARefundThatTheProviderRefusesLeavesTheMoneyToBeRefunded) {
  Charge2500();
  provider_.refuse_refunds = true;
  ASSERT_TRUE(Refund());
  const PaymentWorker worker(db_, provider_, Quick());
  ASSERT_TRUE(Rests());
  EXPECT_EQ(Get()->refunds(0).status(), v1::REFUND_STATUS_FAILED);
  EXPECT_EQ(Get()->refunds(0).failure_reason(), "no refunds today");
  EXPECT_EQ(Get()->status(), v1::PAYMENT_STATUS_COMPLETED);
  EXPECT_THAT(Published(), ElementsAre("PAYMENT_COMPLETED"));
  provider_.refuse_refunds = false;
  ASSERT_TRUE(Refund());
  EXPECT_TRUE(Publishes("PAYMENT_REFUNDED"));
}

TEST_F(PaymentsTest, AReturnIsRefundedOnce) {
  Charge2500();
  auto returned = About<events::v1::OrderReturned>();
  returned.set_return_uuid("5d1c3c5e-4a0f-4c57-9a6b-0f6f2d1f6f0a");
  orders::v1::OrderItem* item = returned.add_items();
  item->set_product_id(1);
  item->set_quantity(1);
  ASSERT_TRUE(Receive(returned));
  ASSERT_TRUE(Receive(returned));
  const PaymentWorker worker(db_, provider_, Quick());
  ASSERT_TRUE(Publishes("PAYMENT_REFUNDED"));
  ASSERT_TRUE(Rests());
  EXPECT_EQ(provider_.Kept(Uuid(kOrder)), 1500);
  EXPECT_EQ(Get()->status(), v1::PAYMENT_STATUS_PARTIALLY_REFUNDED);
  EXPECT_EQ(Get()->refunds(0).cause(), "RETURN");
  EXPECT_THAT(shop::testing::PublishedEvents(db_).back().value,
              HasSubstr(R"("amount":10.00,"currency":"USD","refundedTotal":10.00)"));
}

TEST_F(PaymentsTest, AReturnWaitsForARefundThatMayLeaveItsMoney) {
  Charge2500();
  ASSERT_TRUE(Refund());
  auto returned = About<events::v1::OrderReturned>();
  returned.set_return_uuid("5d1c3c5e-4a0f-4c57-9a6b-0f6f2d1f6f0a");
  orders::v1::OrderItem* item = returned.add_items();
  item->set_product_id(1);
  item->set_quantity(1);
  const Result<void> early = Receive(returned);
  ASSERT_FALSE(early);
  EXPECT_EQ(early.refusal().code, Code::kAborted);
  provider_.refuse_refunds = true;
  const PaymentWorker worker(db_, provider_, Quick());
  ASSERT_TRUE(
      shop::testing::Eventually([&] { return Value("SELECT state FROM refunds") == "FAILED"; }));
  provider_.refuse_refunds = false;
  ASSERT_TRUE(Receive(returned));
  ASSERT_TRUE(Publishes("PAYMENT_REFUNDED"));
  EXPECT_EQ(provider_.Kept(Uuid(kOrder)), 1500);
}

TEST_F(PaymentsTest, AReturnOfWhatARefundByHandHasPaidBackTakesTheRest) {
  Charge2500();
  ASSERT_TRUE(Refund({{1, 1}}));
  auto returned = About<events::v1::OrderReturned>();
  returned.set_return_uuid("5d1c3c5e-4a0f-4c57-9a6b-0f6f2d1f6f0a");
  orders::v1::OrderItem* item = returned.add_items();
  item->set_product_id(1);
  item->set_quantity(1);
  ASSERT_TRUE(Receive(returned)) << "there are two of them";
  const PaymentWorker worker(db_, provider_, Quick());
  ASSERT_TRUE(Rests());
  EXPECT_EQ(provider_.Kept(Uuid(kOrder)), 500);
}

TEST_F(PaymentsTest, AReturnOfAnOrderThatWasNeverPaidIsNoError) {
  auto returned = About<events::v1::OrderReturned>();
  returned.set_return_uuid("5d1c3c5e-4a0f-4c57-9a6b-0f6f2d1f6f0a");
  EXPECT_TRUE(Receive(returned));
}

// --- who sees what, and what is refused

TEST_F(PaymentsTest, SomebodyElsesPaymentIsNotFoundAndAnAdminSeesAll) {
  ASSERT_TRUE(Receive(Reserved()));
  EXPECT_TRUE(Get());
  EXPECT_EQ(Get(kAda + 1).refusal().code, Code::kNotFound);
  EXPECT_EQ(Get(kAda + 1, api::v1::ROLE_SELLER).refusal().code, Code::kNotFound);
  EXPECT_TRUE(Get(kAda + 1, api::v1::ROLE_ADMIN));
}

TEST_F(PaymentsTest, AnEventWithoutAnOrderOrAnAmountIsRefused) {
  EXPECT_FALSE(Receive(Reserved(0)));
  events::v1::StockReserved negative = Reserved();
  negative.set_total_price(-1);
  EXPECT_FALSE(Receive(negative));
  EXPECT_FALSE(Receive(About<events::v1::OrderCancelled>(0)));
  EXPECT_FALSE(Receive(About<events::v1::OrderReturned>()));
  EXPECT_EQ(Value("SELECT count(*) FROM payments"), "0");
}

// The topic still has events of that release when payments is deployed for the first time.
TEST_F(PaymentsTest, AnOrderOfAReleaseThatChargedNothingIsNotCharged) {
  events::v1::StockReserved before = Reserved();
  before.clear_items();
  before.clear_payment_token();
  EXPECT_TRUE(Receive(before));
  EXPECT_EQ(Value("SELECT count(*) FROM payments"), "0");
}

TEST_F(PaymentsTest, ANumberThatComesWithAnotherUuidIsNotTakenForARepeat) {
  ASSERT_TRUE(Receive(Reserved()));
  events::v1::StockReserved other = Reserved();
  other.set_order_uuid(Uuid(kOrder + 1));
  EXPECT_THROW((void)Receive(other), std::runtime_error);
  EXPECT_EQ(Value("SELECT count(*) FROM payments"), "1");
}

TEST(PaymentEvents, EveryEventOfTheTopicsIsHandledOrIgnored) {
  for (const auto* file : {events::v1::OrderCreated::descriptor()->file(),
                           events::v1::StockReserved::descriptor()->file()}) {
    for (int i = 0; i < file->message_type_count(); ++i) {
      const std::string type = messaging::TypeName(*file->message_type(i));
      EXPECT_TRUE(EventHandlers().Handles(type) || EventHandlers().Ignores(type)) << type;
    }
  }
}

// --- webhooks, through the server as the gateway calls it

class WebhookTest : public PaymentsTest {
 protected:
  static std::string BodyOf(const std::string& status, const std::string& key = Uuid(kOrder)) {
    return R"({"id":"evt_1","type":"payment.authorized","key":")" + key + R"(","status":")" +
           status + R"("})";
  }
  Code Send(const std::string& body, std::string signature) {
    v1::ReceiveWebhookRequest request;
    request.set_body(body);
    request.set_signature(std::move(signature));
    const auto answer =
        provider_end_.Call<v1::ReceiveWebhookResponse>(kServiceName, "ReceiveWebhook", request);
    return answer ? Code{} : answer.refusal().code;
  }
  Code Send(const std::string& body) {
    return Send(body, provider::Signature(kSecret, std::time(nullptr), body));
  }

  shop::testing::Callers callers_;
  rpc::Identity identity_{shop::testing::IdentityOf("payments"), callers_.Keys()};
  rpc::Server server_{{.host = "127.0.0.1"}, identity_, {service_.Methods()}};
  shop::testing::Client provider_end_{server_.address()};
};

TEST_F(WebhookTest, WhatTheProviderTellsMovesThePaymentOn) {
  ASSERT_TRUE(Receive(Reserved()));
  ASSERT_TRUE(Lease());
  EXPECT_EQ(Send(BodyOf("CAPTURED")), Code{});
  EXPECT_THAT(Published(), ElementsAre("PAYMENT_COMPLETED"));
  EXPECT_EQ(Get()->attempts(1).operation(), "WEBHOOK");
  EXPECT_EQ(Get()->attempts(1).outcome(), "CAPTURED");
}

TEST_F(WebhookTest, AReplayChangesNothing) {
  ASSERT_TRUE(Receive(Reserved()));
  const std::string body = BodyOf("AUTHORIZED");
  const std::string signature = provider::Signature(kSecret, std::time(nullptr), body);
  EXPECT_EQ(Send(body, signature), Code{});
  const std::string before = Value("SELECT payments::text FROM payments");
  EXPECT_EQ(Send(body, signature), Code{});
  EXPECT_EQ(Value("SELECT payments::text FROM payments"), before);
  EXPECT_EQ(Get()->attempts_size(), 1);
}

TEST_F(WebhookTest, WhatIsNotSignedIsNobodys) {
  ASSERT_TRUE(Receive(Reserved()));
  const std::string body = BodyOf("CAPTURED");
  EXPECT_EQ(Send(body, ""), Code::kUnauthenticated);
  EXPECT_EQ(Send(body, provider::Signature("another", std::time(nullptr), body)),
            Code::kUnauthenticated);
  EXPECT_EQ(Send(body, provider::Signature(kSecret, std::time(nullptr) - 3600, body)),
            Code::kUnauthenticated);
  EXPECT_EQ(Send(body + " ", provider::Signature(kSecret, std::time(nullptr), body)),
            Code::kUnauthenticated);
  EXPECT_EQ(Get()->status(), v1::PAYMENT_STATUS_PENDING);
}

TEST_F(WebhookTest, WhatIsSignedAndNoPaymentIsRefusedByName) {
  for (const char* body : {"", "not JSON", "[]", "{}", R"({"key":"a","status":"SOLD"})"}) {
    EXPECT_EQ(Send(body), Code::kInvalidArgument) << body;
  }
  EXPECT_EQ(Send(BodyOf("CAPTURED", Uuid(1))), Code{}) << "of nobody: it need not come again";
  EXPECT_EQ(Send(BodyOf("CAPTURED", "no-uuid")), Code{});
}

// --- against the built-in provider, over HTTP

class BuiltInProviderTest : public PaymentsTest {
 protected:
  BuiltInProviderTest() { postgres::Migrate(ledger_db_, {kProviderMigrations}); }

  ProviderSettings Settings() const {
    return {.url = "http://127.0.0.1:" + std::to_string(http_.port()),
            .api_key = "sk_test",
            .timeout = milliseconds(1'000)};
  }
  std::string Ledger() {
    return postgres::Read(ledger_db_, [](postgres::Tx& tx) {
      return tx
          .Run(
              "SELECT coalesce(string_agg(status || ' ' || captured || '-' || refunded, ',' "
              "ORDER BY id), '') FROM payments")[0][0]
          .as<std::string>();
    });
  }

  shop::testing::TestDatabase ledger_database_;
  postgres::Pool ledger_db_{ledger_database_.settings()};
  provider::Ledger ledger_{ledger_db_, milliseconds(50)};
  provider::Api api_{ledger_, "sk_test"};
  provider::HttpServer http_{{}, api_};
};

TEST_F(BuiltInProviderTest, EveryOutcomeEndsAsItShouldWithOneChargeAtMost) {
  const std::map<std::string, std::string> outcomes{
      {"tok_approve", ""},
      {"tok_timeout_charged", ""},
      {"tok_timeout", ""},
      {"tok_reset_charged", ""},
      {"tok_late", ""},
      {"tok_twice", ""},
      {"tok_webhook_lost", ""},
      {"tok_decline", "card_declined"},
      {"tok_insufficient_funds", "insufficient_funds"},
      {"tok_expired_card", "expired_card"}};
  const provider::Background background(ledger_, {}, milliseconds(10));
  HttpPaymentProvider client(Settings());
  const PaymentWorker worker(db_, client, Quick());
  int64_t order = 0;
  for (const auto& [token, code] : outcomes) ASSERT_TRUE(Receive(Reserved(++order, token)));
  ASSERT_TRUE(Rests());
  order = 0;
  for (const auto& [token, code] : outcomes) {
    const Result<v1::Payment> payment = Get(kAda, api::v1::ROLE_USER, ++order);
    EXPECT_EQ(payment->failure_code(), code) << token;
    EXPECT_EQ(payment->status(),
              code.empty() ? v1::PAYMENT_STATUS_COMPLETED : v1::PAYMENT_STATUS_FAILED)
        << token;
  }
  EXPECT_EQ(Published().size(), outcomes.size());
  const std::string taken = postgres::Read(ledger_db_, [](postgres::Tx& tx) {
    return tx.Run("SELECT count(*) || ' ' || sum(captured) FROM payments WHERE captured > 0")[0][0]
        .as<std::string>();
  });
  EXPECT_EQ(taken, "7 17500");
}

TEST_F(BuiltInProviderTest, ACancelledOrderHasItsMoneyBackWhateverTheChargeDid) {
  for (const char* token : {"tok_approve", "tok_timeout_charged", "tok_webhook_lost"}) {
    const int64_t order = token[4];
    HttpPaymentProvider client(Settings());
    {
      const PaymentWorker worker(db_, client, Quick());
      ASSERT_TRUE(Receive(Reserved(order, token)));
      ASSERT_TRUE(shop::testing::Eventually([&] {
        return Get(kAda, api::v1::ROLE_USER, order)->status() != v1::PAYMENT_STATUS_PENDING;
      }));
      ASSERT_TRUE(Receive(About<events::v1::OrderCancelled>(order)));
      ASSERT_TRUE(Rests()) << token;
    }
    const Result<v1::Payment> payment = Get(kAda, api::v1::ROLE_USER, order);
    EXPECT_EQ(payment->captured(), payment->refunded()) << token;
  }
  const std::string kept = postgres::Read(ledger_db_, [](postgres::Tx& tx) {
    return tx
        .Run(
            "SELECT sum(captured - refunded) || ' ' || count(*) FILTER (WHERE status IN "
            "('AUTHORIZED', 'PENDING')) FROM payments")[0][0]
        .as<std::string>();
  });
  EXPECT_EQ(kept, "0 0") << Ledger();
}

TEST_F(BuiltInProviderTest, RefundsOverHttpAreMadeOnceAndRefusalsAreDefinite) {
  HttpPaymentProvider client(Settings());
  const std::stop_token never;
  (void)client.Authorize({"a", 2500, "USD", "tok_approve"}, never);
  (void)client.Capture("a", 2500, never);
  EXPECT_TRUE(std::holds_alternative<RefundAccepted>(client.Refund("a", "r1", 2000, never)));
  EXPECT_TRUE(std::holds_alternative<RefundAccepted>(client.Refund("a", "r1", 2000, never)));
  const RefundAnswer refused = client.Refund("a", "r2", 501, never);
  ASSERT_TRUE(std::holds_alternative<RefundRejected>(refused));
  EXPECT_THAT(std::get<RefundRejected>(refused).reason, HasSubstr("more than is left"));
  EXPECT_EQ(Ledger(), "CAPTURED 2500-2000");
}

TEST_F(BuiltInProviderTest, OnlyADefiniteAnswerIsOne) {
  const std::stop_token never;
  ProviderSettings wrong_key = Settings();
  wrong_key.api_key = "sk_wrong";
  HttpPaymentProvider refused(wrong_key);
  const ChargeAnswer answer = refused.Authorize({"a", 2500, "USD", "tok_approve"}, never);
  ASSERT_TRUE(std::holds_alternative<NoAnswer>(answer));
  EXPECT_THAT(std::get<NoAnswer>(answer).why, HasSubstr("API key"));
  EXPECT_TRUE(std::holds_alternative<NoAnswer>(refused.Refund("a", "r", 1, never)));
  ProviderSettings nowhere = Settings();
  nowhere.url = "http://127.0.0.1:1";
  HttpPaymentProvider away(nowhere);
  EXPECT_TRUE(std::holds_alternative<NoAnswer>(away.Query("a", never)));
  HttpPaymentProvider client(Settings());
  EXPECT_TRUE(std::holds_alternative<NotFound>(client.Query("a", never)));
  EXPECT_TRUE(std::holds_alternative<NoAnswer>(client.Capture("a", 2500, never)));
  ProviderSettings elsewhere = Settings();
  elsewhere.url += "/no/such/place";
  HttpPaymentProvider lost(elsewhere);
  EXPECT_TRUE(std::holds_alternative<NoAnswer>(lost.Authorize({"a", 1, "USD", "t"}, never)));
}

}  // namespace
}  // namespace shop::payments
