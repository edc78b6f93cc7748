// What Smtp makes of a server's answers, with a server that follows a script.
#include "notification/smtp.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "common/testing/loopback_listener.h"

namespace shop::notification {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

using Script = std::map<std::string, std::string>;

constexpr char kHangUp[] = "";
constexpr char kSilence[] = "(silence)";

// Speaks just enough SMTP with one client after the other. Each verb, and "." for the end of the
// mail, is answered by the script, else as a willing server would.
class ScriptedServer {
 public:
  // From the second mail of a connection on it follows `then`, where that is given.
  explicit ScriptedServer(Script script, Script then = {})
      : script_(std::move(script)), then_(std::move(then)) {
    thread_ = std::thread([this] { Serve(); });
  }
  ~ScriptedServer() {
    listener_.Shutdown();
    thread_.join();
  }

  SmtpSettings settings() const {
    SmtpSettings settings;
    settings.url = "smtp://127.0.0.1:" + std::to_string(listener_.port());
    settings.timeout = std::chrono::seconds(2);
    return settings;
  }
  std::string received() const {
    const std::lock_guard lock(mutex_);
    return received_;
  }

 private:
  void Serve() {
    for (;;) {
      const int client = listener_.Accept();
      if (client < 0) return;
      Talk(client);
      close(client);
    }
  }

  void Talk(int client) {
    std::string buffer;
    bool in_mail = false;
    mails_ = 0;
    if (!Answer(client, "(greeting)", "220 hello")) return;
    char bytes[4096];
    for (ssize_t got; (got = recv(client, bytes, sizeof bytes, 0)) > 0;) {
      buffer.append(bytes, static_cast<size_t>(got));
      for (size_t end; (end = buffer.find("\r\n")) != std::string::npos;) {
        const std::string line = buffer.substr(0, end);
        buffer.erase(0, end + 2);
        {
          const std::lock_guard lock(mutex_);
          received_ += line + "\n";
        }
        if (in_mail && line != ".") continue;
        const std::string verb = in_mail ? "." : line.substr(0, 4);
        mails_ += verb == "MAIL" ? 1 : 0;
        in_mail = verb == "DATA" && !Current().contains("DATA");
        if (!Answer(client, verb, verb == "DATA" ? "354 go on" : "250 fine")) return;
      }
    }
  }

  bool Answer(int client, const std::string& verb, const std::string& usual) {
    const auto scripted = Current().find(verb);
    const std::string answer = scripted == Current().end() ? usual : scripted->second;
    if (answer == kHangUp) return false;
    if (answer == kSilence) return true;
    const std::string line = answer + "\r\n";
    return send(client, line.data(), line.size(), MSG_NOSIGNAL) > 0;
  }

  const Script& Current() const { return mails_ > 1 && !then_.empty() ? then_ : script_; }

  const Script script_;
  const Script then_;
  int mails_ = 0;  // of this connection; the serving thread's alone
  shop::testing::LoopbackListener listener_;
  mutable std::mutex mutex_;
  std::string received_;
  std::thread thread_;
};

constexpr std::chrono::seconds kPatience{20};
constexpr char kMail[] = "Subject: hello\r\n\r\n.leading dot\r\n";

MailAnswer SendTo(const SmtpSettings& settings) {
  return Smtp(settings).Send("orders@shop.local", "ada@example.org", kMail, kPatience, {});
}

MailOutcome OutcomeWith(const std::string& verb, const std::string& answer) {
  const ScriptedServer server(Script{{verb, answer}});
  return SendTo(server.settings()).outcome;
}

TEST(Smtp, AMailThatWasTakenIsSent) {
  const ScriptedServer server(Script{});
  EXPECT_EQ(SendTo(server.settings()).outcome, MailOutcome::kSent);
  EXPECT_THAT(server.received(), HasSubstr("MAIL FROM:<orders@shop.local>"));
  EXPECT_THAT(server.received(), HasSubstr("RCPT TO:<ada@example.org>"));
  EXPECT_THAT(server.received(), HasSubstr("\n..leading dot\n.\n"));
}

TEST(Smtp, OneConnectionServesSeveralMails) {
  const ScriptedServer server(Script{});
  Smtp smtp(server.settings());
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(smtp.Send("a@shop.local", "b@example.org", kMail, kPatience, {}).outcome,
              MailOutcome::kSent);
  }
  const std::string received = server.received();
  EXPECT_EQ(received.find("EHLO"), received.rfind("EHLO"));
}

