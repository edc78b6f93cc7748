// A payment's decisions: single ones, every sequence of facts up to a length, and every interleaving of
// a payment, its worker and the provider, with calls that are lost, late, repeated or carried out after
// their worker has died.
#include "payments/payment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <map>
#include <set>
#include <sstream>
#include <tuple>

namespace shop::payments {
namespace {

using events::v1::PaymentCompleted;
using events::v1::PaymentFailed;
using events::v1::PaymentRefunded;
using ::testing::ElementsAre;

const Order kOrder{"7d1c3c5e-4a0f-4c57-9a6b-0f6f2d1f6f0a", 42, 7, "7K3M-9QXD"};

orders::v1::OrderItem Item(int64_t product_id, int64_t quantity, int64_t unit_price) {
  orders::v1::OrderItem item;
  item.set_product_id(product_id);
  item.set_name("a thing");
  item.set_quantity(quantity);
  item.set_unit_price(unit_price);
  item.set_total_price(quantity * unit_price);
  return item;
}

// 2 of product 1 at 10.00 and 1 of product 2 at 5.00.
Wanted AWanted() {
  return {.order = kOrder,
          .amount = 2500,
          .currency = "USD",
          .method = orders::v1::PAYMENT_METHOD_CREDIT_CARD,
          .token = "tok_approve",
          .items = {Item(1, 2, 1000), Item(2, 1, 500)}};
}

Reported AReport(Charge charge) {
  return {charge, charge == Charge::kDeclined ? "card_declined" : "",
          charge == Charge::kDeclined ? "the card was declined" : ""};
}

std::vector<std::string> Types(const std::vector<Event>& events) {
  std::vector<std::string> types;
  for (const Event& event : events) {
    types.push_back(
        std::visit([](const auto& told) { return told.GetDescriptor()->name(); }, event));
  }
  return types;
}

// What the facts publish, one after another.
std::vector<std::string> Tell(Payment* payment, const std::vector<Fact>& facts) {
  std::vector<std::string> published;
  for (const Fact& fact : facts) {
    for (const std::string& type : Types(Apply(payment, fact).events)) published.push_back(type);
  }
  return published;
}

Payment Captured2500() {
  Payment payment;
  Tell(&payment, {AWanted(), CallBegins{Ask::kAuthorize}, AReport(Charge::kCaptured)});
  return payment;
}

TEST(Payment, IsAuthorizedThenCapturedThenCompleted) {
  Payment payment;
  EXPECT_THAT(Tell(&payment, {AWanted()}), ElementsAre());
  EXPECT_EQ(Next(payment).ask, Ask::kAuthorize);
  EXPECT_EQ(StatusOf(payment), v1::PAYMENT_STATUS_PENDING);
  Tell(&payment, {CallBegins{Ask::kAuthorize}});
  EXPECT_EQ(StatusOf(payment), v1::PAYMENT_STATUS_PROCESSING);
  EXPECT_THAT(Tell(&payment, {AReport(Charge::kAuthorized)}), ElementsAre());
  EXPECT_EQ(Next(payment).ask, Ask::kCapture);
  EXPECT_THAT(Tell(&payment, {CallBegins{Ask::kCapture}, AReport(Charge::kCaptured)}),
              ElementsAre("PaymentCompleted"));
  EXPECT_EQ(Next(payment).ask, Ask::kNothing);
  EXPECT_EQ(StatusOf(payment), v1::PAYMENT_STATUS_COMPLETED);
  EXPECT_EQ(Captured(payment), 2500);
}

TEST(Payment, ThatIsDeclinedFailsWithTheProvidersWords) {
  Payment payment;
  Apply(&payment, AWanted());
  const Step step = Apply(&payment, AReport(Charge::kDeclined));
  const auto& failed = std::get<PaymentFailed>(step.events.at(0));
  EXPECT_EQ(failed.code(), "card_declined");
  EXPECT_EQ(failed.reason(), "the card was declined");
  EXPECT_EQ(failed.order_number(), "7K3M-9QXD");
  EXPECT_EQ(payment.failure_code, "card_declined");
  EXPECT_EQ(Next(payment).ask, Ask::kNothing);
}

TEST(Payment, IsNeverChargedForAnOrderThatWasCancelledBefore) {
  Payment payment;
  EXPECT_THAT(Tell(&payment, {Cancelled{kOrder}}), ElementsAre());
  EXPECT_EQ(Next(payment).ask, Ask::kNothing);
  const Step step = Apply(&payment, AWanted());
  EXPECT_EQ(std::get<PaymentFailed>(step.events.at(0)).code(), "order_cancelled");
  EXPECT_EQ(Next(payment).ask, Ask::kNothing);
  EXPECT_EQ(payment.token, "");
}

TEST(Payment, ThatIsCancelledBeforeAnyCallFailsAtOnce) {
  Payment payment;
  EXPECT_THAT(Tell(&payment, {AWanted(), Cancelled{kOrder}}), ElementsAre("PaymentFailed"));
  EXPECT_EQ(Next(payment).ask, Ask::kNothing);
}

TEST(Payment, ThatIsCancelledDuringACallIsVoidedAndFailsOnlyThen) {
  Payment payment;
  EXPECT_THAT(Tell(&payment, {AWanted(), CallBegins{Ask::kAuthorize}, Cancelled{kOrder}}),
              ElementsAre());
  EXPECT_EQ(Next(payment).ask, Ask::kVoid);
  EXPECT_THAT(Tell(&payment, {AReport(Charge::kAuthorized)}), ElementsAre());
  EXPECT_EQ(Next(payment).ask, Ask::kVoid);
  EXPECT_THAT(Tell(&payment, {AReport(Charge::kVoided)}), ElementsAre("PaymentFailed"));
  EXPECT_EQ(payment.failure_code, "order_cancelled");
  EXPECT_EQ(Next(payment).ask, Ask::kNothing);
}

TEST(Payment, ThatIsCapturedAfterTheCancelGoesBackByItself) {
  Payment payment;
  EXPECT_THAT(Tell(&payment, {AWanted(), CallBegins{Ask::kCapture}, Cancelled{kOrder},
                              AReport(Charge::kCaptured)}),
              ElementsAre("PaymentCompleted"));
  const NextAsk next = Next(payment);
  EXPECT_EQ(next.ask, Ask::kRefund);
  const Step step = Apply(&payment, RefundDone{next.refund_uuid});
  const auto& refunded = std::get<PaymentRefunded>(step.events.at(0));
  EXPECT_EQ(refunded.amount(), 2500);
  EXPECT_EQ(refunded.refunded_total(), 2500);
  EXPECT_EQ(refunded.cause(), events::v1::REFUND_CAUSE_ORDER_CANCELLED);
  EXPECT_EQ(StatusOf(payment), v1::PAYMENT_STATUS_REFUNDED);
  EXPECT_EQ(Next(payment).ask, Ask::kNothing);
}

TEST(Payment, ThatFailedAndIsFoundCapturedGoesBackByItself) {
  Payment payment;
  EXPECT_THAT(Tell(&payment, {AWanted(), AReport(Charge::kDeclined), AReport(Charge::kCaptured)}),
              ElementsAre("PaymentFailed"));
  EXPECT_EQ(Next(payment).ask, Ask::kRefund);
  EXPECT_EQ(StatusOf(payment), v1::PAYMENT_STATUS_FAILED);
}

TEST(Payment, ThatFailedAndIsFoundAuthorizedIsVoided) {
  Payment payment;
  Tell(&payment, {AWanted(), Cancelled{kOrder}, AReport(Charge::kAuthorized)});
  EXPECT_EQ(Next(payment).ask, Ask::kVoid);
}

TEST(Payment, WithoutAnAnswerIsQueriedAndThenRepeated) {
  Payment payment;
  Tell(&payment, {AWanted(), CallBegins{Ask::kAuthorize}});
  EXPECT_EQ(Next(payment).ask, Ask::kQuery);
  EXPECT_THAT(Tell(&payment, {NotFound{}}), ElementsAre()) << "which proves nothing";
  EXPECT_EQ(Next(payment).ask, Ask::kAuthorize);
  EXPECT_EQ(payment.token, "tok_approve");
  Tell(&payment, {CallBegins{Ask::kAuthorize}});
  EXPECT_EQ(Next(payment).ask, Ask::kQuery);
  Tell(&payment, {AReport(Charge::kAuthorized), CallBegins{Ask::kCapture}});
  EXPECT_EQ(Next(payment).ask, Ask::kQuery);
}

TEST(Payment, ThatTheProviderDecidesLaterIsQueriedUntilItHas) {
  Payment payment;
  Tell(&payment, {AWanted(), CallBegins{Ask::kAuthorize}, AReport(Charge::kPending)});
  EXPECT_EQ(Next(payment).ask, Ask::kQuery);
  EXPECT_FALSE(Apply(&payment, AReport(Charge::kPending)).changed);
  Tell(&payment, {AReport(Charge::kAuthorized)});
  EXPECT_EQ(Next(payment).ask, Ask::kCapture);
}

TEST(Payment, OfNothingIsCompletedWithoutACall) {
  Wanted nothing = AWanted();
  nothing.amount = 0;
  Payment payment;
  EXPECT_THAT(Tell(&payment, {nothing}), ElementsAre("PaymentCompleted"));
  EXPECT_EQ(Next(payment).ask, Ask::kNothing);
  EXPECT_THAT(Tell(&payment, {Cancelled{kOrder}}), ElementsAre());
  EXPECT_EQ(Next(payment).ask, Ask::kNothing);
}

TEST(Payment, KeepsTheTokenForAsLongAsItMayAuthorizeAndNoLonger) {
  for (const Charge charge : {Charge::kAuthorized, Charge::kDeclined, Charge::kVoided}) {
    Payment payment;
    Tell(&payment, {AWanted(), CallBegins{Ask::kAuthorize}, AReport(Charge::kPending)});
    EXPECT_EQ(payment.token, "tok_approve");
    Tell(&payment, {AReport(charge)});
    EXPECT_EQ(payment.token, "");
  }
}

TEST(Payment, WithoutATokenIsChargedWithTheDefault) {
  Wanted wanted = AWanted();
  wanted.token.clear();
  Payment payment;
  Apply(&payment, wanted);
  EXPECT_EQ(payment.token, "tok_approve");
}

// --- refunds

Result<Refund> Plan(const Payment& payment, const std::vector<RefundLine>& items = {}) {
  return PlanRefund(payment, DerivedUuid(std::to_string(payment.refunds.size())),
                    "hand:" + std::to_string(payment.refunds.size()), items);
}

std::string Why(const Result<Refund>& refund) {
  return refund ? "" : refund.refusal().reason;
}

TEST(Refunds, OfLinesCostWhatTheyCostAndCountOnce) {
  Payment payment = Captured2500();
  const Result<Refund> one = Plan(payment, {{1, 1}});
  ASSERT_TRUE(one);
  EXPECT_EQ(one->amount, 1000);
  Apply(&payment, RefundRequested{*one});
  EXPECT_EQ(Why(Plan(payment, {{1, 2}})), "MORE_THAN_IS_LEFT");
  EXPECT_EQ(Why(Plan(payment, {{1, 1}, {1, 1}})), "MORE_THAN_IS_LEFT") << "lines are merged";
  EXPECT_TRUE(Plan(payment, {{1, 1}, {2, 1}}));
  EXPECT_EQ(Plan(payment)->amount, 1500);

  payment = Captured2500();
  Apply(&payment, RefundRequested{*Plan(payment, {{2, 1}})});
  EXPECT_EQ(Why(Plan(payment, {{2, 1}})), "MORE_THAN_IS_LEFT") << "the total has room for it";
}

TEST(Refunds, ThatAreNotDefinitelyFailedTakeFromWhatIsLeft) {
  Payment payment = Captured2500();
  const Refund all = *Plan(payment);
  Apply(&payment, RefundRequested{all});
  EXPECT_EQ(Why(Plan(payment)), "NOTHING_LEFT") << "its outcome is not known";
  EXPECT_EQ(StatusOf(payment), v1::PAYMENT_STATUS_COMPLETED);
  Apply(&payment, RefundRefused{all.uuid, "no"});
  EXPECT_EQ(Plan(payment)->amount, 2500);
}

TEST(Refunds, NeedACapturedPaymentAndItsOwnProducts) {
  Payment payment;
  EXPECT_EQ(Why(Plan(payment)), "PAYMENT_NOT_COMPLETED");
  payment = Captured2500();
  const Result<Refund> unknown = Plan(payment, {{3, 1}});
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.refusal().details.at(0).field, "items");
}

TEST(Refunds, AreAskedOneAfterAnotherAndPublishedOnce) {
  Payment payment = Captured2500();
  const Refund first = *Plan(payment, {{1, 1}});
  Apply(&payment, RefundRequested{first});
  const Refund second = *Plan(payment, {{2, 1}});
  Apply(&payment, RefundRequested{second});
  EXPECT_EQ(Next(payment).refund_uuid, first.uuid);
  const Step step = Apply(&payment, RefundDone{first.uuid});
  const auto& event = std::get<PaymentRefunded>(step.events.at(0));
  EXPECT_EQ(event.amount(), 1000);
  ASSERT_EQ(event.items_size(), 1);
  EXPECT_EQ(event.items(0).quantity(), 1);
  EXPECT_EQ(event.items(0).total_price(), 1000);
  EXPECT_EQ(StatusOf(payment), v1::PAYMENT_STATUS_PARTIALLY_REFUNDED);
  EXPECT_FALSE(Apply(&payment, RefundDone{first.uuid}).changed);
  EXPECT_EQ(Next(payment).refund_uuid, second.uuid);
}

TEST(Refunds, OfAReturnAreMadeOnceAndOfNoMoreThanIsLeft) {
  Payment payment = Captured2500();
  Apply(&payment, RefundRequested{*Plan(payment, {{1, 1}})});
  const Returned returned{"r1", {{1, 2}, {2, 1}, {9, 1}}};
  EXPECT_TRUE(Apply(&payment, returned).changed);
  EXPECT_EQ(payment.refunds.at(1).amount, 1500);
  EXPECT_THAT(payment.refunds.at(1).items, ElementsAre(RefundLine{1, 1}, RefundLine{2, 1}));
  EXPECT_FALSE(Apply(&payment, returned).changed);
  EXPECT_FALSE(Apply(&payment, Returned{"r2", {{2, 1}}}).changed) << "nothing is left";
}

TEST(Refunds, OfACancellationAreOfWhatIsLeftAndFollowUpOnOnesThatFail) {
  Payment payment = Captured2500();
  const Refund by_hand = *Plan(payment, {{1, 1}});
  Apply(&payment, RefundRequested{by_hand});
  Apply(&payment, Cancelled{kOrder});
  ASSERT_EQ(payment.refunds.size(), 2U);
  EXPECT_EQ(payment.refunds[1].amount, 1500);
  Apply(&payment, RefundRefused{by_hand.uuid, "no"});
  ASSERT_EQ(payment.refunds.size(), 3U);
  EXPECT_EQ(payment.refunds[2].amount, 1000);
  Apply(&payment, RefundRefused{payment.refunds[2].uuid, "no"});
  EXPECT_EQ(payment.refunds.size(), 3U) << "the provider will not: a person has to look";
}

// --- every sequence

std::string Digest(const Payment& payment) {
  std::ostringstream text;
  text << payment.wanted << payment.cancelled << payment.asked << Text(payment.doubt)
       << Text(payment.charge) << Text(payment.outcome) << payment.token << payment.failure_code;
  for (const Refund& refund : payment.refunds) {
    text << "/" << refund.uuid << refund.amount << Text(refund.state);
  }
  return text.str();
}

// What holds in every state, whatever was told.
void CheckState(const Payment& before, const Payment& payment, const Step& step) {
  ASSERT_GE(payment.charge, before.charge) << "what is known of the money only advances";
  int64_t promised = 0;
  for (const Refund& refund : payment.refunds) {
    if (refund.state != RefundState::kFailed) promised += refund.amount;
  }
  ASSERT_LE(promised, Captured(payment));
  ASSERT_TRUE(payment.refunds.empty() || payment.charge == Charge::kCaptured)
      << "payment_store reads refunds of captured payments alone";
  int outcomes = 0;
  for (const std::string& type : Types(step.events)) outcomes += type != "PaymentRefunded" ? 1 : 0;
  ASSERT_EQ(outcomes,
            before.outcome == Outcome::kOpen && payment.outcome != Outcome::kOpen ? 1 : 0);
  ASSERT_TRUE(before.outcome == Outcome::kOpen || payment.outcome == before.outcome);
  ASSERT_TRUE(Next(payment).ask != Ask::kAuthorize || !payment.token.empty());
  ASSERT_TRUE(step.changed || (step.events.empty() && Digest(before) == Digest(payment)));
}

// As payment_store reads it.
Payment WithoutItemsUntilCaptured(Payment payment) {
  if (payment.charge != Charge::kCaptured) payment.items.clear();
  return payment;
}

// Whether it says that a refund was made which the provider has refused for good: then more may have gone
// back than was captured, and no rule of ours can help.
bool Contradicts(const Payment& payment, const Fact& fact) {
  const auto* done = std::get_if<RefundDone>(&fact);
  return done != nullptr &&
         std::any_of(payment.refunds.begin(), payment.refunds.end(), [&](const Refund& refund) {
           return refund.uuid == done->uuid && refund.state == RefundState::kFailed;
         });
}

TEST(EverySequence, OfFactsKeepsWhatHolds) {
  const std::vector<Fact> facts{AWanted(),
                                Cancelled{kOrder},
                                Returned{"r1", {{1, 1}}},
                                Returned{"r2", {{1, 2}, {2, 1}}},
                                CallBegins{Ask::kAuthorize},
                                CallBegins{Ask::kCapture},
                                AReport(Charge::kPending),
                                AReport(Charge::kAuthorized),
                                AReport(Charge::kDeclined),
                                AReport(Charge::kVoided),
                                AReport(Charge::kCaptured),
                                NotFound{},
                                RefundDone{DerivedUuid(kOrder.uuid + "/cancellation")},
                                RefundDone{DerivedUuid(kOrder.uuid + "/return:r1")},
                                RefundRefused{DerivedUuid(kOrder.uuid + "/return:r1"), "no"},
                                RefundRefused{DerivedUuid(kOrder.uuid + "/return:r2"), "no"}};
  std::map<std::string, Payment> seen;
  std::deque<std::string> next;
  seen.emplace(Digest(Payment()), Payment());
  next.push_back(Digest(Payment()));
  while (!next.empty()) {
    const Payment before = seen.at(next.front());
    next.pop_front();
    for (const Fact& fact : facts) {
      if (Contradicts(before, fact)) continue;
      Payment payment = before;
      const Step step = Apply(&payment, fact);
      ASSERT_NO_FATAL_FAILURE(CheckState(before, payment, step)) << Digest(payment);
      Payment read = WithoutItemsUntilCaptured(before);
      ASSERT_EQ(Types(Apply(&read, fact).events), Types(step.events));
      ASSERT_EQ(Digest(read), Digest(payment)) << "nothing asks for the items before";
      Payment again = payment;
      const Step repeat = Apply(&again, fact);
      ASSERT_TRUE(repeat.events.empty()) << "a repeat publishes nothing";
      ASSERT_FALSE(repeat.changed) << Digest(payment) << " fact " << fact.index();
      if (seen.emplace(Digest(payment), payment).second) next.push_back(Digest(payment));
    }
  }
  std::cout << "payment states: " << seen.size() << "\n";
  EXPECT_GT(seen.size(), 100U);
}

// --- every interleaving with the provider

// A provider that keeps its promises, as services/provider does.
struct Provider {
  Charge charge = Charge::kNone;
  int64_t captured = 0;
  std::map<std::string, int64_t> refunds;

