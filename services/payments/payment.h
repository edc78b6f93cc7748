// What a payment is, what it learns and what it asks of the provider next. No SQL, no clock, no calls.
//
// Everything that is heard of a payment is a fact: that it is wanted, that its order was cancelled,
// what the provider answered, told by webhook or said when it was queried, and that it did not
// answer. Apply takes facts in any order and any number of times. What is known of the money only
// advances:
//
//   NONE ─▶ PENDING ─▶ AUTHORIZED ─▶ CAPTURED   (a report further to the right wins, whenever it
//                  └─▶ DECLINED, VOIDED          comes; CAPTURED wins over every other)
//
// and the outcome, which is published, is decided once:
//
//   captured                                          COMPLETED   PAYMENT_COMPLETED
//   declined, voided, or cancelled before any call    FAILED      PAYMENT_FAILED
//
// Money that is captured although the order is cancelled or the payment has failed is refunded by
// itself. What a call without an answer has done is in doubt until the provider says it: NextAsk
// queries, then repeats the same key or voids it, and nothing else ends the doubt.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/core/result.h"
#include "shop/events/v1/payments.pb.h"
#include "shop/payments/v1/payments.pb.h"

namespace shop::payments {

// What the provider has said of the charge; in the order in which one wins over another.
enum class Charge { kNone, kPending, kAuthorized, kDeclined, kVoided, kCaptured };

// Whether a call has left the provider's state unknown to us.
enum class Doubt {
  kNone,
  kUnanswered,  // a call may have had its effect: query
  kNotFound,    // a query found nothing, which proves nothing: repeat the call
};

enum class Outcome { kOpen, kCompleted, kFailed };

// What the provider is asked.
enum class Ask { kNothing, kAuthorize, kCapture, kVoid, kQuery, kRefund };

enum class RefundState { kRequested, kDone, kFailed };

struct RefundLine {
  int64_t product_id = 0;
  int64_t quantity = 0;
  bool operator==(const RefundLine&) const = default;
};

struct Refund {
  std::string uuid;    // the provider's idempotency key
  std::string source;  // unique in a payment: "cancellation", "return:<uuid>", "hand:<uuid>"
  events::v1::RefundCause cause = events::v1::REFUND_CAUSE_UNSPECIFIED;
  int64_t amount = 0;             // minor units
  std::vector<RefundLine> items;  // none: all that was left
  RefundState state = RefundState::kRequested;
  std::string failure_reason;
};

// Whose payment it is; from whichever event comes first.
struct Order {
  std::string uuid;  // identifies the payment, and is its key at the provider
  int64_t id = 0;
  int64_t user_id = 0;
  std::string number;
};

struct Payment {
  Order order;
  // Empty until it is wanted.
  bool wanted = false;
  int64_t amount = 0;  // minor units
  std::string currency;
  orders::v1::PaymentMethod method = orders::v1::PAYMENT_METHOD_UNSPECIFIED;
  std::string token;  // empty again once it is of no more use
  std::vector<orders::v1::OrderItem> items;

  bool cancelled = false;
  bool asked = false;  // a call that can charge may have left
  Doubt doubt = Doubt::kNone;
  Charge charge = Charge::kNone;
  Outcome outcome = Outcome::kOpen;
  std::string failure_code;
  std::string failure_reason;
  std::vector<Refund> refunds;
};

// --- facts

// STOCK_RESERVED. Only the first one counts.
struct Wanted {
  Order order;
  int64_t amount = 0;
  std::string currency;
  orders::v1::PaymentMethod method = orders::v1::PAYMENT_METHOD_UNSPECIFIED;
  std::string token;  // empty: kDefaultToken
  std::vector<orders::v1::OrderItem> items;
};
inline constexpr std::string_view kDefaultToken = "tok_approve";

// ORDER_CANCELLED. Before it is wanted too: then it will never be charged.
struct Cancelled {
  Order order;
};

// ORDER_RETURNED. Refunds as much of these lines as is left, once a return.
struct Returned {
  std::string return_uuid;
  std::vector<RefundLine> items;
};

// A call is about to leave; to be stored before it does. What one that charges does is in doubt until
// the provider has said it: that there was no answer is no news.
struct CallBegins {
  Ask ask = Ask::kNothing;
};
// What the provider says of the charge: an answer, a webhook or a query.
struct Reported {
  Charge charge = Charge::kNone;
  std::string code;     // of a refusal, for programs: card_declined
  std::string message;  // for people
};
// It does not know the payment, so it says.
struct NotFound {};

struct RefundDone {
  std::string uuid;
};
struct RefundRefused {
  std::string uuid;
  std::string reason;
};
// A refund that PlanRefund has made.
struct RefundRequested {
  Refund refund;
};

using Fact = std::variant<Wanted, Cancelled, Returned, CallBegins, Reported, NotFound, RefundDone,
                          RefundRefused, RefundRequested>;

using Event = std::variant<events::v1::PaymentCompleted, events::v1::PaymentFailed,
                           events::v1::PaymentRefunded>;

struct Step {
  bool changed = false;  // the payment is to be stored
  std::vector<Event> events;
};

// Takes in a fact. Total: any fact at any time, a repeat changes nothing and publishes nothing.
Step Apply(Payment* payment, const Fact& fact);

// Whether refunds that the provider has not decided yet take what this return is due. It is to be told
// again once they are: should they be refused, its money is there.
bool HasToWait(const Payment& payment, const Returned& fact);

// --- what to ask of the provider

struct NextAsk {
  Ask ask = Ask::kNothing;
  std::string refund_uuid = {};  // of kRefund
};

// A function of the payment alone, so that whoever comes next after a crash asks what is to be asked.
NextAsk Next(const Payment& payment);

// --- refunds

// What has been captured, has gone back, and is left to be refunded: captured less every refund that
// has not definitely failed.
int64_t Captured(const Payment& payment);
int64_t Refunded(const Payment& payment);
int64_t Refundable(const Payment& payment);

// With a product at most once, in the order in which they first appear.
std::vector<RefundLine> MergeLines(const std::vector<RefundLine>& lines);

// The refund of these lines, or of all that is left where there are none. FAILED_PRECONDITION with
// the reason PAYMENT_NOT_COMPLETED, NOTHING_LEFT or MORE_THAN_IS_LEFT; INVALID_ARGUMENT for a product
// that the order has not.
Result<Refund> PlanRefund(const Payment& payment, std::string uuid, std::string source,
                          const std::vector<RefundLine>& items);

// The UUID that follows from a name: what is made again has the same one.
std::string DerivedUuid(std::string_view name);

// --- for people

v1::PaymentStatus StatusOf(const Payment& payment);

// "AUTHORIZED", "AUTHORIZE" and so on, as they are stored and shown.
std::string_view Text(Charge charge);
std::string_view Text(Doubt doubt);
std::string_view Text(Outcome outcome);
std::string_view Text(RefundState state);
std::string_view Text(Ask ask);

}  // namespace shop::payments
