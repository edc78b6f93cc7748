// Each rule on plain structs: what is consistent has no drift, and one contradiction is found as what
// it is.
#include "reconciler/drift.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>

namespace shop::reconciler {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::string> KindsOf(const Drifts& drifts) {
  std::vector<std::string> kinds;
  for (const Drift& drift : drifts) kinds.emplace_back(Text(drift.kind));
  return kinds;
}

// An order of two products in each status, and what all others say of it once it is at rest there.
OrderView Placed() {
  OrderView view{.uuid = "u"};
  view.order = {.id = 12,
                .status = "PENDING",
                .stock = "RESERVED",
                .seq = 1,
                .total_price = 2500,
                .currency = "USD",
                .items = {{1, 2}, {2, 1}},
                .entries = 2,
                .first_entry = 1,
                .last_entry = 2,
                .entries_there = 2,
                .tells_of_creation = true,
                .events_told = 1};
  view.reservation = {.state = "HELD", .lines = {{1, {2, 0}}, {2, {1, 0}}}};
  view.payment = {.wanted = true,
                  .under_way = true,
                  .amount = 2500,
                  .currency = "USD",
                  .charge = "NONE",
                  .outcome = "OPEN"};
  view.shipment = {.state = "PREPARING"};
  return view;
}

OrderView Confirmed() {
  OrderView view = Placed();
  view.order->status = "PROCESSING";
  view.order->payment = "COMPLETED";
  view.order->seq = view.order->events_told = 2;
  view.reservation->state = "COMMITTED";
  view.payment->under_way = false;
  view.payment->charge = "CAPTURED";
  view.payment->outcome = "COMPLETED";
  view.shipment->state = "READY";
  view.ledger = {.key = "u", .status = "CAPTURED", .captured = 2500};
  return view;
}

OrderView Delivered() {
  OrderView view = Confirmed();
  view.order->status = "DELIVERED";
  view.order->seq = view.order->events_told = 4;
  view.shipment->state = "DELIVERED";
  return view;
}

// After the confirmation: its pieces came back, and its money.
OrderView Cancelled() {
  OrderView view = Confirmed();
  view.order->status = "CANCELLED";
  view.order->cancel = "DECIDED";
  view.reservation->state = "RETURNED";
  view.reservation->lines = {{1, {2, 2}}, {2, {1, 1}}};
  view.payment->cancelled = true;
  view.payment->refunded = view.payment->refunding = 2500;
  view.shipment->state = "CANCELLED";
  view.ledger->refunded = 2500;
  return view;
}

OrderView Rejected() {
  OrderView view{.uuid = "u", .order = Placed().order};
  view.order->status = "CANCELLED";
  view.order->stock = "REJECTED";
  view.order->seq = view.order->events_told = 2;
  view.reservation = {.state = "REJECTED"};
  view.payment = {.cancelled = true, .charge = "NONE", .outcome = "OPEN"};
  view.shipment = {.state = "CANCELLED"};
  return view;
}

OrderView Shipped() {
  OrderView view = Confirmed();
  view.order->status = "SHIPPED";
  view.order->seq = view.order->events_told = 3;
  view.shipment->state = "DISPATCHED";
  return view;
}

// A return of a part, accepted and done.
OrderView Returned() {
  OrderView view = Delivered();
  view.order->returned = {{1, 2}};
  view.order->seq = view.order->events_told = 5;
  view.reservation->lines[1].returned = 2;
  view.payment->refunded = view.payment->refunding = 2000;
  view.ledger->refunded = 2000;
  return view;
}

TEST(Drift, AnOrderAtRestHasNoneInAnyStatus) {
  for (const OrderView& view :
       {Placed(), Confirmed(), Shipped(), Delivered(), Returned(), Cancelled(), Rejected()}) {
    EXPECT_THAT(KindsOf(Compare(view)), IsEmpty()) << view.order->status;
  }
}

TEST(Drift, TheNamesOfKindsDiffer) {
  std::set<std::string_view> names;
  for (const KindName& name : kKinds) {
    EXPECT_TRUE(names.insert(name.text).second) << name.text;
    EXPECT_EQ(Text(name.kind), name.text);
  }
}

// A change of an order that was at rest, and the one kind of drift that it is.
struct Case {
  const char* kind;
  OrderView view;
  std::function<void(OrderView*)> change;
};

class OneChange : public ::testing::TestWithParam<Case> {};

TEST_P(OneChange, IsThatDrift) {
  OrderView view = GetParam().view;
  GetParam().change(&view);
  EXPECT_THAT(KindsOf(Compare(view)), ElementsAre(GetParam().kind));
}

INSTANTIATE_TEST_SUITE_P(
    Drift, OneChange,
    ::testing::Values(
        Case{"timeline_gap", Delivered(), [](auto* v) { v->order->entries_there = 1; }},
        Case{"timeline_gap", Delivered(), [](auto* v) { v->order->first_entry = 2; }},
        Case{"timeline_gap", Delivered(), [](auto* v) { v->order->last_entry = 3; }},
        Case{"event_sequence_gap", Delivered(), [](auto* v) { v->order->events_told = 3; }},
        Case{"reservation_missing", Placed(), [](auto* v) { v->reservation.reset(); }},
        Case{"reservation_missing", Rejected(), [](auto* v) { v->reservation.reset(); }},
        Case{"reservation_contradicts_order", Placed(), [](auto* v) { v->order->stock = ""; }},
        Case{"reservation_contradicts_order", Placed(),
             [](auto* v) { v->reservation->state = "COMMITTED"; }},
        Case{"reservation_contradicts_order", Confirmed(),
             [](auto* v) { v->reservation->state = "HELD"; }},
        Case{"reservation_contradicts_order", Shipped(),
             [](auto* v) { v->reservation->state = "RETURNED"; }},
        Case{"reservation_contradicts_order", Cancelled(),
             [](auto* v) { v->reservation->state = "COMMITTED"; }},
        Case{"reservation_contradicts_order", Cancelled(),
             [](auto* v) { v->reservation->state = "REJECTED"; }},
        Case{"reservation_contradicts_order", Rejected(),
             [](auto* v) { v->reservation->state = "RELEASED"; }},
        Case{"reservation_contradicts_order", Delivered(),
             [](auto* v) { v->reservation->lines[1].quantity = 3; }},
        Case{"reservation_contradicts_order", Delivered(),
             [](auto* v) { v->reservation->lines.erase(2); }},
        Case{"returned_stock_differs", Returned(), [](auto* v) { v->order->returned[1] = 1; }},
        Case{"returned_stock_differs", Returned(), [](auto* v) { v->order->returned.clear(); }},
        Case{"payment_missing", Placed(), [](auto* v) { v->payment.reset(); }},
        Case{"payment_missing", Rejected(), [](auto* v) { v->payment.reset(); }},
        Case{"payment_contradicts_order", Placed(), [](auto* v) { v->payment->amount = 1; }},
        Case{"payment_contradicts_order", Placed(), [](auto* v) { v->payment->currency = "EUR"; }},
        Case{"payment_contradicts_order", Placed(),
             [](auto* v) { v->payment->outcome = "COMPLETED"; }},
        Case{"payment_contradicts_order", Confirmed(),
             [](auto* v) { v->payment->cancelled = true; }},
        Case{"payment_contradicts_order", Rejected(),
             [](auto* v) { v->payment->cancelled = false; }},
        Case{"order_not_paid", Shipped(),
             [](auto* v) {
               v->payment->charge = v->ledger->status = "VOIDED";
               v->ledger->captured = 0;
             }},
        Case{"money_kept_for_cancelled_order", Cancelled(),
             [](auto* v) {
               v->payment->refunded = v->payment->refunding = v->ledger->refunded = 0;
             }},
        Case{"refunded_more_than_captured", Returned(),
             [](auto* v) { v->payment->refunding = 2501; }},
        Case{"refunded_more_than_captured", Placed(),
             [](auto* v) { v->payment->refunding = 1; }},
        Case{"captured_differs_from_provider", Confirmed(),
             [](auto* v) { v->ledger->captured = 5000; }},
        Case{"captured_differs_from_provider", Confirmed(), [](auto* v) { v->ledger.reset(); }},
        Case{"refunded_differs_from_provider", Returned(),
             [](auto* v) { v->ledger->refunded = 500; }},
        Case{"charge_differs_from_provider", Rejected(),
             [](auto* v) { v->ledger = {.key = "u", .status = "AUTHORIZED"}; }},
        Case{"shipment_missing", Placed(), [](auto* v) { v->shipment.reset(); }},
        Case{"shipment_contradicts_order", Placed(),
             [](auto* v) { v->shipment->state = "READY"; }},
        Case{"shipment_contradicts_order", Confirmed(),
             [](auto* v) { v->shipment->state = "DISPATCHED"; }},
        Case{"shipment_contradicts_order", Shipped(),
             [](auto* v) { v->shipment->state = "DELIVERED"; }},
        Case{"shipment_contradicts_order", Cancelled(),
             [](auto* v) { v->shipment->state = "READY"; }},
        Case{"reservation_without_order", OrderView{.uuid = "u"},
             [](auto* v) { v->reservation = {.state = "REJECTED"}; }},
        Case{"payment_without_order", OrderView{.uuid = "u"},
             [](auto* v) { v->payment = {.charge = "NONE"}; }},
        Case{"shipment_without_order", OrderView{.uuid = "u"},
             [](auto* v) { v->shipment = {.state = "PREPARING"}; }},
        Case{"ledger_without_order", OrderView{.uuid = "u"},
             [](auto* v) { v->ledger = {.key = "u", .status = "VOIDED"}; }}));

TEST(Drift, WhatAPaymentIsStillAskingTheProviderIsNone) {
  OrderView view = Placed();
  view.ledger = {.key = "u", .status = "CAPTURED", .captured = 2500};
  EXPECT_THAT(KindsOf(Compare(view)), IsEmpty());
  OrderView refunding = Cancelled();
  refunding.payment->under_way = true;
  refunding.payment->refunded = refunding.ledger->refunded = 0;
  EXPECT_THAT(KindsOf(Compare(refunding)), IsEmpty());
}

TEST(Drift, WhileShippingIsAskedWhoCameFirstEitherMayBe) {
  for (const char* state : {"READY", "DISPATCHED", "CANCELLED"}) {
    OrderView view = Confirmed();
    view.order->cancel = "REQUESTED";
    view.shipment->state = state;
    EXPECT_THAT(KindsOf(Compare(view)), IsEmpty()) << state;
  }
}

TEST(Drift, OfAnOrderFromBeforeThereWerePaymentsLessIsTrue) {
  OrderView view = Delivered();
  view.order->payment = "NOT_DUE";
  view.order->tells_of_creation = false;
  view.order->events_told = 0;
  view.reservation->state = "HELD";
  view.shipment->state = "PREPARING";
  view.payment.reset();
  view.ledger.reset();
  EXPECT_THAT(KindsOf(Compare(view)), IsEmpty());
  view.reservation->state = "RELEASED";
  EXPECT_THAT(KindsOf(Compare(view)), ElementsAre("reservation_contradicts_order"));
}

TEST(Drift, SaysWhichOrderAndWhatEachSideSays) {
  OrderView view = Confirmed();
  view.ledger->captured = 5000;
  const Drift drift = Compare(view).at(0);
  EXPECT_EQ(drift.subject, "order 12");
  EXPECT_EQ(drift.detail, "payments says 25.00, the provider 50.00");
}

TEST(Drift, AVersionDiffersOnceAnyRowHasChanged) {
  const OrderView view = Delivered();
  std::set<std::string> versions{VersionOf(view)};
  const auto changed = [&](const auto& change) {
    OrderView other = view;
    change(&other);
    EXPECT_TRUE(versions.insert(VersionOf(other)).second);
  };
  changed([](OrderView* v) { v->order->version = "2"; });
  changed([](OrderView* v) { v->reservation->version = "2"; });
  changed([](OrderView* v) { v->payment->version = "2"; });
  changed([](OrderView* v) { v->shipment->version = "2"; });
  changed([](OrderView* v) { v->shipment.reset(); });
}

TEST(DriftOfEvents, AreTheNumbersUpToTheOrders) {
  const auto kinds = [](bool all, int64_t seq, std::vector<int64_t> numbers) {
    return KindsOf(Compare(OrderEvents{5, seq, all, std::move(numbers)}));
  };
  EXPECT_THAT(kinds(true, 3, {1, 2, 3}), IsEmpty());
  EXPECT_THAT(kinds(false, 3, {2, 3}), IsEmpty());
  EXPECT_THAT(kinds(false, 3, {}), IsEmpty());
  EXPECT_THAT(kinds(true, 3, {}), ElementsAre("order_not_published"));
  EXPECT_THAT(kinds(true, 3, {2, 3}), ElementsAre("order_not_published"));
  EXPECT_THAT(kinds(true, 3, {1, 3}), ElementsAre("event_sequence_gap"));
  EXPECT_THAT(kinds(true, 3, {1, 2}), ElementsAre("event_sequence_gap"));
  EXPECT_THAT(kinds(true, 3, {1, 2, 3, 4}), ElementsAre("event_sequence_gap"));
  EXPECT_THAT(kinds(false, 4, {2, 4}), ElementsAre("event_sequence_gap"));
}

TEST(DriftOfAProduct, IsWhereItsRowItsMovementsAndItsReservationsDiffer) {
  const Product clean{.id = 7,
                      .on_hand = 10,
                      .reserved = 3,
                      .moved_on_hand = 10,
                      .moved_reserved = 3,
                      .moved_sold = 5,
                      .held = 3,
                      .sold = 5};
  EXPECT_THAT(KindsOf(Compare(clean)), IsEmpty());
  const auto changed = [&](int64_t Product::*member, int64_t value) {
    Product product = clean;
    product.*member = value;
    return KindsOf(Compare(product));
  };
  EXPECT_THAT(changed(&Product::on_hand, 11), ElementsAre("on_hand_differs_from_movements"));
  EXPECT_THAT(changed(&Product::moved_reserved, 2), ElementsAre("reserved_differs_from_movements"));
  EXPECT_THAT(changed(&Product::held, 2), ElementsAre("reserved_differs_from_held_lines"));
  EXPECT_THAT(changed(&Product::sold, 4), ElementsAre("sold_differs_from_movements"));
  Product negative = clean;
  negative.reserved = negative.moved_reserved = negative.held = 11;
  EXPECT_THAT(KindsOf(Compare(negative)), ElementsAre("stock_negative"));
  negative.reserved = negative.moved_reserved = negative.held = -1;
  EXPECT_THAT(KindsOf(Compare(negative)), ElementsAre("stock_negative"));
  negative = clean;
  negative.on_hand = negative.moved_on_hand = -1;
  EXPECT_THAT(KindsOf(Compare(negative)), ElementsAre("stock_negative"));
}

TEST(DriftOfAnOutbox, IsAnEventThatWaitsForLongerThanTheLimit) {
  const Outbox outbox{.service = "stock", .waiting = 2, .oldest_id = 9, .oldest_seconds = 61};
  EXPECT_THAT(KindsOf(Compare(outbox, 60)), ElementsAre("outbox_stuck"));
  EXPECT_THAT(Compare(outbox, 60).at(0).detail, HasSubstr("2 events"));
  EXPECT_THAT(Compare(outbox, 61), IsEmpty());
}

}  // namespace
}  // namespace shop::reconciler
