#include "payments/payment.h"

#include <absl/strings/escaping.h>

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "common/crypto/sha256.h"

namespace shop::payments {
namespace {

template <typename Event>
Event About(const Order& order) {
  Event event;
  event.set_order_id(order.id);
  event.set_order_uuid(order.uuid);
  event.set_user_id(order.user_id);
  event.set_order_number(order.number);
  return event;
}

const orders::v1::OrderItem* FindItem(const Payment& payment, int64_t product_id) {
  for (const orders::v1::OrderItem& item : payment.items) {
    if (item.product_id() == product_id) return &item;
  }
  return nullptr;
}

Refund* FindRefund(Payment* payment, const std::string& uuid) {
  for (Refund& refund : payment->refunds) {
    if (refund.uuid == uuid) return &refund;
  }
  return nullptr;
}

bool HasSource(const Payment& payment, const std::string& source) {
  return std::any_of(payment.refunds.begin(), payment.refunds.end(),
                     [&](const Refund& refund) { return refund.source == source; });
}

// How many of a product are left to be refunded by line.
int64_t LeftOf(const Payment& payment, const orders::v1::OrderItem& item) {
  int64_t left = item.quantity();
  for (const Refund& refund : payment.refunds) {
    if (refund.state == RefundState::kFailed) continue;
    for (const RefundLine& line : refund.items) {
      if (line.product_id == item.product_id()) left -= line.quantity;
    }
  }
  return left;
}

int64_t PriceOf(const Payment& payment, const std::vector<RefundLine>& lines) {
  int64_t price = 0;
  for (const RefundLine& line : lines) {
    price += FindItem(payment, line.product_id)->unit_price() * line.quantity;
  }
  return price;
}

events::v1::PaymentRefunded RefundedEvent(const Payment& payment, const Refund& refund) {
  auto event = About<events::v1::PaymentRefunded>(payment.order);
  event.set_refund_uuid(refund.uuid);
  event.set_amount(refund.amount);
  event.set_currency(payment.currency);
  event.set_refunded_total(Refunded(payment));
  event.set_cause(refund.cause);
  for (const RefundLine& line : refund.items) {
    const orders::v1::OrderItem* item = FindItem(payment, line.product_id);
    if (item == nullptr) continue;
    orders::v1::OrderItem* shown = event.add_items();
    *shown = *item;
    shown->set_quantity(line.quantity);
    shown->set_total_price(item->unit_price() * line.quantity);
  }
  return event;
}

// --- what follows from what is known, after every fact

void Fail(Payment* payment, std::string code, std::string reason, Step* step) {
  payment->outcome = Outcome::kFailed;
  payment->failure_code = code.empty() ? "declined" : std::move(code);
  payment->failure_reason = std::move(reason);
  auto event = About<events::v1::PaymentFailed>(payment->order);
  event.set_code(payment->failure_code);
  event.set_reason(payment->failure_reason);
  step->events.emplace_back(std::move(event));
}

void Complete(Payment* payment, Step* step) {
  payment->outcome = Outcome::kCompleted;
  auto event = About<events::v1::PaymentCompleted>(payment->order);
  event.set_amount(payment->amount);
  event.set_currency(payment->currency);
  step->events.emplace_back(std::move(event));
}

void DecideOutcome(Payment* payment, Step* step) {
  if (!payment->wanted || payment->outcome != Outcome::kOpen) return;
  if (payment->charge == Charge::kCaptured) {
    Complete(payment, step);
  } else if (payment->charge == Charge::kDeclined) {
    // The codes are the provider's, noted when it reported.
    Fail(payment, std::exchange(payment->failure_code, {}),
         std::exchange(payment->failure_reason, {}), step);
  } else if (payment->cancelled && (!payment->asked || payment->charge == Charge::kVoided)) {
    Fail(payment, "order_cancelled", "the order was cancelled", step);
  } else if (payment->charge == Charge::kVoided) {
    Fail(payment, "voided", "the payment provider voided the charge", step);
  } else if (payment->amount == 0) {
    Complete(payment, step);  // there is nothing to charge
  }
}

// Money that nobody may keep goes back: all that no other refund takes. A second refund is made only
// where another one has failed since, and none once the provider has refused one of these.
void GiveBack(Payment* payment) {
  const bool keeps = !payment->cancelled && payment->outcome != Outcome::kFailed;
  const int64_t left = Refundable(*payment);
  if (keeps || left == 0) return;
  int made = 0;
  for (const Refund& refund : payment->refunds) {
    if (refund.cause != events::v1::REFUND_CAUSE_ORDER_CANCELLED) continue;
    if (refund.state == RefundState::kFailed) return;
    ++made;
  }
  Refund refund;
  refund.source = made == 0 ? "cancellation" : "cancellation:" + std::to_string(made + 1);
  refund.uuid = DerivedUuid(payment->order.uuid + "/" + refund.source);
  refund.cause = events::v1::REFUND_CAUSE_ORDER_CANCELLED;
  refund.amount = left;
  payment->refunds.push_back(std::move(refund));
}

// --- each fact; true where it says something new

bool Take(Payment* payment, const Wanted& fact, Step*) {
  if (payment->wanted) return false;
  payment->wanted = true;
  payment->order = fact.order;
  payment->amount = fact.amount;
  payment->currency = fact.currency;
  payment->method = fact.method;
  payment->items = fact.items;
  payment->token = fact.token.empty() ? std::string(kDefaultToken) : fact.token;
  return true;
}

bool Take(Payment* payment, const Cancelled& fact, Step*) {
  if (payment->cancelled) return false;
  payment->cancelled = true;
  if (!payment->wanted) payment->order = fact.order;
  return true;
}

std::string SourceOf(const Returned& fact) {
  return "return:" + fact.return_uuid;
}

// As much of the lines as is left.
Refund RefundOf(const Payment& payment, const Returned& fact) {
  Refund refund;
  for (const RefundLine& line : MergeLines(fact.items)) {
    const orders::v1::OrderItem* item = FindItem(payment, line.product_id);
    if (item == nullptr) continue;
    const int64_t quantity = std::min(line.quantity, LeftOf(payment, *item));
    if (quantity > 0) refund.items.push_back({line.product_id, quantity});
  }
  refund.amount = std::min(PriceOf(payment, refund.items), Refundable(payment));
  refund.source = SourceOf(fact);
  refund.uuid = DerivedUuid(payment.order.uuid + "/" + refund.source);
  refund.cause = events::v1::REFUND_CAUSE_RETURN;
  return refund;
}

bool Take(Payment* payment, const Returned& fact, Step*) {
  if (HasSource(*payment, SourceOf(fact))) return false;
  Refund refund = RefundOf(*payment, fact);
  if (refund.amount == 0) return false;
  payment->refunds.push_back(std::move(refund));
  return true;
}

bool Take(Payment* payment, const CallBegins& fact, Step*) {
  if (fact.ask != Ask::kAuthorize && fact.ask != Ask::kCapture) return false;
  const bool changed = !payment->asked || payment->doubt != Doubt::kUnanswered;
  payment->asked = true;
  payment->doubt = Doubt::kUnanswered;
  return changed;
}

bool Take(Payment* payment, const Reported& fact, Step*) {
  bool changed = payment->doubt != Doubt::kNone || !payment->asked;
  payment->asked = true;  // it knows of the charge, so somebody has asked
  payment->doubt = Doubt::kNone;
  if (fact.charge > payment->charge) {
    payment->charge = fact.charge;
    if (fact.charge == Charge::kDeclined && payment->outcome == Outcome::kOpen) {
      payment->failure_code = fact.code;
      payment->failure_reason = fact.message;
    }
    changed = true;
  }
  return changed;
}

bool Take(Payment* payment, const NotFound&, Step*) {
  const bool pending = payment->charge <= Charge::kAuthorized;
  if (!pending || payment->doubt == Doubt::kNotFound) return false;
  payment->doubt = Doubt::kNotFound;
  return true;
}

bool Take(Payment* payment, const RefundDone& fact, Step* step) {
  Refund* refund = FindRefund(payment, fact.uuid);
  if (refund == nullptr || refund->state == RefundState::kDone) return false;
  refund->state = RefundState::kDone;
  refund->failure_reason.clear();
  step->events.emplace_back(RefundedEvent(*payment, *refund));
  return true;
}

bool Take(Payment* payment, const RefundRefused& fact, Step*) {
  Refund* refund = FindRefund(payment, fact.uuid);
  if (refund == nullptr || refund->state != RefundState::kRequested) return false;
  refund->state = RefundState::kFailed;
  refund->failure_reason = fact.reason;
  return true;
}

bool Take(Payment* payment, const RefundRequested& fact, Step*) {
  if (HasSource(*payment, fact.refund.source)) return false;
  if (fact.refund.amount > Refundable(*payment)) return false;
  payment->refunds.push_back(fact.refund);
  return true;
}

}  // namespace

Step Apply(Payment* payment, const Fact& fact) {
  Step step;
  step.changed = std::visit([&](const auto& told) { return Take(payment, told, &step); }, fact);
  if (!step.changed) return step;
  DecideOutcome(payment, &step);
  GiveBack(payment);
  // The token is good for an authorization and for nothing else.
  if (payment->cancelled || payment->charge >= Charge::kAuthorized ||
      payment->outcome != Outcome::kOpen) {
    payment->token.clear();
  }
  return step;
}

bool HasToWait(const Payment& payment, const Returned& fact) {
  if (HasSource(payment, SourceOf(fact))) return false;
  Payment if_refused = payment;
  for (Refund& refund : if_refused.refunds) {
    if (refund.state == RefundState::kRequested) refund.state = RefundState::kFailed;
  }
  return RefundOf(payment, fact).amount < RefundOf(if_refused, fact).amount;
}

NextAsk Next(const Payment& payment) {
  if (payment.charge == Charge::kCaptured) {
    for (const Refund& refund : payment.refunds) {
      if (refund.state == RefundState::kRequested) return {Ask::kRefund, refund.uuid};
    }
    return {};
  }
  if (payment.charge >= Charge::kDeclined) return {};  // nothing is charged, for good
  if (payment.cancelled || payment.outcome == Outcome::kFailed) {
    return {payment.asked ? Ask::kVoid : Ask::kNothing};
  }
  if (!payment.wanted || payment.outcome == Outcome::kCompleted) return {};
  if (payment.doubt == Doubt::kUnanswered) return {Ask::kQuery};
  if (payment.charge == Charge::kAuthorized) return {Ask::kCapture};
  if (payment.charge == Charge::kPending && payment.doubt == Doubt::kNone) return {Ask::kQuery};
  return {Ask::kAuthorize};
}

int64_t Captured(const Payment& payment) {
  return payment.charge == Charge::kCaptured ? payment.amount : 0;
}

int64_t Refunded(const Payment& payment) {
  int64_t refunded = 0;
  for (const Refund& refund : payment.refunds) {
    if (refund.state == RefundState::kDone) refunded += refund.amount;
  }
  return refunded;
}

int64_t Refundable(const Payment& payment) {
  int64_t left = Captured(payment);
  for (const Refund& refund : payment.refunds) {
    if (refund.state != RefundState::kFailed) left -= refund.amount;
  }
  return std::max<int64_t>(left, 0);
}

std::vector<RefundLine> MergeLines(const std::vector<RefundLine>& lines) {
  std::vector<RefundLine> merged;
  for (const RefundLine& line : lines) {
    const auto same = std::find_if(merged.begin(), merged.end(), [&](const RefundLine& other) {
      return other.product_id == line.product_id;
    });
    if (same == merged.end()) {
      merged.push_back(line);
    } else {
      same->quantity += line.quantity;
    }
  }
  return merged;
}

Result<Refund> PlanRefund(const Payment& payment, std::string uuid, std::string source,
                          const std::vector<RefundLine>& items) {
  if (Captured(payment) == 0) {
    return Refusal{.code = Code::kFailedPrecondition,
                   .message = "nothing was captured for this order",
                   .reason = "PAYMENT_NOT_COMPLETED"};
  }
  const int64_t left = Refundable(payment);
  if (left == 0) {
    return Refusal{.code = Code::kFailedPrecondition,
                   .message = "all of it is refunded or being refunded",
                   .reason = "NOTHING_LEFT"};
  }
  Refund refund;
  refund.uuid = std::move(uuid);
  refund.source = std::move(source);
  refund.cause = events::v1::REFUND_CAUSE_BY_HAND;
  refund.amount = left;
  refund.items = MergeLines(items);
  if (refund.items.empty()) return refund;

  const auto too_much = [](std::string message) {
    return Refusal{.code = Code::kFailedPrecondition,
                   .message = std::move(message),
                   .reason = "MORE_THAN_IS_LEFT"};
  };
  for (const RefundLine& line : refund.items) {
    const orders::v1::OrderItem* item = FindItem(payment, line.product_id);
    const std::string product = std::to_string(line.product_id);
    if (item == nullptr) return InvalidField("items", "the order has no product " + product);
    const int64_t left_of_it = std::max<int64_t>(LeftOf(payment, *item), 0);
    if (line.quantity > left_of_it) {
      return too_much("of product " + product + " " + std::to_string(left_of_it) +
                      " are left to refund");
    }
  }
  refund.amount = PriceOf(payment, refund.items);
  if (refund.amount > left) return too_much("less than the price of these lines is left to refund");
  if (refund.amount == 0) return InvalidField("items", "these lines have cost nothing");
  return refund;
}

std::string DerivedUuid(std::string_view name) {
  std::string bytes = Sha256("shop/refund:" + std::string(name)).substr(0, 16);
  // Version 8, for names hashed in a way of one's own (RFC 9562).
  bytes[6] = static_cast<char>((bytes[6] & 0x0f) | 0x80);
  bytes[8] = static_cast<char>((bytes[8] & 0x3f) | 0x80);
  std::string text = absl::BytesToHexString(bytes);
  for (const size_t hyphen : {8, 13, 18, 23}) text.insert(hyphen, 1, '-');
  return text;
}

v1::PaymentStatus StatusOf(const Payment& payment) {
  if (payment.outcome == Outcome::kFailed) return v1::PAYMENT_STATUS_FAILED;
  if (payment.outcome == Outcome::kCompleted) {
    const int64_t refunded = Refunded(payment);
    if (refunded == 0) return v1::PAYMENT_STATUS_COMPLETED;
    return refunded < Captured(payment) ? v1::PAYMENT_STATUS_PARTIALLY_REFUNDED
                                        : v1::PAYMENT_STATUS_REFUNDED;
  }
  return payment.asked ? v1::PAYMENT_STATUS_PROCESSING : v1::PAYMENT_STATUS_PENDING;
}

std::string_view Text(Charge charge) {
  static constexpr std::array<std::string_view, 6> kTexts{"NONE",     "PENDING", "AUTHORIZED",
                                                          "DECLINED", "VOIDED",  "CAPTURED"};
  return kTexts.at(static_cast<size_t>(charge));
}

std::string_view Text(Doubt doubt) {
  static constexpr std::array<std::string_view, 3> kTexts{"NONE", "UNANSWERED", "NOT_FOUND"};
  return kTexts.at(static_cast<size_t>(doubt));
}

std::string_view Text(Outcome outcome) {
  static constexpr std::array<std::string_view, 3> kTexts{"OPEN", "COMPLETED", "FAILED"};
  return kTexts.at(static_cast<size_t>(outcome));
}

std::string_view Text(RefundState state) {
  static constexpr std::array<std::string_view, 3> kTexts{"REQUESTED", "DONE", "FAILED"};
  return kTexts.at(static_cast<size_t>(state));
}

std::string_view Text(Ask ask) {
  static constexpr std::array<std::string_view, 6> kTexts{"NOTHING", "AUTHORIZE", "CAPTURE",
                                                          "VOID",    "QUERY",     "REFUND"};
  return kTexts.at(static_cast<size_t>(ask));
}

}  // namespace shop::payments