  int64_t kept() const {
    int64_t kept = captured;
    for (const auto& [uuid, amount] : refunds) kept -= amount;
    return kept;
  }
};

struct CallUnderWay {
  NextAsk next;
  int64_t amount = 0;
  bool carried_out = false;
  std::optional<Fact> answer;
};

struct World {
  Payment payment;
  Provider provider;
  std::optional<CallUnderWay> call;  // of the worker that has the lease
  std::vector<CallUnderWay> strays;  // their worker has gone; they may be carried out later
  bool webhook = false;              // about the present charge, may come at any time
  bool unheard = false;  // nothing was heard of the charge since a call that may have changed it
  bool guessed = false;  // such a call was made all the same
  int published = 0;     // COMPLETED and FAILED
};

class Interleavings {
 public:
  explicit Interleavings(Charge decision, bool late) : decision_(decision), late_(late) {}

  size_t ExploreAll() {
    Add(World());
    while (!next_.empty() && !::testing::Test::HasFatalFailure()) {
      const World world = seen_.at(next_.front());
      next_.pop_front();
      for (World& after : After(world)) Add(std::move(after));
      Settle(world);
    }
    return seen_.size();
  }

 private:
  void Add(World world) {
    Check(world);
    std::string digest = DigestOf(world);
    if (seen_.emplace(digest, std::move(world)).second) next_.push_back(std::move(digest));
  }

