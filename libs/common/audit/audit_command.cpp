// Verifies the audit log of one service, and says what its last entry is:
//
//   audit                     exit 0 when every entry follows from the one before
//   audit SEQUENCE:HASH       and when that entry, of which somebody has kept a note, is there as it was
//
// Which service, SHOP_PROCESS says; its database is reached with the service's own settings (POSTGRES_HOST, …).
// `make audit` runs it for every service that has such a log.
#include <charconv>
#include <iostream>

#include "common/audit/audit.h"
#include "common/core/env.h"

namespace {

// Nothing where it is none.
std::optional<shop::audit::Known> ReadKnown(std::string_view word) {
  const size_t colon = word.find(':');
  if (colon == std::string_view::npos) return {};
  shop::audit::Known known{0, std::string(word.substr(colon + 1))};
  const auto [end, error] = std::from_chars(word.data(), word.data() + colon, known.sequence);
  if (error != std::errc() || end != word.data() + colon || known.sequence < 1) return {};
  return known;
}

}  // namespace

int main(int count, char** words) {
  shop::Env env;
  const std::string service = env.Required("SHOP_PROCESS");
  const auto settings = shop::postgres::Settings::Read(env, service);
  for (const std::string& problem : env.problems()) std::cerr << problem << "\n";
  const std::optional<shop::audit::Known> known = count == 2 ? ReadKnown(words[1]) : std::nullopt;
  const bool understood = count == 1 || known;
  if (!understood) std::cerr << "usage: audit [SEQUENCE:HASH]\n";
  if (!understood || !env.problems().empty()) return 2;
  try {
    shop::postgres::Pool db(settings);
    const shop::audit::Verdict verdict = shop::postgres::Read(
        db, [&](shop::postgres::Tx& tx) { return shop::audit::Verify(tx, known); });
    std::cout << service << ": " << verdict.entries << " entries";
    if (verdict.entries > 0)
      std::cout << ", the last is " << verdict.last.sequence << ":" << verdict.last.hash;
    std::cout << "\n";
    for (const int64_t entry : verdict.broken) {
      std::cout << service << ": entry " << entry << " does not follow from the one before\n";
    }
    if (!verdict.known_is_there) {
      std::cout << service << ": entry " << known->sequence << " is not there as it was\n";
    }
    return verdict.broken.empty() && verdict.known_is_there ? 0 : 1;
  } catch (const std::exception& error) {
    std::cerr << service << ": " << error.what() << "\n";
    return 1;
  }
}
