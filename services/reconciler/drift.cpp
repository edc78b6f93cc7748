#include "reconciler/drift.h"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <iterator>
#include <utility>

#include "common/core/amount.h"

namespace shop::reconciler {
namespace {

// Collects what is found about one subject.
class Findings {
 public:
  explicit Findings(std::string subject) : subject_(std::move(subject)) {}

  void Add(Kind kind, std::string detail) {
    drifts_.push_back({kind, subject_, std::move(detail)});
  }
  Drifts Take() { return std::move(drifts_); }

 private:
  std::string subject_;
  Drifts drifts_;
};

bool IsOneOf(std::string_view text, std::initializer_list<std::string_view> texts) {
  return std::ranges::find(texts, text) != texts.end();
}

std::string OrNothing(std::string_view text) {
  return text.empty() ? "nothing" : std::string(text);
}

std::string QuantitiesText(const Quantities& quantities) {
  std::string text;
  for (const auto& [product, quantity] : quantities) {
    if (!text.empty()) text += ", ";
    text += fmt::format("{} of product {}", quantity, product);
  }
  return text.empty() ? "nothing" : text;
}

// An order of a release that had no payments was confirmed by its stock alone, held its stock for
// good and was moved by hand: less is true of it.
bool IsOld(const Order& order) {
  return order.payment == "NOT_DUE";
}

bool GoesOn(const Order& order) {
  return IsOneOf(order.status, {"PROCESSING", "SHIPPED", "DELIVERED"});
}

// --- what must hold of an order alone

void CompareTimeline(const Order& order, Findings* findings) {
  const bool contiguous = order.entries_there == order.entries &&
                          order.last_entry == order.entries &&
                          (order.entries == 0 || order.first_entry == 1);
  if (!contiguous) {
    findings->Add(
        Kind::kTimelineGap,
        fmt::format("the order counts {} entries; its timeline has {}, from {} to {}",
                    order.entries, order.entries_there, order.first_entry, order.last_entry));
  } else if (order.tells_of_creation && order.events_told != order.seq) {
    findings->Add(Kind::kEventSequenceGap,
                  fmt::format("the order counts {} events, its timeline tells of {}", order.seq,
                              order.events_told));
  }
}

// --- stock

bool StateFits(const Order& order, const std::string& state) {
  if (order.status == "PENDING") return order.stock == "RESERVED" && state == "HELD";
  if (order.status == "CANCELLED") {
    if (order.stock == "RESERVED") return IsOneOf(state, {"RELEASED", "RETURNED"});
    if (order.stock == "REJECTED") return state == "REJECTED";
    return IsOneOf(state, {"RELEASED", "RETURNED", "REJECTED"});
  }
  if (IsOld(order) && state == "HELD") return true;
  return state == "COMMITTED" || (order.status == "DELIVERED" && state == "RETURNED");
}

void CompareLines(const Order& order, const Reservation& reservation, Findings* findings) {
  Quantities reserved;
  for (const auto& [product, line] : reservation.lines) reserved[product] = line.quantity;
  const Quantities expected = reservation.state == "REJECTED" ? Quantities() : order.items;
  if (reserved != expected) {
    findings->Add(
        Kind::kReservationContradictsOrder,
        fmt::format("ordered were {}; the reservation is {} and has {}",
                    QuantitiesText(order.items), reservation.state, QuantitiesText(reserved)));
  }
}

// Of a delivered order what came back is what was accepted; of others it is all or nothing.
void CompareReturns(const Order& order, const Reservation& reservation, Findings* findings) {
  if (order.status != "DELIVERED") return;
  Quantities back;
  for (const auto& [product, line] : reservation.lines) {
    if (line.returned > 0) back[product] = line.returned;
  }
  if (back != order.returned) {
    findings->Add(Kind::kReturnedStockDiffers,
                  fmt::format("returns of {} were accepted, {} came back",
                              QuantitiesText(order.returned), QuantitiesText(back)));
  }
}

void CompareStock(const OrderView& view, Findings* findings) {
  const Order& order = *view.order;
  if (!view.reservation) {
    findings->Add(Kind::kReservationMissing,
                  fmt::format("the order is {}, products knows of no decision", order.status));
    return;
  }
  const Reservation& reservation = *view.reservation;
  if (!StateFits(order, reservation.state)) {
    findings->Add(Kind::kReservationContradictsOrder,
                  fmt::format("the order is {} and has heard of {}, its reservation is {}",
                              order.status, OrNothing(order.stock), reservation.state));
    return;
  }
  CompareLines(order, reservation, findings);
  CompareReturns(order, reservation, findings);
}

// --- money

// What payments says of the order's outcome, as the order calls it.
std::string_view OutcomeOf(const Payment& payment) {
  return payment.outcome == "OPEN" ? "" : std::string_view(payment.outcome);
}

void ComparePayment(const Order& order, const Payment& payment, Findings* findings) {
  const bool cancelled = order.status == "CANCELLED";
  if (payment.wanted &&
      (payment.amount != order.total_price || payment.currency != order.currency)) {
    findings->Add(
        Kind::kPaymentContradictsOrder,
        fmt::format("the order costs {} {}, the payment is of {} {}", AmountText(order.total_price),
                    order.currency, AmountText(payment.amount), payment.currency));
  } else if (OutcomeOf(payment) != order.payment || payment.cancelled != cancelled) {
    findings->Add(Kind::kPaymentContradictsOrder,
                  fmt::format("the order is {} and has heard of {}, the payment is {}{}",
                              order.status, OrNothing(order.payment), payment.outcome,
                              payment.cancelled ? " and cancelled" : ""));
  }
}

void CompareWithPayment(const OrderView& view, Findings* findings) {
  const Order& order = *view.order;
  if (IsOld(order)) return;
  if (!view.payment) {
    if (order.stock == "RESERVED" || order.status == "CANCELLED") {
      findings->Add(Kind::kPaymentMissing,
                    fmt::format("the order is {}, its stock {}; payments does not know it",
                                order.status, OrNothing(order.stock)));
    }
    return;
  }
  ComparePayment(order, *view.payment, findings);
  const int64_t captured = view.payment->captured();
  if (GoesOn(order) && captured != order.total_price) {
    findings->Add(Kind::kOrderNotPaid,
                  fmt::format("the order is {} and costs {}, captured were {}", order.status,
                              AmountText(order.total_price), AmountText(captured)));
  }
}

void CompareWithProvider(const OrderView& view, Findings* findings) {
  const Payment payment = view.payment.value_or(Payment{.charge = "NONE"});
  const LedgerEntry ledger = view.ledger.value_or(LedgerEntry{.status = "NONE"});
  if (payment.refunding > payment.captured() || ledger.refunded > ledger.captured) {
    findings->Add(Kind::kRefundedMoreThanCaptured,
                  fmt::format("payments: {} of {}, the provider: {} of {}",
                              AmountText(payment.refunding), AmountText(payment.captured()),
                              AmountText(ledger.refunded), AmountText(ledger.captured)));
  }
  if (payment.under_way) return;
  const auto differ = [&](Kind kind, int64_t ours, int64_t theirs) {
    if (ours == theirs) return false;
    findings->Add(kind, fmt::format("payments says {}, the provider {}", AmountText(ours),
                                    AmountText(theirs)));
    return true;
  };
  const bool captured_differs =
      differ(Kind::kCapturedDiffersFromProvider, payment.captured(), ledger.captured);
  differ(Kind::kRefundedDiffersFromProvider, payment.refunded, ledger.refunded);
  if (!captured_differs && payment.charge != ledger.status) {
    findings->Add(Kind::kChargeDiffersFromProvider,
                  fmt::format("payments says {}, the provider {}", payment.charge, ledger.status));
  }
  const int64_t kept = ledger.captured - ledger.refunded;
  if (view.order && view.order->status == "CANCELLED" && kept > 0) {
    findings->Add(Kind::kMoneyKeptForCancelledOrder,
                  fmt::format("the provider captured {} and refunded {}",
                              AmountText(ledger.captured), AmountText(ledger.refunded)));
  }
}

// --- shipment

bool ShipmentFits(const Order& order, const std::string& state) {
  if (order.status == "PENDING") return state == "PREPARING";
  if (order.status != "PROCESSING") {
    return state == (order.status == "SHIPPED" ? "DISPATCHED" : order.status);
  }
  // Shipping decides whether the cancellation or the dispatch came first, and the order asks.
  if (order.cancel == "REQUESTED") return state != "PREPARING";
  return state == "READY";
}

void CompareShipment(const OrderView& view, Findings* findings) {
  const Order& order = *view.order;
  if (IsOld(order)) return;
  if (!view.shipment) {
    findings->Add(Kind::kShipmentMissing,
                  fmt::format("the order is {}, shipping does not know it", order.status));
  } else if (!ShipmentFits(order, view.shipment->state)) {
    findings->Add(Kind::kShipmentContradictsOrder, fmt::format("the order is {}, its shipment {}",
                                                               order.status, view.shipment->state));
  }
}

// --- without an order

Drifts CompareWithoutOrder(const OrderView& view) {
  Findings findings("order " + view.uuid);
  constexpr auto kDetail = "there is no such order; {} says {}";
  if (view.reservation) {
    findings.Add(Kind::kReservationWithoutOrder,
                 fmt::format(kDetail, "products", view.reservation->state));
  }
  if (view.payment) {
    findings.Add(Kind::kPaymentWithoutOrder,
                 fmt::format(kDetail, "payments", view.payment->charge));
  }
  if (view.shipment) {
    findings.Add(Kind::kShipmentWithoutOrder,
                 fmt::format(kDetail, "shipping", view.shipment->state));
  }
  if (view.ledger) {
    findings.Add(Kind::kLedgerWithoutOrder,
                 fmt::format("{}, of which {} captured and {} refunded",
                             fmt::format(kDetail, "the provider", view.ledger->status),
                             AmountText(view.ledger->captured), AmountText(view.ledger->refunded)));
  }
  return findings.Take();
}

}  // namespace

std::string_view Text(Kind kind) {
  return std::ranges::find(kKinds, kind, &KindName::kind)->text;
}

bool MayBeUnderWay(Kind kind) {
  constexpr Kind kFollowFromEvents[] = {
      Kind::kReservationMissing,         Kind::kReservationContradictsOrder,
      Kind::kReturnedStockDiffers,       Kind::kPaymentMissing,
      Kind::kPaymentContradictsOrder,    Kind::kShipmentMissing,
      Kind::kMoneyKeptForCancelledOrder, Kind::kShipmentContradictsOrder};
  return std::ranges::find(kFollowFromEvents, kind) != std::end(kFollowFromEvents);
}

Drifts Compare(const OrderView& view) {
  if (!view.order) return CompareWithoutOrder(view);
  Findings findings("order " + std::to_string(view.order->id));
  CompareTimeline(*view.order, &findings);
  CompareStock(view, &findings);
  CompareWithPayment(view, &findings);
  CompareWithProvider(view, &findings);
  CompareShipment(view, &findings);
  return findings.Take();
}

std::string VersionOf(const OrderView& view) {
  const auto version = [](const auto& row) { return row ? row->version : std::string("-"); };
  return fmt::format("{}/{}/{}/{}", version(view.order), version(view.reservation),
                     version(view.payment), version(view.shipment));
}

Drifts Compare(const OrderEvents& events) {
  Findings findings("order " + std::to_string(events.order_id));
  const auto& numbers = events.numbers;
  if (events.all && (numbers.empty() || numbers.front() != 1)) {
    findings.Add(Kind::kOrderNotPublished, "the outbox of orders has no ORDER_CREATED");
  } else if (!numbers.empty() &&
             (numbers.back() != events.seq ||
              numbers.back() - numbers.front() + 1 != static_cast<int64_t>(numbers.size()))) {
    findings.Add(Kind::kEventSequenceGap,
                 fmt::format("the order counts {} events, the outbox has the numbers {}",
                             events.seq, fmt::join(numbers, ", ")));
  }
  return findings.Take();
}

Drifts Compare(const Product& product) {
  Findings findings("product " + std::to_string(product.id));
  const auto differ = [&](Kind kind, int64_t one, std::string_view what, int64_t other,
                          std::string_view by) {
    if (one != other) findings.Add(kind, fmt::format("{} {}, by {} {}", one, what, by, other));
  };
  differ(Kind::kOnHandDiffersFromMovements, product.on_hand, "on hand", product.moved_on_hand,
         "its movements");
  differ(Kind::kReservedDiffersFromMovements, product.reserved, "reserved", product.moved_reserved,
         "its movements");
  differ(Kind::kReservedDiffersFromHeldLines, product.reserved, "reserved", product.held,
         "the reservations that hold stock");
  differ(Kind::kSoldDiffersFromMovements, product.moved_sold, "sold by its movements", product.sold,
         "its reservations");
  if (product.on_hand < 0 || product.reserved < 0 || product.reserved > product.on_hand) {
    findings.Add(Kind::kStockNegative,
                 fmt::format("{} on hand, {} reserved", product.on_hand, product.reserved));
  }
  return findings.Take();
}

Drifts Compare(const Outbox& outbox, int64_t limit_seconds) {
  if (outbox.waiting == 0 || outbox.oldest_seconds <= limit_seconds) return {};
  return {{Kind::kOutboxStuck, "outbox of " + outbox.service,
           fmt::format("{} events are not published, row {} for {} seconds", outbox.waiting,
                       outbox.oldest_id, outbox.oldest_seconds)}};
}

}  // namespace shop::reconciler
