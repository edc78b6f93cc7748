#include "notification/order_mail.h"

#include <cstdint>

namespace shop::notification {
namespace {

// One line, whatever the text has in it.
std::string OneLine(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) c = ' ';
  }
  return text;
}

// 4999 is "49.99".
std::string Amount(int64_t minor_units) {
  const bool negative = minor_units < 0;
  // The negative range holds one value more than the positive one.
  const uint64_t size =
      negative ? 0 - static_cast<uint64_t>(minor_units) : static_cast<uint64_t>(minor_units);
  const std::string cents = std::to_string(size % 100);
  return (negative ? "-" : "") + std::to_string(size / 100) + (cents.size() < 2 ? ".0" : ".") +
         cents;
}

std::string AddressLines(const orders::v1::Address& address) {
  std::string lines;
  const auto line = [&](const std::string& text) {
    if (!text.empty()) lines += "  " + OneLine(text) + "\n";
  };
  line(address.recipient());
  line(address.street());
  line(address.postal_code().empty() ? address.city()
                                     : address.postal_code() + " " + address.city());
  line(address.state());
  line(address.country());
  line(address.phone());
  return lines;
}

}  // namespace

Mail OrderCreatedMail(const events::v1::OrderCreated& order, const Mailbox& from, const Mailbox& to,
                      std::chrono::system_clock::time_point date) {
  const std::string id = std::to_string(order.order_id());
  // Events of the first release have no number.
  const std::string name =
      order.order_number().empty() ? id : id + " (" + OneLine(order.order_number()) + ")";
  const std::string currency = OneLine(order.currency());
  std::string text = "Hello " + OneLine(to.name) + ",\n\nthank you for your order " + name +
                     ". We have received it:\n\n";
  for (const orders::v1::OrderItem& item : order.items()) {
    text += "  " + OneLine(item.name()) + "\n    " + std::to_string(item.quantity()) + " x " +
            Amount(item.unit_price()) + "    " + Amount(item.total_price()) + " " + currency + "\n";
  }
  text += "\nTotal: " + Amount(order.total_price()) + " " + currency + "\n";
  if (order.has_shipping_address()) {
    text += "\nIt goes to:\n" + AddressLines(order.shipping_address());
  }
  return {.from = from,
          .to = to,
          .subject = "Your order " + name,
          .text = std::move(text),
          .message_id = "order-" + id + "-created@shop",
          .date = date};
}

}  // namespace shop::notification
