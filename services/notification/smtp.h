// Hands mails to a mail server over SMTP, through libcurl.
#pragma once

#include <chrono>
#include <memory>
#include <stop_token>
#include <string>

namespace shop::notification {

struct SmtpSettings {
  // smtp://host:port, or smtps:// with TLS from the start; user:password@ logs in, and makes
  // smtp:// insist on STARTTLS.
  std::string url;
  std::chrono::milliseconds connect_timeout{5'000};
  std::chrono::milliseconds timeout{30'000};  // of a whole mail
};

bool IsSmtpUrl(const std::string& url);

enum class MailOutcome {
  kSent,     // the server has taken it
  kRefused,  // the server will never take it: 5xx to its recipient, or to the mail itself
  kFailed,   // it was not sent, a retry may succeed: 4xx, or silence or a lost connection after the
             // recipient was named
  // Not this mail's fault, and any other mail would fail too: the server cannot be reached, or it
  // refuses every client, in its greeting or at EHLO, STARTTLS, the login or MAIL FROM.
  kAway,
  kUnknown,  // the whole mail was transmitted and no answer came: it may have been sent
};

struct MailAnswer {
  MailOutcome outcome;
  std::string why;  // for the log; contains no credentials
};

// A client for one thread. Keeps its connection from one mail to the next. If the server has closed
// it in between, a mail whose recipient was not named yet is sent over a new connection.
class Smtp {
 public:
  explicit Smtp(const SmtpSettings& settings);
  ~Smtp();

  // `mail` is the whole text, as ToMime writes it. Gives up after `patience` if the last byte has not
  // been transmitted by then; after the last byte only the time-out of the settings applies, because
  // a mail that is given up then may arrive twice. When stopped, gives up at once before the last
  // byte, and within seconds after it.
  MailAnswer Send(const std::string& from, const std::string& to, const std::string& mail,
                  std::chrono::milliseconds patience, const std::stop_token& stop);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shop::notification