  static std::string DigestOf(const World& world) {
    std::ostringstream text;
    text << Digest(world.payment) << "|" << Text(world.provider.charge) << world.provider.captured
         << "," << world.provider.refunds.size() << world.webhook << world.unheard << world.guessed
         << world.published;
    const auto add = [&](const CallUnderWay& call) {
      text << "|" << Text(call.next.ask) << call.next.refund_uuid << call.carried_out;
      if (call.answer && std::holds_alternative<Reported>(*call.answer)) {
        text << Text(std::get<Reported>(*call.answer).charge);
      }
      if (call.answer) text << call.answer->index();
    };
    if (world.call) add(*world.call);
    text << "~";
    for (const CallUnderWay& stray : world.strays) add(stray);
    return text.str();
  }

  static void Tell(World* world, const Fact& fact) {
    if (std::holds_alternative<Reported>(fact) || std::holds_alternative<NotFound>(fact)) {
      world->unheard = false;
    }
    for (const std::string& type : Types(Apply(&world->payment, fact).events)) {
      if (type != "PaymentRefunded") ++world->published;
    }
  }

  void CarryOut(World* world, CallUnderWay* call) const {
    Provider& provider = world->provider;
    call->carried_out = true;
    switch (call->next.ask) {
      case Ask::kAuthorize:
        if (provider.charge == Charge::kNone)
          provider.charge = late_ ? Charge::kPending : decision_;
        break;
      case Ask::kCapture:
        if (provider.charge == Charge::kAuthorized) {
          provider.charge = Charge::kCaptured;
          provider.captured = call->amount;
        }
        break;
      case Ask::kVoid:
        if (provider.charge <= Charge::kAuthorized) provider.charge = Charge::kVoided;
        break;
      case Ask::kRefund:
        if (provider.refunds.contains(call->next.refund_uuid) || provider.kept() >= call->amount) {
          provider.refunds.emplace(call->next.refund_uuid, call->amount);
          call->answer = RefundDone{call->next.refund_uuid};
        } else {
          call->answer = RefundRefused{call->next.refund_uuid, "no"};
        }
        return;
      case Ask::kQuery:
      case Ask::kNothing:
        break;
    }
    if (provider.charge == Charge::kNone) {
      call->answer = NotFound{};
    } else {
      call->answer = AReport(provider.charge);
    }
  }

