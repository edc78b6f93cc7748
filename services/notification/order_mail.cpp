#include "notification/order_mail.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "common/core/amount.h"
#include "common/messaging/event.h"
#include "shop/events/v1/accounts.pb.h"
#include "shop/events/v1/orders.pb.h"
#include "shop/events/v1/payments.pb.h"

namespace shop::notification {
namespace {

// What a mail says, before it has a form. Each text is one line.
struct Line {
  std::string name;
  std::string quantity;  // 3 x 49.99
  std::string amount;
};
struct Content {
  std::string subject;
  std::string message_id;
  std::vector<std::string> paragraphs;
  std::vector<Line> lines = {};
  std::string total = {};
  std::vector<std::string> address = {};
  std::string token = {};  // with `afterwards` after it
  std::vector<std::string> afterwards = {};
};

// One line, whatever the text has in it.
std::string OneLine(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) c = ' ';
  }
  return text;
}

// "42 (7K3M-9QXD)"; events of the first release have no number.
template <typename Event>
std::string NameOf(const Event& order) {
  const std::string id = std::to_string(order.order_id());
  return order.order_number().empty() ? id : id + " (" + OneLine(order.order_number()) + ")";
}

std::vector<Line> LinesOf(const google::protobuf::RepeatedPtrField<orders::v1::OrderItem>& items,
                          const std::string& currency) {
  std::vector<Line> lines;
  for (const orders::v1::OrderItem& item : items) {
    lines.push_back({OneLine(item.name()),
                     std::to_string(item.quantity()) + " x " + AmountText(item.unit_price()),
                     AmountText(item.total_price()) + " " + currency});
  }
  return lines;
}

std::vector<std::string> AddressLines(const orders::v1::Address& address) {
  std::vector<std::string> lines;
  for (const std::string& line :
       {address.recipient(), address.street(),
        address.postal_code().empty() ? address.city()
                                      : address.postal_code() + " " + address.city(),
        address.state(), address.country(), address.phone()}) {
    if (!line.empty()) lines.push_back(OneLine(line));
  }
  return lines;
}

// --- the words, one function an event

Content ContentOf(const events::v1::OrderCreated& order) {
  const std::string currency = OneLine(order.currency());
  Content content{
      .subject = "Your order " + NameOf(order),
      .message_id = "order-" + std::to_string(order.order_id()) + "-created@shop",
      .paragraphs = {"thank you for your order " + NameOf(order) + ". We have received it:"},
      .lines = LinesOf(order.items(), currency),
      .total = "Total: " + AmountText(order.total_price()) + " " + currency};
  if (order.has_shipping_address()) content.address = AddressLines(order.shipping_address());
  return content;
}

Content ContentOf(const events::v1::OrderConfirmed& order) {
  return {.subject = "Your order " + NameOf(order) + " is confirmed",
          .message_id = "order-" + std::to_string(order.order_id()) + "-confirmed@shop",
          .paragraphs = {"your order " + NameOf(order) + " is paid and confirmed.",
                         "We will write again as soon as it is on its way."}};
}

Content ContentOf(const events::v1::OrderCancelled& order) {
  Content content{.subject = "Your order " + NameOf(order) + " was cancelled",
                  .message_id = "order-" + std::to_string(order.order_id()) + "-cancelled@shop",
                  .paragraphs = {"your order " + NameOf(order) + " was cancelled."}};
  if (!order.reason().empty()) content.paragraphs.push_back("Reason: " + OneLine(order.reason()));
  content.paragraphs.push_back("If you have been charged for it, the money goes back to you.");
  return content;
}

Content ContentOf(const events::v1::OrderShipped& order) {
  Content content{.subject = "Your order " + NameOf(order) + " is on its way",
                  .message_id = "order-" + std::to_string(order.order_id()) + "-shipped@shop",
                  .paragraphs = {"your order " + NameOf(order) + " is on its way."}};
  if (!order.tracking_number().empty()) {
    content.paragraphs.push_back("Tracking number: " + OneLine(order.tracking_number()));
  }
  return content;
}

Content ContentOf(const events::v1::OrderDelivered& order) {
  return {.subject = "Your order " + NameOf(order) + " has arrived",
          .message_id = "order-" + std::to_string(order.order_id()) + "-delivered@shop",
          .paragraphs = {"your order " + NameOf(order) + " has been delivered. Enjoy it!"}};
}

Content ContentOf(const events::v1::PaymentRefunded& refund) {
  const std::string currency = OneLine(refund.currency());
  const std::string amount = AmountText(refund.amount()) + " " + currency;
  Content content{
      .subject = "A refund for your order " + NameOf(refund),
      .message_id = "refund-" + refund.refund_uuid() + "@shop",
      .paragraphs = {"we have refunded " + amount + " for your order " + NameOf(refund) + "."},
      .lines = LinesOf(refund.items(), currency)};
  if (refund.refunded_total() > refund.amount()) {
    content.total = "Refunded so far: " + AmountText(refund.refunded_total()) + " " + currency;
  }
  return content;
}

Content ContentOf(const events::v1::PasswordResetRequested& reset) {
  return {
      .subject = "Another password for your account",
      .message_id = "password-reset-" + reset.request() + "@shop",
      .paragraphs = {"somebody has asked for another password for your account. If that was you, "
                     "this is the token with which you can choose one, once, within 30 minutes:"},
      .afterwards = {"If it was not you, there is nothing to do: your password stays as it is. "
                     "Give the token to nobody."}};
}

