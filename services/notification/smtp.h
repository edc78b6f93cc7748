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
  kFailed,   // it was not sent, and later it may be: 4xx, silence or a loss after its recipient
  // Nothing about this mail: nobody there, or a server that refuses everybody, be it at its
  // greeting, EHLO, STARTTLS, the login or MAIL FROM, with whatever code. Another mail would fare
  // no better.
  kAway,
  kUnknown,  // all of it left, and no answer came: it may have been sent
};

struct MailAnswer {
  MailOutcome outcome;
  std::string why;  // for the log; has no credentials in it
};

// Used by one thread. Keeps its connection from one mail to the next. When the server has closed it
// meanwhile, a mail whose recipient was not named yet is sent over a new one.
class Smtp {
 public:
  explicit Smtp(const SmtpSettings& settings);
  ~Smtp();

  // `mail` is the whole of it as ToMime writes it. Gives up once `patience` is over before the last
  // byte has left; from there on the settings' time-out alone counts, as giving up then may mean
  // that the mail arrives twice. When stopped, gives up at once before the last byte has left, and
  // soon after that.
  MailAnswer Send(const std::string& from, const std::string& to, const std::string& mail,
                  std::chrono::milliseconds patience, const std::stop_token& stop);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shop::notification