  static void Begin(World* world) {
    const NextAsk next = Next(world->payment);
    if (next.ask == Ask::kNothing) return;
    if (next.ask == Ask::kAuthorize || next.ask == Ask::kCapture) {
      world->guessed = world->unheard;
      world->unheard = true;
    }
    Tell(world, CallBegins{next.ask});
    CallUnderWay call{.next = next, .amount = world->payment.amount, .answer = std::nullopt};
    for (const Refund& refund : world->payment.refunds) {
      if (refund.uuid == next.refund_uuid) call.amount = refund.amount;
    }
    world->call = call;
  }

  // All that may happen next.
  std::vector<World> After(const World& world) const {
    std::vector<World> after;
    const auto move = [&](const std::function<void(World*)>& change) {
      after.push_back(world);
      change(&after.back());
    };
    move([](World* w) { Tell(w, AWanted()); });
    move([](World* w) { Tell(w, Cancelled{kOrder}); });
    if (!world.call) {
      move(Begin);
    } else if (!world.call->carried_out) {
      move([this](World* w) { CarryOut(w, &*w->call); });
      // The worker dies, or hears nothing for too long, and its request is still on its way.
      if (world.strays.size() < 2) {
        move([](World* w) {
          w->strays.push_back(*w->call);
          w->call.reset();
        });
      }
      move([](World* w) { w->call.reset(); });  // or was lost
    } else {
      move([](World* w) {
        const Fact answer = *w->call->answer;
        w->call.reset();
        Tell(w, answer);
      });
      if (world.strays.size() < 2) {
        move([](World* w) {
          w->strays.push_back(*w->call);
          w->call.reset();
        });
      }
    }
    for (size_t i = 0; i < world.strays.size(); ++i) {
      // A stray is carried out late, or tells its answer late, or is gone for good.
      move([this, i](World* w) {
        if (!w->strays[i].carried_out) {
          CarryOut(w, &w->strays[i]);
        } else {
          const Fact answer = *w->strays[i].answer;
          w->strays.erase(w->strays.begin() + static_cast<ptrdiff_t>(i));
          Tell(w, answer);
        }
      });
      move([i](World* w) { w->strays.erase(w->strays.begin() + static_cast<ptrdiff_t>(i)); });
    }
    if (world.provider.charge == Charge::kPending) {
      move([this](World* w) {
        w->provider.charge = decision_;
        w->webhook = true;
      });
    }
    if (world.webhook) {
      // It tells what was decided, again and again, and perhaps long after.
      move([this](World* w) { Tell(w, AReport(decision_)); });
      move([](World* w) { w->webhook = false; });
    }
    return after;
  }