Content ContentOf(const events::v1::EmailConfirmationRequested& asked) {
  return {.subject = "Please confirm your e-mail address",
          .message_id = "email-confirmation-" + asked.request() + "@shop",
          .paragraphs =
              {"somebody has registered with this e-mail address. If that was you, this is the "
               "token with which you can confirm it, once, within 24 hours:"},
          .afterwards = {"If it was not you, there is nothing to do: without this token nobody "
                         "confirms the address. Give it to nobody."}};
}

Content ContentOf(const events::v1::RegistrationRepeated& repeated) {
  return {.subject = "You have an account already",
          .message_id = "registration-repeated-" + repeated.request() + "@shop",
          .paragraphs = {"somebody has tried to register with this e-mail address. It has an "
                         "account already, and nothing has changed.",
                         "If that was you, log in. If you have forgotten your password, ask for "
                         "another one. If it was not you, there is nothing to do."}};
}

// --- the forms

// One that is not known is left out.
std::string Greeting(const std::string& name) {
  return name.empty() ? "Hello," : "Hello " + name + ",";
}

std::string TextOf(const Content& content, const std::string& name) {
  std::string text = Greeting(name) + "\n";
  for (const std::string& paragraph : content.paragraphs) text += "\n" + paragraph + "\n";
  if (!content.lines.empty()) text += "\n";
  for (const Line& line : content.lines) {
    text += "  " + line.name + "\n    " + line.quantity + "    " + line.amount + "\n";
  }
  if (!content.total.empty()) text += "\n" + content.total + "\n";
  if (!content.address.empty()) text += "\nIt goes to:\n";
  for (const std::string& line : content.address) text += "  " + line + "\n";
  if (!content.token.empty()) text += "\n" + content.token + "\n";
  for (const std::string& paragraph : content.afterwards) text += "\n" + paragraph + "\n";
  return text;
}

std::string Escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string HtmlOf(const Content& content, const std::string& name) {
  std::string html = "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>" +
                     Escaped(content.subject) +
                     "</title></head>\n"
                     "<body style=\"font-family: sans-serif; max-width: 36em\">\n<p>" +
                     Escaped(Greeting(name)) + "</p>\n";
  for (const std::string& paragraph : content.paragraphs) {
    html += "<p>" + Escaped(paragraph) + "</p>\n";
  }
  if (!content.lines.empty()) html += "<table style=\"width: 100%\">\n";
  for (const Line& line : content.lines) {
    html += "<tr><td>" + Escaped(line.name) + "</td><td>" + Escaped(line.quantity) +
            "</td><td style=\"text-align: right\">" + Escaped(line.amount) + "</td></tr>\n";
  }
  if (!content.lines.empty()) html += "</table>\n";
  if (!content.total.empty()) {
    html += "<p><strong>" + Escaped(content.total) + "</strong></p>\n";
  }
  if (!content.address.empty()) {
    html += "<p>It goes to:";
    for (const std::string& line : content.address) html += "<br>\n" + Escaped(line);
    html += "</p>\n";
  }
  if (!content.token.empty()) html += "<p><code>" + Escaped(content.token) + "</code></p>\n";
  for (const std::string& paragraph : content.afterwards) {
    html += "<p>" + Escaped(paragraph) + "</p>\n";
  }
  return html + "</body>\n</html>\n";
}

template <typename Event>
Result<Content> Read(std::string_view json) {
  Event event;
  const Result<void> read = messaging::ReadValue(json, &event);
  if (!read) return read.refusal();
  return ContentOf(event);
}

struct Words {
  std::string_view type;
  Result<Content> (*read)(std::string_view json);
};
constexpr Words kWords[] = {
    {"ORDER_CREATED", Read<events::v1::OrderCreated>},
    {"ORDER_CONFIRMED", Read<events::v1::OrderConfirmed>},
    {"ORDER_CANCELLED", Read<events::v1::OrderCancelled>},
    {"ORDER_SHIPPED", Read<events::v1::OrderShipped>},
    {"ORDER_DELIVERED", Read<events::v1::OrderDelivered>},
    {"PAYMENT_REFUNDED", Read<events::v1::PaymentRefunded>},
    {"PASSWORD_RESET_REQUESTED", Read<events::v1::PasswordResetRequested>},
    {"EMAIL_CONFIRMATION_REQUESTED", Read<events::v1::EmailConfirmationRequested>},
    {"REGISTRATION_REPEATED", Read<events::v1::RegistrationRepeated>},
};

Result<Content> ContentAbout(std::string_view type, std::string_view event) {
  const auto words = std::ranges::find(kWords, type, &Words::type);
  if (words == std::end(kWords)) {
    return Refusal{Code::kInvalidArgument, "there is no mail about " + std::string(type)};
  }
  return words->read(event);
}

}  // namespace

Result<std::string> SubjectAbout(std::string_view type, std::string_view event) {
  const Result<Content> content = ContentAbout(type, event);
  if (!content) return content.refusal();
  return content->subject;
}

Result<Mail> MailAbout(std::string_view type, std::string_view event, const MailFrame& frame) {
  Result<Content> content = ContentAbout(type, event);
  if (!content) return content.refusal();
  content->token = frame.token;
  const std::string name = OneLine(frame.to.name);
  return Mail{.from = frame.from,
              .to = frame.to,
              .subject = content->subject,
              .text = TextOf(*content, name),
              .html = HtmlOf(*content, name),
              .message_id = content->message_id,
              .date = frame.date};
}

}  // namespace shop::notification
