// A mail as text on the wire: RFC 5322 headers and a UTF-8 body in quoted-printable, as plain text or
// as text and HTML to choose from (multipart/alternative). No part can add a header, a recipient or
// another part, whatever it contains.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace shop::notification {

struct Mailbox {
  std::string name;  // for people, may be empty
  std::string address;
};

struct Mail {
  Mailbox from;
  Mailbox to;
  std::string subject;
  std::string text;        // lines end with \n
  std::string html = {};   // the same as HTML; empty: text alone
  std::string message_id;  // without the angle brackets
  std::chrono::system_clock::time_point date;
};

// Whether mail can be sent to this address: local@domain in visible ASCII without any character
// that means something to SMTP or in a header.
bool IsPlainAddress(std::string_view address);

// Parses `Shop <orders@shop.local>` or `orders@shop.local`; nothing for any other text.
std::optional<Mailbox> ParseMailbox(std::string_view text);

// The mail with CRLF line ends. The addresses must be plain.
std::string ToMime(const Mail& mail);

}  // namespace shop::notification