  static void Check(const World& world) {
    ASSERT_FALSE(world.guessed) << "what may charge was asked again before it was known what "
                                   "became of the last call";
    ASSERT_GE(world.provider.kept(), 0) << "more went back than was taken";
    ASSERT_LE(world.published, 1);
    if (world.payment.outcome == Outcome::kFailed) {
      ASSERT_NE(world.provider.charge, Charge::kCaptured) << "money was taken for a failed payment";
    }
  }

  // From every state, workers that are let work bring it to rest, and then all is right.
  void Settle(World world) const {
    world.strays.clear();
    for (int step = 0; step < 40; ++step) {
      if (world.provider.charge == Charge::kPending) world.provider.charge = decision_;
      if (!world.call) Begin(&world);
      if (!world.call) break;
      if (!world.call->carried_out) CarryOut(&world, &*world.call);
      const Fact answer = *world.call->answer;
      world.call.reset();
      Tell(&world, answer);
    }
    const Payment& payment = world.payment;
    const Provider& provider = world.provider;
    ASSERT_EQ(Next(payment).ask, Ask::kNothing) << "no rest: " << DigestOf(world);
    ASSERT_EQ(world.published, payment.wanted ? 1 : 0) << DigestOf(world);
    if (payment.cancelled || payment.outcome == Outcome::kFailed) {
      ASSERT_EQ(provider.kept(), 0) << "money is kept: " << DigestOf(world);
      ASSERT_NE(provider.charge, Charge::kAuthorized) << "money is held: " << DigestOf(world);
    } else if (payment.wanted) {
      ASSERT_EQ(payment.outcome == Outcome::kCompleted, decision_ == Charge::kAuthorized);
      ASSERT_EQ(provider.kept(), decision_ == Charge::kAuthorized ? 2500 : 0);
    }
    ASSERT_EQ(Refunded(payment), provider.captured - provider.kept());
  }

  const Charge decision_;
  const bool late_;
  std::map<std::string, World> seen_;
  std::deque<std::string> next_;
};

TEST(EveryInterleaving, OfPaymentWorkerAndProviderEndsWell) {
  for (const auto& [decision, late] :
       {std::pair(Charge::kAuthorized, false), std::pair(Charge::kDeclined, false),
        std::pair(Charge::kAuthorized, true), std::pair(Charge::kDeclined, true)}) {
    Interleavings interleavings(decision, late);
    const size_t states = interleavings.ExploreAll();
    std::cout << Text(decision) << (late ? ", late" : ", at once") << ": " << states << " states\n";
    EXPECT_GT(states, 100U);
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace shop::payments