TEST(Smtp, ARefusalForGoodIsOne) {
  EXPECT_EQ(OutcomeWith("RCPT", "550 no such mailbox"), MailOutcome::kRefused);
  EXPECT_EQ(OutcomeWith("DATA", "554 no"), MailOutcome::kRefused);
  EXPECT_EQ(OutcomeWith(".", "552 too big"), MailOutcome::kRefused);
}

TEST(Smtp, ARefusalForNowIsAFailure) {
  EXPECT_EQ(OutcomeWith("RCPT", "450 busy"), MailOutcome::kFailed);
  EXPECT_EQ(OutcomeWith("DATA", "421 closing"), MailOutcome::kFailed);
  EXPECT_EQ(OutcomeWith(".", "452 full"), MailOutcome::kFailed);
}

TEST(Smtp, AServerThatRefusesEverybodyRefusesNoMail) {
  for (const char* verb : {"(greeting)", "EHLO", "MAIL"}) {
    for (const char* answer : {"554 no service", "421 not now"}) {
      // Without EHLO it is greeted with HELO.
      const ScriptedServer server(Script{{verb, answer}, {"HELO", answer}});
      EXPECT_EQ(SendTo(server.settings()).outcome, MailOutcome::kAway) << verb << " " << answer;
    }
  }
}

TEST(Smtp, OnASecondMailOfAConnectionARefusedSenderRefusesNoMailEither) {
  const ScriptedServer server(Script{}, /*then=*/Script{{"MAIL", "550 you may not send"}});
  Smtp smtp(server.settings());
  EXPECT_EQ(smtp.Send("a@shop.local", "b@example.org", kMail, kPatience, {}).outcome,
            MailOutcome::kSent);
  EXPECT_EQ(smtp.Send("a@shop.local", "b@example.org", kMail, kPatience, {}).outcome,
            MailOutcome::kAway);
}

// The outcome of a connection's second mail, and how many connections there were after it.
std::pair<MailOutcome, int> SecondMail(const Script& then) {
  const ScriptedServer server(Script{}, then);
  Smtp smtp(server.settings());
  EXPECT_EQ(smtp.Send("a@shop.local", "b@example.org", kMail, kPatience, {}).outcome,
            MailOutcome::kSent);
  const MailOutcome second =
      smtp.Send("a@shop.local", "b@example.org", kMail, kPatience, {}).outcome;
  const std::string received = server.received();
  int greeted = 0;
  for (size_t at = 0; (at = received.find("EHLO", at)) != std::string::npos; ++at) ++greeted;
  return {second, greeted};
}

TEST(Smtp, AKeptConnectionThatTheServerClosesIsReplacedByANewOne) {
  EXPECT_EQ(SecondMail({{"MAIL", kHangUp}}), std::pair(MailOutcome::kSent, 2));
  EXPECT_EQ(SecondMail({{"MAIL", "421 that was enough"}}), std::pair(MailOutcome::kSent, 2));
}

TEST(Smtp, WhatMayHaveArrivedIsNotSentAgainOverANewConnection) {
  EXPECT_EQ(SecondMail({{"RCPT", kHangUp}}), std::pair(MailOutcome::kFailed, 1));
  EXPECT_EQ(SecondMail({{"DATA", "421 closing"}}), std::pair(MailOutcome::kFailed, 1));
  EXPECT_EQ(SecondMail({{".", kHangUp}}), std::pair(MailOutcome::kUnknown, 1));
}

