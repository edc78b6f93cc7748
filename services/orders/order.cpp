#include "orders/order.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>
#include <type_traits>
#include <unordered_map>
#include <utility>

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

std::string Amount(int64_t minor_units) {
  return fmt::format("{}.{:02}", minor_units / 100, minor_units % 100);
}

// The text of each StockFact, in the sequence of the enum.
constexpr std::string_view kStockFacts[] = {"", "RESERVED", "REJECTED"};

// The legal moves by hand.
constexpr std::pair<v1::OrderStatus, v1::OrderStatus> kLegalMoves[] = {
    {v1::ORDER_STATUS_PENDING, v1::ORDER_STATUS_CANCELLED},
    {v1::ORDER_STATUS_PROCESSING, v1::ORDER_STATUS_CANCELLED},
    {v1::ORDER_STATUS_PROCESSING, v1::ORDER_STATUS_SHIPPED},
    {v1::ORDER_STATUS_SHIPPED, v1::ORDER_STATUS_DELIVERED},
};

template <typename Event>
std::unique_ptr<google::protobuf::Message> MakeEvent(const LockedOrder& order) {
  auto event = std::make_unique<Event>();
  event->set_order_id(order.id);
  event->set_order_uuid(order.uuid);
  event->set_user_id(order.user_id);
  event->set_order_number(OrderNumber(order.id));
  if constexpr (std::is_same_v<Event, events::v1::OrderCancelled>) {
    event->set_reason(order.reason);
    event->set_cause(IsRejected(order.facts) ? events::v1::CANCEL_CAUSE_OUT_OF_STOCK
                                             : events::v1::CANCEL_CAUSE_BY_HAND);
    event->set_from_cart(order.from_cart);
  }
  return event;
}

// The event to publish when an order enters each status. No order enters PENDING, it starts there.
struct EventOfStatus {
  v1::OrderStatus entered;
  std::unique_ptr<google::protobuf::Message> (*make)(const LockedOrder&);
};
constexpr EventOfStatus kEvents[] = {
    {v1::ORDER_STATUS_PROCESSING, MakeEvent<events::v1::OrderConfirmed>},
    {v1::ORDER_STATUS_SHIPPED, MakeEvent<events::v1::OrderShipped>},
    {v1::ORDER_STATUS_DELIVERED, MakeEvent<events::v1::OrderDelivered>},
    {v1::ORDER_STATUS_CANCELLED, MakeEvent<events::v1::OrderCancelled>},
};

std::unique_ptr<google::protobuf::Message> EventOnEntering(const LockedOrder& order) {
  const v1::OrderStatus entered = StatusOf(order.facts);
  const auto found = std::ranges::find(kEvents, entered, &EventOfStatus::entered);
  if (found == std::end(kEvents)) {
    throw std::logic_error("no event is published when an order enters " + StatusText(entered));
  }
  return found->make(order);
}

// The rule of each source. Answers whether the fact changed the order.
Result<bool> Record(LockedOrder* order, const StockDecided& decided) {
  if (order->facts.stock != StockFact::kNone) return false;
  order->facts.stock = decided.fact;
  // An order that was cancelled by hand keeps that reason.
  if (order->reason.empty()) order->reason = decided.reason;
  return true;
}

Result<bool> Record(LockedOrder* order, const MovedByHand& move) {
  const v1::OrderStatus now = StatusOf(order->facts);
  if (move.to == now) return false;
  if (std::ranges::find(kLegalMoves, std::pair{now, move.to}) == std::end(kLegalMoves)) {
    Refusal refusal{
        .code = Code::kFailedPrecondition,
        .message = "an order that is " + StatusText(now) + " cannot become " + StatusText(move.to),
        .reason = "ILLEGAL_MOVE"};
    refusal.details.push_back({"status", refusal.message});
    return refusal;
  }
  order->facts.manual = move.to;
  if (move.to == v1::ORDER_STATUS_CANCELLED) {
    order->reason = move.reason.empty() ? "cancelled by the shop" : move.reason;
  }
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

std::string_view StockFactText(StockFact fact) {
  return kStockFacts[static_cast<size_t>(fact)];
}

StockFact ParseStockFact(std::string_view text) {
  const auto found = std::ranges::find(kStockFacts, text);
  if (found == std::end(kStockFacts)) {
    throw std::runtime_error("stock says nothing such as " + std::string(text));
  }
  return static_cast<StockFact>(found - kStockFacts);
}

std::string StatusText(v1::OrderStatus status) {
  return std::string(json::BareName(v1::OrderStatus_descriptor()->FindValueByNumber(status)));
}

v1::OrderStatus StatusOf(const Facts& facts) {
  if (facts.manual != v1::ORDER_STATUS_UNSPECIFIED) return facts.manual;
  switch (facts.stock) {
    case StockFact::kNone:
      return v1::ORDER_STATUS_PENDING;
    case StockFact::kReserved:
      return v1::ORDER_STATUS_PROCESSING;
    case StockFact::kRejected:
      return v1::ORDER_STATUS_CANCELLED;
  }
  return v1::ORDER_STATUS_UNSPECIFIED;
}

bool IsRejected(const Facts& facts) {
  return facts.stock == StockFact::kRejected && facts.manual == v1::ORDER_STATUS_UNSPECIFIED;
}

Result<Transition> Apply(LockedOrder* order, const Fact& fact) {
  const v1::OrderStatus before = StatusOf(order->facts);
  const Result<bool> changed =
      std::visit([&](const auto& of_source) { return Record(order, of_source); }, fact);
  if (!changed) return changed.refusal();
  Transition transition{.changed = *changed};
  if (StatusOf(order->facts) != before) transition.event = EventOnEntering(*order);
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
                          const google::protobuf::RepeatedPtrField<products::v1::Quote>& quotes) {
  std::unordered_map<int64_t, const products::v1::Quote*> by_product;
  for (const products::v1::Quote& quote : quotes) by_product.emplace(quote.product_id(), &quote);

  PricedLines priced{{}, 0};
  Refusal unknown{Code::kNotFound, "a product is not in the catalogue"};
  for (size_t i = 0; i < lines.size(); ++i) {
    const auto quote = by_product.find(lines[i].product_id);
    if (quote == by_product.end()) {
      unknown.details.push_back({"items[" + std::to_string(i) + "].productId",
                                 "there is no product " + std::to_string(lines[i].product_id)});
      continue;
    }
    v1::OrderItem item;
    item.set_product_id(lines[i].product_id);
    item.set_name(quote->second->name());
    item.set_quantity(lines[i].quantity);
    item.set_unit_price(quote->second->price());
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

Result<void> CheckTotal(int64_t expected_total, int64_t total_price) {
  if (expected_total == total_price) return kDone;
  const std::string expected = Amount(expected_total);
  const std::string now = Amount(total_price);
  return Refusal{.code = Code::kFailedPrecondition,
                 .message = "the total is " + now + " now, not " + expected,
                 .details = {{"expectedTotal", expected}, {"totalPrice", now}},
                 .reason = "TOTAL_CHANGED"};
}

}  // namespace shop::orders
