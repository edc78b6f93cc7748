// Sends the mails that wait in the database.
//
// Any number of senders may run, in any number of processes: each leases as many jobs as it can
// start at once. Under load one statement leases the jobs for all slots that have come free, another one
// completes all mails that were sent meanwhile, and users is asked once for all of a lease. A mail that was not sent is retried with growing pauses, for as long as it takes.
//
// A failure of one mail (a temporary refusal, or a server that does not answer about one recipient)
// delays no other mail: retries get only a few of the slots, so that the others stay free for new
// mails, and a first attempt may take only a few seconds. A failure that is no mail's fault pauses
// the whole sender: the mail server is down, or refuses every client (in its greeting, at the
// login, at MAIL FROM), or the users service is down. After each pause it tries one mail, and no
// mail is refused or counts an attempt because of it.
//
// Who gets a mail, and whether they have confirmed that address, is asked just before it is sent, in one question: so a mail
// goes to no address that was not confirmed at that moment, and to none that somebody has had before. What ends
// unsent stays so, also when the address is confirmed later.
//
// A mail about an account that carries a token gets it from auth at each attempt, and keeps it nowhere. While auth is away
// those mails alone wait. Mails about accounts go to unconfirmed addresses too, and count for no limit here: auth limits them.
//
// A mail may arrive twice if the outcome of an attempt is unknown: the server's answer was lost, or
// the sender died, lost its database or was suspended for longer than its lease after the mail had
// left. Those attempts are counted.
//
// Metrics: mail_attempts_total{outcome=sent|refused|unknown|failed|away|unconfirmed|over_limit}, mail_relay_up,
// mails_waiting.
#pragma once

#include <chrono>
#include <memory>

#include "common/postgres/pool.h"
#include "common/rpc/client.h"
#include "notification/mail.h"
#include "notification/smtp.h"

namespace shop::notification {

struct SenderOptions {
  // How often it looks for due jobs.
  std::chrono::milliseconds poll{500};
  // How far apart rounds begin at least, each of which records the mails that were sent and leases others.
  std::chrono::milliseconds interval{20};
  // How often it counts those that wait.
  std::chrono::milliseconds count_every{10'000};
  // Longer than an attempt can take: the call of users, connecting, and a whole mail.
  std::chrono::milliseconds lease{60'000};
  // How many mails are sent at the same time, each over a connection of its own, and how many of
  // these may be retries.
  int at_once = 16;
  int retries_at_once = 2;
  // How long a first attempt may take until the mail has left. A retry has the whole time-out of
  // SmtpSettings.
  std::chrono::milliseconds first_patience{5'000};
  // The pause after a job's first failure; it doubles up to the longest.
  std::chrono::milliseconds first_pause{1'000};
  std::chrono::milliseconds longest_pause{300'000};
  // The longest pause of the whole sender; it also begins with `first_pause` and doubles.
  std::chrono::milliseconds longest_away{60'000};
  // Whether mails about orders go to confirmed addresses alone, and how many an address gets within 24 hours; 0 for
  // any number.
  bool confirmed_only = false;
  int a_day = 0;
};

class MailSender {
 public:
  // Starts its threads. `db`, `users` and `auth` (the channels to these services, with this service's
  // identity) must outlive the sender.
  MailSender(postgres::Pool& db, const rpc::Channel& users, const rpc::Channel& auth,
             const SmtpSettings& smtp, Mailbox from, const SenderOptions& options = {});
  // Cancels the attempts whose mail has not left yet, and releases their jobs.
  ~MailSender();

  // False while the whole sender pauses.
  bool healthy() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shop::notification
