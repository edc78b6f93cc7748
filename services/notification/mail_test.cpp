// What mails say, and that nothing in them can become a header.
#include "notification/mail.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "common/messaging/event.h"
#include "notification/order_mail.h"
#include "shop/events/v1/orders.pb.h"
#include "shop/events/v1/payments.pb.h"

namespace shop::notification {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

Mail AMail() {
  Mail mail;
  mail.from = {"Shop", "orders@shop.local"};
  mail.to = {"Ada Lovelace", "ada@example.org"};
  mail.subject = "Your order 42";
  mail.text = "Hello\n";
  mail.message_id = "order-42-created@shop";
  mail.date = std::chrono::system_clock::from_time_t(1769860805);  // a Saturday
  return mail;
}

events::v1::OrderCreated AnOrder() {
  events::v1::OrderCreated order;
  order.set_order_id(42);
  order.set_currency("EUR");
  order.set_total_price(15003);
  orders::v1::OrderItem& mug = *order.add_items();
  mug.set_name("Mug");
  mug.set_quantity(3);
  mug.set_unit_price(4999);
  mug.set_total_price(14997);
  orders::v1::OrderItem& clip = *order.add_items();
  clip.set_name("Clip");
  clip.set_quantity(1);
  clip.set_unit_price(6);
  clip.set_total_price(6);
  return order;
}

const MailFrame kFrame{{"Shop", "orders@shop.local"},
                       {"Ada", "ada@example.org"},
                       std::chrono::system_clock::from_time_t(1769860805)};

// The mail that tells of the event.
Mail MailOf(const google::protobuf::Message& event) {
  const messaging::Envelope envelope = messaging::MakeEvent(event, {});
  const Result<Mail> mail = MailAbout(envelope.type, envelope.value, kFrame);
  EXPECT_TRUE(mail) << envelope.type;
  return mail ? *mail : Mail();
}

template <typename Event>
Event About() {
  Event event;
  event.set_order_id(42);
  event.set_order_number("7K3M-9QXD");
  return event;
}

std::string TextOf(const events::v1::OrderCreated& order) {
  return MailOf(order).text;
}

// The lines up to the empty one.
std::vector<std::string> HeaderLines(const Mail& mail) {
  std::istringstream text(ToMime(mail));
  std::vector<std::string> lines;
  for (std::string line; std::getline(text, line) && line != "\r";) lines.push_back(line);
  return lines;
}

std::string Body(const Mail& mail) {
  const std::string text = ToMime(mail);
  return text.substr(text.find("\r\n\r\n") + 4);
}

TEST(Mail, HasTheHeadersAMailNeeds) {
  EXPECT_EQ(ToMime(AMail()),
            "Date: Sat, 31 Jan 2026 12:00:05 +0000\r\n"
            "From: Shop\r\n <orders@shop.local>\r\n"
            "To: Ada Lovelace\r\n <ada@example.org>\r\n"
            "Subject: Your order 42\r\n"
            "Message-ID: <order-42-created@shop>\r\n"
            "Auto-Submitted: auto-generated\r\n"
            "MIME-Version: 1.0\r\n"
            "Content-Type: text/plain; charset=utf-8\r\n"
            "Content-Transfer-Encoding: quoted-printable\r\n"
            "\r\n"
            "Hello\r\n");
}

TEST(OrderMail, HasTheOrdersNumberWhereTheEventKnowsIt) {
  events::v1::OrderCreated order = AnOrder();
  EXPECT_THAT(TextOf(order), HasSubstr("your order 42. We"));
  order.set_order_number("7K3M-9QXD");
  EXPECT_THAT(TextOf(order), HasSubstr("your order 42 (7K3M-9QXD). We"));
}

TEST(OrderMail, NamesWhoReceivesTheParcel) {
  events::v1::OrderCreated order = AnOrder();
  order.mutable_shipping_address()->set_recipient("Grace Hopper");
  order.mutable_shipping_address()->set_street("1 Main Street");
  order.mutable_shipping_address()->set_phone("+1 555 010 9999");
  EXPECT_THAT(TextOf(order), HasSubstr("  Grace Hopper\n  1 Main Street\n"));
  EXPECT_THAT(TextOf(order), HasSubstr("  +1 555 010 9999\n"));
}

TEST(Mail, ANameWithoutWordsIsLeftOut) {
  Mail mail = AMail();
  mail.to.name = "";
  EXPECT_THAT(ToMime(mail), HasSubstr("\r\nTo: ada@example.org\r\n"));
}

TEST(Mail, NamesInOtherScriptsAreEncoded) {
  Mail mail = AMail();
  mail.to.name = "Zoë";
  EXPECT_THAT(ToMime(mail), HasSubstr("\r\nTo: =?UTF-8?B?Wm/Dqw==?=\r\n <ada@example.org>\r\n"));
}

TEST(Mail, SubjectsInOtherScriptsAreEncoded) {
  Mail mail = AMail();
  mail.subject = "Ihre Bestellung für 5 €";
  EXPECT_THAT(ToMime(mail),
              HasSubstr("\r\nSubject: =?UTF-8?B?SWhyZSBCZXN0ZWxsdW5nIGbDvHIgNSDigqw=?=\r\n"));
}

TEST(Mail, EncodedWordsAreShortAndSplitNoCharacter) {
  Mail mail = AMail();
  mail.subject = "";
  for (int i = 0; i < 40; ++i) mail.subject += "€";
  int words = 0;
  for (const std::string& line : HeaderLines(mail)) {
    EXPECT_LE(line.size(), 90u);
    const size_t word = line.find("=?UTF-8?B?");
    if (word == std::string::npos) continue;
    ++words;
    // 45 bytes are 15 of these characters: the base64 of whole ones.
    EXPECT_EQ((line.size() - word - 10 - 3) % 4, 0u);
    EXPECT_THAT(line.substr(word + 10), StartsWith("4oKs"));
    EXPECT_THAT(line, EndsWith("?=\r"));
  }
  EXPECT_EQ(words, 3);
}

TEST(Mail, ANameThatLooksLikeAHeaderStaysAName) {
  for (const std::string& name :
       std::vector<std::string>{"Ada\r\nBcc: eve@example.org", "Ada\nBcc: eve@example.org",
                                "Ada\rBcc: eve@example.org", "Ada <eve@example.org>, Bob",
                                "=?UTF-8?Q?Eve?=", "\"Ada\" (eve)", std::string(300, 'a')}) {
    Mail mail = AMail();
    mail.to.name = name;
    EXPECT_THAT(HeaderLines(mail), Each(Not(HasSubstr("eve")))) << name;
    EXPECT_THAT(HeaderLines(mail), Each(Not(StartsWith("Bcc")))) << name;
    EXPECT_THAT(HeaderLines(mail), Each(SizeIs(testing::Le(91u)))) << name;
    EXPECT_THAT(ToMime(mail), HasSubstr("\r\nTo: =?UTF-8?B?")) << name;
  }
}

TEST(Mail, ASubjectCannotAddAHeader) {
  Mail mail = AMail();
  mail.subject = "Order\r\nBcc: eve@example.org";
  EXPECT_THAT(HeaderLines(mail), Each(Not(StartsWith("Bcc"))));
}

TEST(Mail, AnAddressThatCouldAddARecipientIsNone) {
  for (const char* address :
       {"", "ada", "@example.org", "ada@", "ada@example.org\r\nRCPT TO:<eve@example.org>",
        "ada@example.org>", "<ada@example.org", "ada@a@b", "a da@example.org",
        "ada@example.org,eve", "\"ada\"@example.org", "zoë@example.org"}) {
    EXPECT_FALSE(IsPlainAddress(address)) << address;
  }
  EXPECT_TRUE(IsPlainAddress("ada.b+shop@mail.example.org"));
  Mail mail = AMail();
  mail.to.address = "ada@example.org\r\nBcc: eve@example.org";
  EXPECT_THROW(ToMime(mail), std::invalid_argument);
}

TEST(Mail, ASenderIsReadWithItsNameOrWithout) {
  EXPECT_EQ(ParseMailbox("Shop <orders@shop.local>")->name, "Shop");
  EXPECT_EQ(ParseMailbox("Shop <orders@shop.local>")->address, "orders@shop.local");
  EXPECT_EQ(ParseMailbox("orders@shop.local")->address, "orders@shop.local");
  EXPECT_EQ(ParseMailbox("<orders@shop.local>")->name, "");
  EXPECT_FALSE(ParseMailbox("Shop"));
  EXPECT_FALSE(ParseMailbox("Shop <orders@shop.local> x"));
  EXPECT_FALSE(ParseMailbox("Shop <orders@shop.local\r\nBcc: eve@example.org>"));
}

TEST(Mail, TheBodyIsQuotedPrintable) {
  Mail mail = AMail();
  mail.text = "5 € = fünf \n.\n";
  EXPECT_EQ(Body(mail), "5 =E2=82=AC =3D f=C3=BCnf=20\r\n.\r\n");
}

TEST(Mail, LongLinesOfTheBodyAreBroken) {
  Mail mail = AMail();
  mail.text = std::string(200, 'a') + "€€€\n";
  std::istringstream body(Body(mail));
  std::string whole;
  for (std::string line; std::getline(body, line);) {
    EXPECT_LE(line.size(), 77u);  // with the \r
    line.pop_back();
    const bool goes_on = line.ends_with('=');
    whole += goes_on ? line.substr(0, line.size() - 1) : line + "\n";
  }
  EXPECT_EQ(whole, std::string(200, 'a') + "=E2=82=AC=E2=82=AC=E2=82=AC\n");
}

TEST(OrderMail, ListsTheLinesWithExactAmounts) {
  const std::string text = TextOf(AnOrder());
  EXPECT_THAT(text, HasSubstr("  Mug\n    3 x 49.99    149.97 EUR\n"));
  EXPECT_THAT(text, HasSubstr("  Clip\n    1 x 0.06    0.06 EUR\n"));
  EXPECT_THAT(text, HasSubstr("\nTotal: 150.03 EUR\n"));
}

TEST(OrderMail, AmountsOfAnySizeAreExact) {
  events::v1::OrderCreated order = AnOrder();
  order.set_total_price(999'999'999'999'999);
  EXPECT_THAT(TextOf(order), HasSubstr("Total: 9999999999999.99 EUR"));
  order.set_total_price(-999'999'999'999'999);
  EXPECT_THAT(TextOf(order), HasSubstr("Total: -9999999999999.99 EUR"));
  order.set_total_price(-5);
  EXPECT_THAT(TextOf(order), HasSubstr("Total: -0.05 EUR"));
  order.set_total_price(100);
  EXPECT_THAT(TextOf(order), HasSubstr("Total: 1.00 EUR"));
}

TEST(OrderMail, SaysWhoItIsForAndWhereItGoes) {
  events::v1::OrderCreated order = AnOrder();
  orders::v1::Address& address = *order.mutable_shipping_address();
  address.set_street("12 Old Lane");
  address.set_city("Ghent");
  address.set_postal_code("9000");
  address.set_country("BE");
  const std::string text = TextOf(order);
  EXPECT_THAT(text, StartsWith("Hello Ada,\n"));
  EXPECT_THAT(text, HasSubstr("order 42"));
  EXPECT_THAT(text, EndsWith("It goes to:\n  12 Old Lane\n  9000 Ghent\n  BE\n"));
}

TEST(OrderMail, AnOrderWithoutAnAddressSaysNothingOfOne) {
  EXPECT_THAT(TextOf(AnOrder()), Not(HasSubstr("It goes to")));
}

TEST(OrderMail, ANameWithLineBreaksStaysOnItsLine) {
  events::v1::OrderCreated order = AnOrder();
  order.mutable_items(0)->set_name("Mug\r\nTotal: 0.00");
  EXPECT_THAT(TextOf(order), HasSubstr("  Mug  Total: 0.00\n    3 x"));
}

TEST(OrderMail, TheSameOrderGivesTheSameMail) {
  const Mail mail = MailOf(AnOrder());
  EXPECT_EQ(mail.message_id, "order-42-created@shop");
  EXPECT_EQ(ToMime(mail), ToMime(MailOf(AnOrder())));
}

TEST(OrderMail, EachChangeOfAnOrderHasItsWords) {
  const Mail confirmed = MailOf(About<events::v1::OrderConfirmed>());
  EXPECT_EQ(confirmed.subject, "Your order 42 (7K3M-9QXD) is confirmed");
  EXPECT_THAT(confirmed.text, HasSubstr("is paid and confirmed"));

  auto cancelled = About<events::v1::OrderCancelled>();
  cancelled.set_reason("not enough stock: 2 of product 7 wanted, 1 left");
  EXPECT_THAT(MailOf(cancelled).text,
              HasSubstr("\nReason: not enough stock: 2 of product 7 wanted, 1 left\n"));
  cancelled.clear_reason();
  EXPECT_THAT(MailOf(cancelled).text, Not(HasSubstr("Reason")));

  auto shipped = About<events::v1::OrderShipped>();
  EXPECT_THAT(MailOf(shipped).text, Not(HasSubstr("Tracking")));
  shipped.set_tracking_number("TRK7");
  EXPECT_THAT(MailOf(shipped).text, HasSubstr("\nTracking number: TRK7\n"));
  EXPECT_THAT(MailOf(shipped).html, HasSubstr("<p>Tracking number: TRK7</p>"));

  EXPECT_THAT(MailOf(About<events::v1::OrderDelivered>()).text, HasSubstr("has been delivered"));
}

TEST(OrderMail, ARefundSaysHowMuchAndForWhat) {
  auto refund = About<events::v1::PaymentRefunded>();
  refund.set_refund_uuid("5a0e0000-0000-4000-8000-000000000001");
  refund.set_amount(4999);
  refund.set_refunded_total(4999);
  refund.set_currency("EUR");
  *refund.add_items() = AnOrder().items(1);
  EXPECT_THAT(MailOf(refund).text, HasSubstr("we have refunded 49.99 EUR for your order 42"));
  EXPECT_THAT(MailOf(refund).text, HasSubstr("  Clip\n"));
  EXPECT_THAT(MailOf(refund).text, Not(HasSubstr("so far")));
  refund.set_refunded_total(9999);
  EXPECT_THAT(MailOf(refund).text, HasSubstr("Refunded so far: 99.99 EUR"));
}

TEST(OrderMail, EveryChangeHasAMessageIdOfItsOwn) {
  auto refund = About<events::v1::PaymentRefunded>();
  refund.set_refund_uuid("5a0e0000-0000-4000-8000-000000000001");
  EXPECT_THAT(
      (std::vector{
          MailOf(AnOrder()).message_id, MailOf(About<events::v1::OrderConfirmed>()).message_id,
          MailOf(About<events::v1::OrderCancelled>()).message_id,
          MailOf(About<events::v1::OrderShipped>()).message_id,
          MailOf(About<events::v1::OrderDelivered>()).message_id, MailOf(refund).message_id}),
      ElementsAre("order-42-created@shop", "order-42-confirmed@shop", "order-42-cancelled@shop",
                  "order-42-shipped@shop", "order-42-delivered@shop",
                  "refund-5a0e0000-0000-4000-8000-000000000001@shop"));
}

TEST(OrderMail, WhatHasNoMailOrCannotBeReadIsRefused) {
  EXPECT_FALSE(MailAbout("ORDER_RETURNED", "{}", kFrame));
  EXPECT_FALSE(MailAbout("ORDER_CONFIRMED", "[]", kFrame));
}

TEST(OrderMail, NothingThatAUserWroteIsMarkup) {
  events::v1::OrderCreated order = AnOrder();
  order.mutable_items(0)->set_name("<img src=\"x\"> & more");
  order.mutable_shipping_address()->set_street("<b>1</b>");
  const std::string html = MailOf(order).html;
  EXPECT_THAT(html, HasSubstr("<td>&lt;img src=&quot;x&quot;&gt; &amp; more</td>"));
  EXPECT_THAT(html, HasSubstr("&lt;b&gt;1&lt;/b&gt;"));
  auto cancelled = About<events::v1::OrderCancelled>();
  cancelled.set_reason("<script>");
  EXPECT_THAT(MailOf(cancelled).html, Not(HasSubstr("<script>")));
  MailFrame frame = kFrame;
  frame.to.name = "<i>Ada";
  EXPECT_THAT(MailAbout("ORDER_DELIVERED", R"({"orderId":42})", frame)->html,
              HasSubstr("Hello &lt;i&gt;Ada,"));
}

TEST(OrderMail, AMailAboutAnAccountHasItsTokenOnALineOfItsOwn) {
  MailFrame frame = kFrame;
  frame.token = "hU3m0bS1yTz6dJt1pI5b0l0Qn7c2oKXyqX9d3nB8v4E";
  for (const char* type : {"PASSWORD_RESET_REQUESTED", "EMAIL_CONFIRMATION_REQUESTED"}) {
    const Result<Mail> mail = MailAbout(type, R"({"request":"7d1c3c5e"})", frame);
    ASSERT_TRUE(mail);
    EXPECT_THAT(mail->text, HasSubstr("\n" + frame.token + "\n"));
    EXPECT_THAT(mail->html, HasSubstr("<code>" + frame.token + "</code>"));
    EXPECT_THAT(mail->subject, Not(HasSubstr(frame.token)));
    EXPECT_THAT(mail->message_id, Not(HasSubstr(frame.token)));
    EXPECT_THAT(ToMime(*mail), HasSubstr("\n" + frame.token + "\r\n")) << "not broken over two";
  }
}

TEST(OrderMail, WhoseNameIsNotKnownIsGreetedWithoutOne) {
  MailFrame frame = kFrame;
  frame.to.name = "";
  const Result<Mail> mail =
      MailAbout("EMAIL_CONFIRMATION_REQUESTED", R"({"request":"7d1c3c5e"})", frame);
  ASSERT_TRUE(mail);
  EXPECT_THAT(mail->text, ::testing::StartsWith("Hello,\n"));
  EXPECT_THAT(mail->html, HasSubstr("<p>Hello,</p>"));
}

TEST(OrderMail, TextAndHtmlSayTheSame) {
  events::v1::OrderCreated order = AnOrder();
  order.mutable_shipping_address()->set_city("Ghent");
  const Mail mail = MailOf(order);
  for (const char* said : {"Hello Ada,", "We have received it:", "Mug", "3 x 49.99", "149.97 EUR",
                           "Total: 150.03 EUR", "It goes to:", "Ghent"}) {
    EXPECT_THAT(mail.text, HasSubstr(said));
    EXPECT_THAT(mail.html, HasSubstr(said));
  }
}

TEST(Mail, TextAndHtmlAreTwoPartsToChooseFrom) {
  Mail mail = AMail();
  mail.html = "<p>Hello</p>\n";
  EXPECT_THAT(ToMime(mail), EndsWith("MIME-Version: 1.0\r\n"
                                     "Content-Type: multipart/alternative; boundary=\"=_part\"\r\n"
                                     "\r\n--=_part\r\n"
                                     "Content-Type: text/plain; charset=utf-8\r\n"
                                     "Content-Transfer-Encoding: quoted-printable\r\n"
                                     "\r\nHello\r\n"
                                     "\r\n--=_part\r\n"
                                     "Content-Type: text/html; charset=utf-8\r\n"
                                     "Content-Transfer-Encoding: quoted-printable\r\n"
                                     "\r\n<p>Hello</p>\r\n"
                                     "\r\n--=_part--\r\n"));
}

TEST(Mail, NoTextEndsItsPart) {
  Mail mail = AMail();
  mail.text = "--=_part--\n";
  mail.html = "<p>Hello</p>\n";
  EXPECT_THAT(ToMime(mail), HasSubstr("\r\n--=3D_part--\r\n"));
}

}  // namespace
}  // namespace shop::notification
