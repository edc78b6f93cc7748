#include "notification/mail_command.h"

#include <charconv>
#include <optional>

#include "notification/mail_jobs.h"

namespace shop::notification {
namespace {

constexpr int kMostShown = 1000;

constexpr char kUsage[] =
    "usage: notification refused-mails            the mails that were refused, or not to be sent, "
    "the latest first\n"
    "       notification resend-mails ORDER|all   has those of an order, or all that were refused, "
    "sent again\n"
    "       notification migrate                  brings the database up to date\n";

std::optional<int64_t> OrderId(const std::string& word) {
  int64_t id = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
  if (error != std::errc() || end != word.data() + word.size() || id <= 0) return std::nullopt;
  return id;
}

}  // namespace

int RunMailCommand(postgres::Pool& db, const std::vector<std::string>& words, std::ostream& out) {
  if (words.size() == 1 && words[0] == "refused-mails") {
    const std::vector<RefusedMail> refused = Refused(db, kMostShown);
    for (const RefusedMail& mail : refused) {
      out << mail.since << "  " << mail.state << "  order " << mail.order_id << "  " << mail.kind
          << "  " << mail.why << "\n";
    }
    out << refused.size() << (refused.size() == kMostShown ? " and more" : "") << " refused\n";
    return 0;
  }
  if (words.size() == 2 && words[0] == "resend-mails") {
    const std::optional<int64_t> order = OrderId(words[1]);
    if (order || words[1] == "all") {
      out << ResendRefused(db, order) << " to be sent again\n";
      return 0;
    }
  }
  out << kUsage;
  return 2;
}

}  // namespace shop::notification
