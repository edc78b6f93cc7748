// What mails about orders and accounts say. A mail is made of one content, as text and as HTML that say the same;
// nothing that a user wrote becomes markup.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "common/core/result.h"
#include "notification/mail.h"

namespace shop::notification {

// Who a mail is from and to, and when what it tells of became known.
struct MailFrame {
  Mailbox from;
  Mailbox to;
  std::chrono::system_clock::time_point date;
  // What a mail about an account carries, which is not in its event.
  std::string token = {};
};

// The mail that tells of an event, given its type and its JSON: ORDER_CREATED with lines and exact
// amounts, ORDER_CONFIRMED, ORDER_CANCELLED with the reason, ORDER_SHIPPED with the tracking number,
// ORDER_DELIVERED, PAYMENT_REFUNDED with the amount, PASSWORD_RESET_REQUESTED and EMAIL_CONFIRMATION_REQUESTED with the token, REGISTRATION_REPEATED. INVALID_ARGUMENT for other types and for what
// cannot be read. The Message-ID follows from the order, refund or request, and the type alone, so that
// mailboxes can recognise a mail that was sent twice.
Result<Mail> MailAbout(std::string_view type, std::string_view event, const MailFrame& frame);

// The subject of that mail. The same refusals.
Result<std::string> SubjectAbout(std::string_view type, std::string_view event);

}  // namespace shop::notification