TEST(Smtp, PatienceEndsWhileNothingCanArriveTwice) {
  const auto with = [](const std::string& verb) {
    const ScriptedServer server(Script{{verb, kSilence}});
    SmtpSettings settings = server.settings();
    settings.timeout = std::chrono::seconds(60);
    return Smtp(settings)
        .Send("orders@shop.local", "ada@example.org", kMail, std::chrono::milliseconds(200), {})
        .outcome;
  };
  EXPECT_EQ(with("RCPT"), MailOutcome::kFailed);
  EXPECT_EQ(with("DATA"), MailOutcome::kFailed);
  EXPECT_EQ(with("MAIL"), MailOutcome::kAway);
}

TEST(Smtp, PatienceDoesNotEndOnceTheMailHasLeft) {
  const ScriptedServer server(Script{{".", kSilence}});
  SmtpSettings settings = server.settings();
  settings.timeout = std::chrono::seconds(3);
  const auto start = std::chrono::steady_clock::now();
  const MailAnswer answer = Smtp(settings).Send("orders@shop.local", "ada@example.org", kMail,
                                                std::chrono::milliseconds(500), {});
  EXPECT_EQ(answer.outcome, MailOutcome::kUnknown);
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
}

TEST(Smtp, AnAnswerThatNeverCameIsUnknown) {
  EXPECT_EQ(OutcomeWith(".", kHangUp), MailOutcome::kUnknown);
  EXPECT_EQ(OutcomeWith(".", kSilence), MailOutcome::kUnknown);
}

TEST(Smtp, ALossBeforeTheMailHasLeftIsAFailure) {
  EXPECT_EQ(OutcomeWith("RCPT", kHangUp), MailOutcome::kFailed);
  EXPECT_EQ(OutcomeWith("DATA", kHangUp), MailOutcome::kFailed);
}

TEST(Smtp, ALossBeforeTheRecipientWasNamedIsNotAboutTheMail) {
  EXPECT_EQ(OutcomeWith("(greeting)", kHangUp), MailOutcome::kAway);
  EXPECT_EQ(OutcomeWith("MAIL", kHangUp), MailOutcome::kAway);
  EXPECT_EQ(OutcomeWith("MAIL", kSilence), MailOutcome::kAway);
}

TEST(Smtp, NoServerIsNotAboutTheMail) {
  SmtpSettings settings;
  settings.url = "smtp://127.0.0.1:1";
  const MailAnswer answer = SendTo(settings);
  EXPECT_EQ(answer.outcome, MailOutcome::kAway);
  EXPECT_THAT(answer.why, Not(""));
}

TEST(Smtp, APasswordNeverLeavesWithoutTls) {
  const ScriptedServer server(Script{});
  SmtpSettings settings = server.settings();
  settings.url.insert(7, "shop:secret@");
  const MailAnswer answer = SendTo(settings);
  EXPECT_EQ(answer.outcome, MailOutcome::kAway);
  EXPECT_THAT(answer.why, Not(HasSubstr("secret")));
  EXPECT_THAT(server.received(), Not(HasSubstr("AUTH")));
}

TEST(Smtp, StoppingGivesUpBeforeTheMailHasLeft) {
  const ScriptedServer server(Script{{"MAIL", kSilence}});
  SmtpSettings settings = server.settings();
  settings.timeout = std::chrono::seconds(20);
  std::stop_source stop;
  stop.request_stop();
  const auto start = std::chrono::steady_clock::now();
  const MailAnswer answer = Smtp(settings).Send("orders@shop.local", "ada@example.org", kMail,
                                                kPatience, stop.get_token());
  EXPECT_EQ(answer.outcome, MailOutcome::kAway);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

TEST(Smtp, OnlySmtpUrlsAreTaken) {
  EXPECT_TRUE(IsSmtpUrl("smtp://127.0.0.1:1025"));
  EXPECT_TRUE(IsSmtpUrl("smtps://shop:p%40ss@mail.example.org"));
  EXPECT_FALSE(IsSmtpUrl("http://127.0.0.1"));
  EXPECT_FALSE(IsSmtpUrl("127.0.0.1:25"));
  EXPECT_FALSE(IsSmtpUrl(""));
}

}  // namespace
}  // namespace shop::notification
