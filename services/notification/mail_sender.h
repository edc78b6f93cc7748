// Sends the mails that wait in the database.
//
// Any number of senders may run, in any number of processes: each leases a few jobs at a time. What
// was not sent is tried again with growing pauses, for as long as it takes. A mail may arrive twice
// only where the outcome of an attempt was unknown: the server's answer got lost, or the sender
// died between sending and saying so. Those are counted.
//
// Metric: mail_attempts_total{outcome=sent|refused|unknown|failed}.
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
  // Attempts begin in its first quarter alone, so one may take three quarters of it.
  std::chrono::milliseconds lease{60'000};
  // The pause after a job's first failure; it doubles up to the longest.
  std::chrono::milliseconds first_pause{1'000};
  std::chrono::milliseconds longest_pause{300'000};
};

class MailSender {
 public:
  // Starts at once, in a thread of its own. `db` and `users` (the channel to the users service,
  // with this service's identity) must outlive the sender.
  MailSender(postgres::Pool& db, const rpc::Channel& users, const SmtpSettings& smtp, Mailbox from,
             const SenderOptions& options = {});
  // Gives up the attempt under way unless the mail has left already, and says so in the database.
  ~MailSender();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shop::notification
