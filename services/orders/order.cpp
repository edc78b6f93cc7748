#include "orders/order.h"

#include <algorithm>
#include <iterator>
#include <span>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "common/core/amount.h"
#include "common/json/codec.h"
#include "shop/events/v1/orders.pb.h"

namespace shop::orders {
namespace {

constexpr int64_t kMaxQuantity = 1000;
constexpr int64_t kMaxTotal = 1'000'000'000'000'000;  // ten million million, exact in a JSON number

// An order number is a number of 40 bits: the id, mixed by steps that can each be undone.
constexpr int kNumberDigits = 8;
constexpr int kHalf = 20;
constexpr uint64_t kNumberMask = (uint64_t{1} << 2 * kHalf) - 1;
constexpr uint64_t kFactors[] = {0x9E3779B97F, 0xC2B2AE3D27};  // odd
constexpr std::string_view kNumberAlphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

// What undoes a multiplication by an odd number modulo 2^40: each round doubles the right bits.
constexpr uint64_t Inverse(uint64_t factor) {
  uint64_t inverse = factor;
  for (int round = 0; round < 6; ++round) inverse *= 2 - factor * inverse;
  return inverse & kNumberMask;
}
static_assert((kFactors[0] * Inverse(kFactors[0]) & kNumberMask) == 1);
static_assert((kFactors[1] * Inverse(kFactors[1]) & kNumberMask) == 1);

// The text of each value, in the sequence of its enum.
constexpr std::string_view kStockFacts[] = {"", "RESERVED", "REJECTED"};
constexpr std::string_view kPaymentFacts[] = {"", "NOT_DUE", "COMPLETED", "FAILED"};
constexpr std::string_view kShipmentFacts[] = {"", "DISPATCHED", "DELIVERED"};
constexpr std::string_view kCancelFacts[] = {"", "REQUESTED", "REFUSED", "DECIDED"};
constexpr std::string_view kCancelledBy[] = {"", "CUSTOMER", "SHOP", "DEADLINE"};
constexpr std::string_view kWaiting[] = {"", "STOCK", "PAYMENT", "DISPATCH", "CANCEL", "DELIVERY"};

constexpr std::span<const std::string_view> TextsOf(StockFact) {
  return kStockFacts;
}
constexpr std::span<const std::string_view> TextsOf(PaymentFact) {
  return kPaymentFacts;
}
constexpr std::span<const std::string_view> TextsOf(ShipmentFact) {
  return kShipmentFacts;
}
constexpr std::span<const std::string_view> TextsOf(CancelFact) {
  return kCancelFacts;
}
constexpr std::span<const std::string_view> TextsOf(CancelledBy) {
  return kCancelledBy;
}

template <typename Enum>
std::string_view TextOf(Enum value) {
  return TextsOf(value)[static_cast<size_t>(value)];
}

events::v1::CancelCause CauseOf(const Facts& facts) {
  if (facts.cancel == CancelFact::kDecided) {
    switch (facts.cancelled_by) {
      case CancelledBy::kCustomer:
        return events::v1::CANCEL_CAUSE_BY_CUSTOMER;
      case CancelledBy::kDeadline:
        return events::v1::CANCEL_CAUSE_EXPIRED;
      case CancelledBy::kShop:
      case CancelledBy::kNobody:
        return events::v1::CANCEL_CAUSE_BY_HAND;
    }
  }
  return facts.stock == StockFact::kRejected ? events::v1::CANCEL_CAUSE_OUT_OF_STOCK
                                             : events::v1::CANCEL_CAUSE_PAYMENT_FAILED;
}

// What an event needs beside the order.
struct Entering {
  const LockedOrder& order;
  const Fact& fact;
};

template <typename Event>
std::unique_ptr<google::protobuf::Message> MakeEvent(const Entering& entering) {
  const LockedOrder& order = entering.order;
  auto event = std::make_unique<Event>();
  event->set_order_id(order.id);
  event->set_order_uuid(order.uuid);
  event->set_user_id(order.user_id);
  event->set_order_number(OrderNumber(order.id));
  event->set_seq(order.seq);
  if constexpr (std::is_same_v<Event, events::v1::OrderShipped>) {
    if (const auto* moved = std::get_if<ShipmentMoved>(&entering.fact)) {
      event->set_tracking_number(moved->tracking_number);
    }
  }
  if constexpr (std::is_same_v<Event, events::v1::OrderCancelled>) {
    event->set_reason(order.reason);
    event->set_cause(CauseOf(order.facts));
    event->set_from_cart(order.from_cart);
  }
  return event;
}

// The event to publish when an order enters each status. No order enters PENDING, it starts there.
struct EventOfStatus {
  v1::OrderStatus entered;
  std::unique_ptr<google::protobuf::Message> (*make)(const Entering&);
};
constexpr EventOfStatus kEvents[] = {
    {v1::ORDER_STATUS_PROCESSING, MakeEvent<events::v1::OrderConfirmed>},
    {v1::ORDER_STATUS_SHIPPED, MakeEvent<events::v1::OrderShipped>},
    {v1::ORDER_STATUS_DELIVERED, MakeEvent<events::v1::OrderDelivered>},
    {v1::ORDER_STATUS_CANCELLED, MakeEvent<events::v1::OrderCancelled>},
};

std::unique_ptr<google::protobuf::Message> EventOnEntering(v1::OrderStatus entered,
                                                           const Entering& entering) {
  const auto found = std::ranges::find(kEvents, entered, &EventOfStatus::entered);
  if (found == std::end(kEvents)) {
    throw std::logic_error("no event is published when an order enters " + StatusText(entered));
  }
  return found->make(entering);
}

// The statuses of an order that goes well.
constexpr v1::OrderStatus kWay[] = {v1::ORDER_STATUS_PENDING, v1::ORDER_STATUS_PROCESSING,
                                    v1::ORDER_STATUS_SHIPPED, v1::ORDER_STATUS_DELIVERED};

// The statuses entered between one and another: those on the way, or CANCELLED.
std::vector<v1::OrderStatus> Entered(v1::OrderStatus before, v1::OrderStatus now) {
  if (now == before) return {};
  const auto last = std::ranges::find(kWay, now);
  if (last == std::end(kWay)) return {now};
  return {std::next(std::ranges::find(kWay, before)), std::next(last)};
}

// The rule of each source. Answers whether the fact changed the order.
Result<bool> Record(LockedOrder* order, const StockDecided& decided) {
  if (order->facts.stock != StockFact::kNone) return false;
  order->facts.stock = decided.fact;
  // An order that was cancelled before keeps that reason.
  if (order->reason.empty()) order->reason = decided.reason;
  return true;
}

Result<bool> Record(LockedOrder* order, const PaymentDecided& decided) {
  if (order->facts.payment != PaymentFact::kNone) return false;
  order->facts.payment = decided.fact;
  if (order->reason.empty()) order->reason = decided.reason;
  return true;
}

Result<bool> Record(LockedOrder* order, const ShipmentMoved& moved) {
  if (StatusOf(order->facts) == v1::ORDER_STATUS_CANCELLED) return false;
  if (moved.fact <= order->facts.shipment) return false;
  order->facts.shipment = moved.fact;
  return true;
}

Result<bool> Record(LockedOrder* order, const CancelRequested& request) {
  Facts& facts = order->facts;
  const v1::OrderStatus now = StatusOf(facts);
  // Also for who asked in time, and had no answer.
  if (now == v1::ORDER_STATUS_SHIPPED || now == v1::ORDER_STATUS_DELIVERED) {
    return IllegalMove(now, v1::ORDER_STATUS_CANCELLED);
  }
  if (now == v1::ORDER_STATUS_CANCELLED || facts.cancel == CancelFact::kRequested) return false;
  if (facts.cancel == CancelFact::kRefused) return AlreadyDispatched();
  facts.cancelled_by = request.by;
  order->cancel_reason = request.reason;
  if (now == v1::ORDER_STATUS_PROCESSING) {
    facts.cancel = CancelFact::kRequested;
  } else {
    facts.cancel = CancelFact::kDecided;
    order->reason = request.reason;
  }
  return true;
}

Result<bool> Record(LockedOrder* order, const CancelAnswered& answer) {
  if (order->facts.cancel != CancelFact::kRequested) return false;
  if (answer.decided && StatusOf(order->facts) != v1::ORDER_STATUS_PROCESSING) return false;
  order->facts.cancel = answer.decided ? CancelFact::kDecided : CancelFact::kRefused;
  if (answer.decided) order->reason = order->cancel_reason;
  return true;
}

Result<bool> Record(LockedOrder*, const Noted&) {
  return true;
}

}  // namespace

std::string OrderNumber(int64_t id) {
  uint64_t mixed = static_cast<uint64_t>(id);
  if (mixed > kNumberMask) throw std::out_of_range("no number for order " + std::to_string(id));
  for (const uint64_t factor : kFactors) {
    mixed = mixed * factor & kNumberMask;
    mixed ^= mixed >> kHalf;
  }
  std::string number;
  for (int digit = kNumberDigits - 1; digit >= 0; --digit) {
    number += kNumberAlphabet[mixed >> 5 * digit & 31];
    if (digit == kNumberDigits / 2) number += '-';
  }
  return number;
}

std::optional<int64_t> OrderOfNumber(std::string_view number) {
  uint64_t mixed = 0;
  int digits = 0;
  for (char c : number) {
    if (c == '-' || c == ' ') continue;
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
    if (c == 'O') c = '0';
    if (c == 'I' || c == 'L') c = '1';
    const size_t digit = kNumberAlphabet.find(c);
    if (digit == std::string_view::npos || ++digits > kNumberDigits) return std::nullopt;
    mixed = mixed << 5 | digit;
  }
  if (digits != kNumberDigits) return std::nullopt;
  for (const uint64_t factor : {kFactors[1], kFactors[0]}) {
    mixed ^= mixed >> kHalf;
    mixed = mixed * Inverse(factor) & kNumberMask;
  }
  return static_cast<int64_t>(mixed);
}

std::string_view FactText(StockFact fact) {
  return TextOf(fact);
}
std::string_view FactText(PaymentFact fact) {
  return TextOf(fact);
}
std::string_view FactText(ShipmentFact fact) {
  return TextOf(fact);
}
std::string_view FactText(CancelFact fact) {
  return TextOf(fact);
}
std::string_view FactText(CancelledBy by) {
  return TextOf(by);
}

template <typename Enum>
Enum ParseFact(std::string_view text) {
  const auto texts = TextsOf(Enum());
  const auto found = std::ranges::find(texts, text);
  if (found == texts.end()) throw std::runtime_error("no fact of an order: " + std::string(text));
  return static_cast<Enum>(found - texts.begin());
}
template StockFact ParseFact<StockFact>(std::string_view);
template PaymentFact ParseFact<PaymentFact>(std::string_view);
template ShipmentFact ParseFact<ShipmentFact>(std::string_view);
template CancelFact ParseFact<CancelFact>(std::string_view);
template CancelledBy ParseFact<CancelledBy>(std::string_view);

std::string_view WaitingText(Waiting waiting) {
  return kWaiting[static_cast<size_t>(waiting)];
}

Refusal AlreadyDispatched() {
  return {.code = Code::kFailedPrecondition,
          .message = "the carrier has the order already, it cannot be cancelled",
          .reason = "SHIPMENT_DISPATCHED"};
}

Refusal NoOrder(int64_t id) {
  return {Code::kNotFound, "there is no order " + std::to_string(id)};
}

Refusal IllegalMove(v1::OrderStatus from, v1::OrderStatus to) {
  Refusal refusal{
      .code = Code::kFailedPrecondition,
      .message = "an order that is " + StatusText(from) + " cannot become " + StatusText(to),
      .reason = "ILLEGAL_MOVE"};
  refusal.details.push_back({"status", refusal.message});
  return refusal;
}

std::string StatusText(v1::OrderStatus status) {
  return std::string(json::BareName(v1::OrderStatus_descriptor()->FindValueByNumber(status)));
}

v1::OrderStatus StatusOf(const Facts& facts) {
  if (facts.shipment == ShipmentFact::kDelivered) return v1::ORDER_STATUS_DELIVERED;
  if (facts.shipment == ShipmentFact::kDispatched) return v1::ORDER_STATUS_SHIPPED;
  if (facts.cancel == CancelFact::kDecided || facts.stock == StockFact::kRejected ||
      facts.payment == PaymentFact::kFailed) {
    return v1::ORDER_STATUS_CANCELLED;
  }
  if (facts.stock == StockFact::kReserved && facts.payment != PaymentFact::kNone) {
    return v1::ORDER_STATUS_PROCESSING;
  }
  return v1::ORDER_STATUS_PENDING;
}

bool GoesBackIntoCart(const Facts& facts) {
  return StatusOf(facts) == v1::ORDER_STATUS_CANCELLED && facts.cancel != CancelFact::kDecided;
}

Waiting WaitingFor(const Facts& facts) {
  switch (StatusOf(facts)) {
    case v1::ORDER_STATUS_PENDING:
      return facts.stock == StockFact::kNone ? Waiting::kStock : Waiting::kPayment;
    case v1::ORDER_STATUS_PROCESSING:
      if (facts.cancel == CancelFact::kRequested) return Waiting::kCancel;
      // The carrier has it, says shipping: its event is on the way.
      return facts.cancel == CancelFact::kRefused ? Waiting::kDelivery : Waiting::kDispatch;
    case v1::ORDER_STATUS_SHIPPED:
      return Waiting::kDelivery;
    default:
      return Waiting::kNothing;
  }
}

std::string NameOf(const Fact& fact) {
  struct Namer {
    std::string operator()(const StockDecided& stock) const {
      return "STOCK_" + std::string(FactText(stock.fact));
    }
    std::string operator()(const PaymentDecided& payment) const {
      return "PAYMENT_" + std::string(FactText(payment.fact));
    }
    std::string operator()(const ShipmentMoved& moved) const {
      return "SHIPMENT_" + std::string(FactText(moved.fact));
    }
    std::string operator()(const CancelRequested&) const { return "CANCEL_REQUESTED"; }
    std::string operator()(const CancelAnswered& answer) const {
      return answer.decided ? "CANCEL_DECIDED" : "CANCEL_REFUSED";
    }
    std::string operator()(const Noted& note) const { return note.what; }
  };
  return std::visit(Namer(), fact);
}

std::string DetailOf(const Fact& fact) {
  struct Detail {
    std::string operator()(const StockDecided& stock) const { return stock.reason; }
    std::string operator()(const PaymentDecided& payment) const { return payment.reason; }
    std::string operator()(const ShipmentMoved& moved) const { return moved.tracking_number; }
    std::string operator()(const CancelRequested& request) const { return request.reason; }
    std::string operator()(const CancelAnswered& answer) const {
      return answer.decided ? "" : "the carrier has it already";
    }
    std::string operator()(const Noted& note) const { return note.detail; }
  };
  return std::visit(Detail(), fact);
}

Result<Transition> Apply(LockedOrder* order, const Fact& fact) {
  const v1::OrderStatus before = StatusOf(order->facts);
  const Result<bool> changed =
      std::visit([&](const auto& of_source) { return Record(order, of_source); }, fact);
  if (!changed) return changed.refusal();
  Transition transition{.changed = *changed};
  for (const v1::OrderStatus entered : Entered(before, StatusOf(order->facts))) {
    ++order->seq;
    transition.events.push_back(EventOnEntering(entered, {*order, fact}));
  }
  return transition;
}

std::string RejectionReason(
    const google::protobuf::RepeatedPtrField<products::v1::Shortage>& shortages) {
  std::string reason = "not enough stock";
  const char* separator = ": ";
  for (const products::v1::Shortage& shortage : shortages) {
    reason += separator + std::to_string(shortage.requested()) + " of product " +
              std::to_string(shortage.product_id()) + " wanted, " +
              std::to_string(shortage.available()) + " left";
    separator = "; ";
  }
  return reason;
}

Result<std::vector<Line>> MergeLines(
    const google::protobuf::RepeatedPtrField<v1::OrderLine>& lines) {
  if (lines.empty()) return InvalidField("items", "must not be empty unless fromCart is true");
  std::vector<Line> merged;
  for (int i = 0; i < lines.size(); ++i) {
    const auto same = std::ranges::find(merged, lines[i].product_id(), &Line::product_id);
    if (same == merged.end()) {
      merged.push_back({lines[i].product_id(), lines[i].quantity()});
      continue;
    }
    same->quantity += lines[i].quantity();
    if (same->quantity > kMaxQuantity) {
      return InvalidField("items[" + std::to_string(i) + "].quantity",
                          "must be at most 1000 of one product in an order");
    }
  }
  return merged;
}

Result<PricedLines> Price(const std::vector<Line>& lines,
                          const std::unordered_map<int64_t, products::v1::Quote>& quotes) {
  PricedLines priced{{}, 0};
  Refusal unknown{Code::kNotFound, "a product is not in the catalogue"};
  for (size_t i = 0; i < lines.size(); ++i) {
    const auto quote = quotes.find(lines[i].product_id);
    if (quote == quotes.end()) {
      unknown.details.push_back({"items[" + std::to_string(i) + "].productId",
                                 "there is no product " + std::to_string(lines[i].product_id)});
      continue;
    }
    v1::OrderItem item;
    item.set_product_id(lines[i].product_id);
    item.set_name(quote->second.name());
    item.set_quantity(lines[i].quantity);
    item.set_unit_price(quote->second.price());
    int64_t total = 0;
    if (__builtin_mul_overflow(item.unit_price(), item.quantity(), &total) ||
        __builtin_add_overflow(priced.total_price, total, &priced.total_price) ||
        priced.total_price > kMaxTotal) {
      return InvalidField("items", "cost more than one order may");
    }
    item.set_total_price(total);
    priced.items.push_back(std::move(item));
  }
  if (!unknown.details.empty()) return unknown;
  return priced;
}

Result<void> CheckSize(int64_t total_price, const OrderLimits& limits) {
  if (total_price <= limits.total) return kDone;
  const std::string total = AmountText(total_price);
  const std::string most = AmountText(limits.total);
  return Refusal{
      .code = Code::kFailedPrecondition,
      .message = "the total is " + total + ", more than the " + most + " that an order may have",
      .details = {{"totalPrice", total}, {"most", most}},
      .reason = "ORDER_TOO_LARGE"};
}

Refusal TooManyPending(int64_t pending) {
  return {.code = Code::kResourceExhausted,
          .message = std::to_string(pending) +
                     " orders are not confirmed yet; pay or cancel one before the next",
          .reason = "TOO_MANY_PENDING_ORDERS"};
}

Result<void> CheckTotal(int64_t expected_total, int64_t total_price) {
  if (expected_total == total_price) return kDone;
  const std::string expected = AmountText(expected_total);
  const std::string now = AmountText(total_price);
  return Refusal{.code = Code::kFailedPrecondition,
                 .message = "the total is " + now + " now, not " + expected,
                 .details = {{"expectedTotal", expected}, {"totalPrice", now}},
                 .reason = "TOTAL_CHANGED"};
}

}  // namespace shop::orders
