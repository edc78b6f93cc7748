// What a mail about an order says.
#pragma once

#include <chrono>
#include <string>

#include "notification/mail.h"
#include "shop/events/v1/orders.pb.h"

namespace shop::notification {

// The confirmation that an order was received, with its lines and exact amounts. Everything in it
// follows from the arguments, the Message-ID from the order alone: a mail that had to be sent twice
// is recognised as one.
Mail OrderCreatedMail(const events::v1::OrderCreated& order, const Mailbox& from, const Mailbox& to,
                      std::chrono::system_clock::time_point date);

}  // namespace shop::notification
