// What a mail about an order says.
#pragma once

#include <chrono>
#include <string>

#include "notification/mail.h"
#include "shop/events/v1/orders.pb.h"

namespace shop::notification {

// The confirmation that an order was received, with its lines and exact amounts. The Message-ID
// follows from the order alone, so that mailboxes can recognise a mail that was sent twice.
Mail OrderCreatedMail(const events::v1::OrderCreated& order, const Mailbox& from, const Mailbox& to,
                      std::chrono::system_clock::time_point date);

}  // namespace shop::notification
