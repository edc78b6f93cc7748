// What the databases, the topics and the payment provider say of the same orders and products, and
// where they contradict each other. No SQL, no Kafka, no HTTP, no clock.
//
// A comparison answers every contradiction between what it is given, also one that the next event
// or call to the provider would resolve. Which of them are drift is for the reconciler to find out
// (reconciler.h): those that are still the same once nothing is under way.
//
// Money is in minor units. Texts of states are those of the databases.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace shop::reconciler {

enum class Kind {
  // An order and its events
  kOrderNotPublished,  // the outbox has no ORDER_CREATED of it
  kEventSequenceGap,   // the numbers of its events are not 1, 2, 3, … up to the order's own
  kTimelineGap,        // nor those of its timeline
  kEventNotOnTopic,    // the outbox says it was published, the topic does not have it
  kEventWithoutOrder,  // topic `orders` tells of an order that is not there
  kOutboxStuck,        // events have waited too long to be published
  // An order and its stock
  kReservationMissing,
  kReservationContradictsOrder,  // in its state or its lines
  kReservationWithoutOrder,
  kReturnedStockDiffers,  // what came back is not what the accepted returns say
  // The stock of a product
  kOnHandDiffersFromMovements,
  kReservedDiffersFromMovements,
  kReservedDiffersFromHeldLines,
  kSoldDiffersFromMovements,
  kStockNegative,
  // An order and its money
  kPaymentMissing,
  kPaymentContradictsOrder,  // in its amount, its outcome, or whether it is cancelled
  kPaymentWithoutOrder,
  kOrderNotPaid,  // it goes on, and less or more than its price was captured
  kMoneyKeptForCancelledOrder,
  kRefundedMoreThanCaptured,
  kCapturedDiffersFromProvider,
  kRefundedDiffersFromProvider,
  kChargeDiffersFromProvider,  // in its state, such as authorized there and voided here
  kLedgerWithoutOrder,
  // An order and its shipment
  kShipmentMissing,
  kShipmentContradictsOrder,
  kShipmentWithoutOrder,
};

// The kinds with their names, which are labels of a metric: never to be changed.
struct KindName {
  Kind kind;
  std::string_view text;  // "order_not_published"
};
inline constexpr std::array kKinds = std::to_array<KindName>({
    {Kind::kOrderNotPublished, "order_not_published"},
    {Kind::kEventSequenceGap, "event_sequence_gap"},
    {Kind::kTimelineGap, "timeline_gap"},
    {Kind::kEventNotOnTopic, "event_not_on_topic"},
    {Kind::kEventWithoutOrder, "event_without_order"},
    {Kind::kOutboxStuck, "outbox_stuck"},
    {Kind::kReservationMissing, "reservation_missing"},
    {Kind::kReservationContradictsOrder, "reservation_contradicts_order"},
    {Kind::kReservationWithoutOrder, "reservation_without_order"},
    {Kind::kReturnedStockDiffers, "returned_stock_differs"},
    {Kind::kOnHandDiffersFromMovements, "on_hand_differs_from_movements"},
    {Kind::kReservedDiffersFromMovements, "reserved_differs_from_movements"},
    {Kind::kReservedDiffersFromHeldLines, "reserved_differs_from_held_lines"},
    {Kind::kSoldDiffersFromMovements, "sold_differs_from_movements"},
    {Kind::kStockNegative, "stock_negative"},
    {Kind::kPaymentMissing, "payment_missing"},
    {Kind::kPaymentContradictsOrder, "payment_contradicts_order"},
    {Kind::kPaymentWithoutOrder, "payment_without_order"},
    {Kind::kOrderNotPaid, "order_not_paid"},
    {Kind::kMoneyKeptForCancelledOrder, "money_kept_for_cancelled_order"},
    {Kind::kRefundedMoreThanCaptured, "refunded_more_than_captured"},
    {Kind::kCapturedDiffersFromProvider, "captured_differs_from_provider"},
    {Kind::kRefundedDiffersFromProvider, "refunded_differs_from_provider"},
    {Kind::kChargeDiffersFromProvider, "charge_differs_from_provider"},
    {Kind::kLedgerWithoutOrder, "ledger_without_order"},
    {Kind::kShipmentMissing, "shipment_missing"},
    {Kind::kShipmentContradictsOrder, "shipment_contradicts_order"},
    {Kind::kShipmentWithoutOrder, "shipment_without_order"},
});
std::string_view Text(Kind kind);
// Whether events that are still under way can make two services differ so.
bool MayBeUnderWay(Kind kind);

