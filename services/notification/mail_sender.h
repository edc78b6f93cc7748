// Sends the mails that wait in the database.
//
// Any number of senders may run, in any number of processes: each leases as many jobs as it can
// begin at once. What was not sent is tried again with growing pauses, for as long as it takes.
//
// One mail's trouble is its own: a refusal for now, or a server that keeps silent about one
// recipient, delays no other mail. Mails that are tried again have few of the slots, so however
// many of them take their time, the others are for new mails; and a first attempt may take a few
// seconds only. Everybody's trouble is everybody's: while the mail server is away, or refuses
// whoever comes (its greeting, the login, MAIL FROM), or users cannot be asked, the whole sender
// pauses, tries one mail after each pause, and no mail is refused or blamed for it.
//
// A mail may arrive twice where the outcome of an attempt was unknown: the server's answer got
// lost, the sender died or lost its database between sending and saying so, or it was kept from
// going on for longer than its lease. Those are counted.
//
// Metrics: mail_attempts_total{outcome=sent|refused|unknown|failed|away}, mail_relay_up.
#pragma once

#include <chrono>
#include <memory>

#include "common/postgres/pool.h"
#include "common/rpc/client.h"
#include "notification/mail.h"
#include "notification/smtp.h"

namespace shop::notification {

struct SenderOptions {
  // How often due jobs are looked for.
  std::chrono::milliseconds poll{500};
  // Longer than an attempt can take: asking users, connecting, and a whole mail.
  std::chrono::milliseconds lease{60'000};
  // Mails under way at the same time, each with a connection of its own, and how many of these may
  // be such that were tried before.
  int at_once = 8;
  int again_at_once = 2;
  // How long a first attempt may take until the mail has left. A later one has all of the mail
  // server's time-out.
  std::chrono::milliseconds first_patience{5'000};
  // The pause after a job's first failure; it doubles up to the longest.
  std::chrono::milliseconds first_pause{1'000};
  std::chrono::milliseconds longest_pause{300'000};
  // The longest pause of the whole sender; it too begins with the first and doubles.
  std::chrono::milliseconds longest_away{60'000};
};

class MailSender {
 public:
  // Starts at once, in threads of its own. `db` and `users` (the channel to the users service, with
  // this service's identity) must outlive the sender.
  MailSender(postgres::Pool& db, const rpc::Channel& users, const SmtpSettings& smtp, Mailbox from,
             const SenderOptions& options = {});
  // Gives up the attempts under way unless the mail has left already, and says so in the database.
  ~MailSender();

  // False while the whole sender pauses.
  bool healthy() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shop::notification
