#include "notification/mail.h"

#include <array>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <stdexcept>
#include <utility>

#include "common/crypto/base64.h"

namespace shop::notification {
namespace {

constexpr size_t kLineLength = 76;
// Of text in one encoded word: =?UTF-8?B?…?= then has at most 75 characters, as RFC 2047 asks.
constexpr size_t kWordBytes = 45;
// Between the parts of a mail. Quoted-printable has no "=_".
constexpr char kBoundary[] = "=_part";

bool IsVisible(char c) {
  return c > ' ' && c < 0x7f;
}

// As RFC 2047 encoded words, a line each; a character is never split between two.
std::string EncodedWords(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    size_t length = std::min(kWordBytes, text.size());
    while (length > 1 && length < text.size() && (text[length] & 0xc0) == 0x80) --length;
    if (!out.empty()) out += "\r\n ";
    out += "=?UTF-8?B?" + EncodeBase64(text.substr(0, length)) + "?=";
    text.remove_prefix(length);
  }
  return out;
}

// Whether a header can carry the text as it is: short, of single words of `allowed` characters.
template <typename Allowed>
bool IsPlainText(std::string_view text, const Allowed& allowed) {
  if (text.size() > 60 || text.find("=?") != std::string_view::npos) return false;
  char before = ' ';
  for (const char c : text) {
    if (c == ' ' ? before == ' ' : !allowed(c)) return false;
    before = c;
  }
  return before != ' ' || text.empty();
}

std::string Subject(std::string_view text) {
  return IsPlainText(text, IsVisible) ? std::string(text) : EncodedWords(text);
}

std::string Address(const Mailbox& mailbox) {
  if (!IsPlainAddress(mailbox.address)) throw std::invalid_argument("not a mail address");
  if (mailbox.name.empty()) return mailbox.address;
  const auto atom = [](char c) {
    return IsVisible(c) && std::string_view("()<>[]:;@\\,.\"").find(c) == std::string_view::npos;
  };
  return (IsPlainText(mailbox.name, atom) ? mailbox.name : EncodedWords(mailbox.name)) + "\r\n <" +
         mailbox.address + ">";
}

// RFC 5322, in UTC and in English whatever the locale.
std::string Date(std::chrono::system_clock::time_point time) {
  constexpr std::array kDays{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  constexpr std::array kMonths{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                               "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%s, %d %s %d %02d:%02d:%02d +0000",
                kDays[static_cast<size_t>(utc.tm_wday)], utc.tm_mday,
                kMonths[static_cast<size_t>(utc.tm_mon)], utc.tm_year + 1900, utc.tm_hour,
                utc.tm_min, utc.tm_sec);
  return text.data();
}

// RFC 2045: ASCII stays readable, lines stay short.
std::string QuotedPrintable(std::string_view text) {
  constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  size_t column = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\n') {
      out += "\r\n";
      column = 0;
      continue;
    }
    const bool ends_line = i + 1 == text.size() || text[i + 1] == '\n';
    const bool as_it_is = (IsVisible(c) && c != '=') || (c == ' ' && !ends_line);
    const size_t width = as_it_is ? 1 : 3;
    // Leaves room for the = of a soft line break.
    if (column + width > kLineLength - 1) {
      out += "=\r\n";
      column = 0;
    }
    if (as_it_is) {
      out += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out += '=';
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    }
    column += width;
  }
  return out;
}

}  // namespace

bool IsPlainAddress(std::string_view address) {
  const size_t at = address.find('@');
  if (at == std::string_view::npos || at == 0 || at + 1 == address.size() || address.size() > 254) {
    return false;
  }
  for (const char c : address) {
    if (!IsVisible(c) || std::string_view("<>()[]:;,\\\"").find(c) != std::string_view::npos) {
      return false;
    }
  }
  return address.find('@', at + 1) == std::string_view::npos;
}

std::optional<Mailbox> ParseMailbox(std::string_view text) {
  Mailbox mailbox;
  const size_t open = text.find('<');
  if (open == std::string_view::npos) {
    mailbox.address = text;
  } else {
    if (!text.ends_with('>')) return std::nullopt;
    mailbox.address = text.substr(open + 1, text.size() - open - 2);
    std::string_view name = text.substr(0, open);
    while (name.ends_with(' ')) name.remove_suffix(1);
    mailbox.name = name;
  }
  if (!IsPlainAddress(mailbox.address)) return std::nullopt;
  return mailbox;
}

std::string ToMime(const Mail& mail) {
  std::string out;
  const auto header = [&](const char* name, const std::string& value) {
    out.append(name).append(": ").append(value).append("\r\n");
  };
  header("Date", Date(mail.date));
  header("From", Address(mail.from));
  header("To", Address(mail.to));
  header("Subject", Subject(mail.subject));
  header("Message-ID", "<" + mail.message_id + ">");
  header("Auto-Submitted", "auto-generated");
  header("MIME-Version", "1.0");
  const auto part = [&](const char* type, const std::string& body) {
    header("Content-Type", std::string(type) + "; charset=utf-8");
    header("Content-Transfer-Encoding", "quoted-printable");
    out += "\r\n";
    out += QuotedPrintable(body);
  };
  if (mail.html.empty()) {
    part("text/plain", mail.text);
    return out;
  }
  // The last part is the one to be shown where it can be.
  header("Content-Type", std::string("multipart/alternative; boundary=\"") + kBoundary + "\"");
  for (const auto& [type, body] :
       {std::pair("text/plain", mail.text), std::pair("text/html", mail.html)}) {
    out.append("\r\n--").append(kBoundary).append("\r\n");
    part(type, body);
  }
  out.append("\r\n--").append(kBoundary).append("--\r\n");
  return out;
}

}  // namespace shop::notification