struct Drift {
  Kind kind = {};
  std::string subject = {};  // "order 12", "product 7", "outbox of stock"
  std::string detail = {};   // what each side says, for people

  friend bool operator==(const Drift&, const Drift&) = default;
};
using Drifts = std::vector<Drift>;

// --- an order

using Quantities = std::map<int64_t, int64_t>;  // how many of each product

// Of each row: `version` differs once anything of it has changed.
struct Order {
  int64_t id = 0;
  std::string status = {};
  std::string stock = {};    // what the order knows of it: RESERVED, REJECTED, or empty
  std::string payment = {};  // COMPLETED, FAILED, NOT_DUE, or empty
  std::string cancel = {};   // REQUESTED, REFUSED, DECIDED, or empty
  int64_t seq = 0;           // of its last event
  int64_t total_price = 0;
  std::string currency = {};
  Quantities items = {};
  Quantities returned = {};  // by the returns that were accepted
  // Of its timeline, as it counts them and as they are there.
  int64_t entries = 0;
  int64_t first_entry = 0;
  int64_t last_entry = 0;
  int64_t entries_there = 0;
  bool tells_of_creation = false;  // not that of an order from before there were timelines
  int64_t events_told = 0;
  std::string version = {};
};

struct ReservedLine {
  int64_t quantity = 0;
  int64_t returned = 0;  // of these, what has come back since they were sold
};
struct Reservation {
  std::string state = {};
  std::map<int64_t, ReservedLine> lines = {};  // by product
  std::string version = {};
};

struct Payment {
  bool wanted = false;  // its amount is known
  bool cancelled = false;
  // The provider is still to be asked something: what it says may be ahead of what is known here.
  bool under_way = false;
  int64_t amount = 0;
  std::string currency = {};
  std::string charge = {};
  std::string outcome = {};
  int64_t refunded = 0;   // and said so by the provider
  int64_t refunding = 0;  // that, and what was asked for and not refused
  std::string version = {};

  int64_t captured() const { return charge == "CAPTURED" ? amount : 0; }
};

struct Shipment {
  std::string state = {};
  std::string version = {};
};

// What the payment provider says of a payment.
struct LedgerEntry {
  std::string key = {};  // the order's UUID
  std::string status = {};
  int64_t captured = 0;
  int64_t refunded = 0;
};

// All that is said of one order, by whoever knows of it.
struct OrderView {
  std::string uuid = {};
  std::optional<Order> order = {};
  std::optional<Reservation> reservation = {};
  std::optional<Payment> payment = {};
  std::optional<Shipment> shipment = {};
  std::optional<LedgerEntry> ledger = {};
};
Drifts Compare(const OrderView& view);
// Differs once any row of it has changed; the provider's ledger has no versions.
std::string VersionOf(const OrderView& view);

// The events of an order in the outbox, by their numbers.
struct OrderEvents {
  int64_t order_id = 0;
  int64_t seq = 0;  // as the order has it
  // Whether the outbox still has to have all of them, as it forgets events after some time.
  bool all = false;
  std::vector<int64_t> numbers = {};  // ascending; once each
};
Drifts Compare(const OrderEvents& events);

// --- a product, and the outbox of a service

struct Product {
  int64_t id = 0;
  int64_t on_hand = 0;
  int64_t reserved = 0;
  // The sums of its movements; `moved_sold` of those that sold pieces or brought them back.
  int64_t moved_on_hand = 0;
  int64_t moved_reserved = 0;
  int64_t moved_sold = 0;
  // The sums of the lines of reservations: of those that hold stock, and of those that were sold and
  // have not come back.
  int64_t held = 0;
  int64_t sold = 0;
  std::string version = {};
};
Drifts Compare(const Product& product);

struct Outbox {
  std::string service = {};
  int64_t waiting = 0;  // events that are not published
  int64_t oldest_id = 0;
  int64_t oldest_seconds = 0;  // how long the oldest has waited
};
// Stuck when one has waited for longer than `limit_seconds`.
Drifts Compare(const Outbox& outbox, int64_t limit_seconds);

}  // namespace shop::reconciler
