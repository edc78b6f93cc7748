#include "auth/signing_keys.h"

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <utility>

#include "common/core/deadline.h"
#include "common/crypto/seal.h"
#include "common/telemetry/log.h"

namespace shop::auth {
namespace {

using postgres::Statement;
using postgres::Tx;
using std::chrono::seconds;

constexpr seconds kLookEvery{5};
// Longer than any token lives, as clocks differ.
constexpr seconds kPublishedAfter = kLongestTokenLife + std::chrono::minutes(10);

// Of several replicas one makes a key.
constexpr Statement kLock{"SELECT pg_advisory_xact_lock(hashtextextended('signing keys', 0))"};
constexpr Statement kList{R"sql(
    SELECT kid, sealed, signs_from <= now(), created_at <= now() - $1 * interval '1 second'
    FROM signing_keys ORDER BY signs_from DESC, kid)sql"};
constexpr Statement kWaiting{"SELECT FROM signing_keys WHERE signs_from > now()"};
constexpr Statement kInsert{R"sql(
    INSERT INTO signing_keys (kid, sealed, signs_from)
    VALUES ($1, $2, now() + $3 * interval '1 second'))sql"};
constexpr Statement kDeleteOld{R"sql(
    DELETE FROM signing_keys AS old
    WHERE EXISTS (SELECT FROM signing_keys AS next
                  WHERE next.signs_from > old.signs_from
                    AND next.signs_from <= now() - $1 * interval '1 second'))sql"};

pqxx::result ListKeys(Tx& tx, const SigningKeySettings& settings) {
  return tx.Exec(kList, int64_t{settings.rotation.count()});
}

// The private key of a row of ListKeys.
std::string Open(const pqxx::row& row, const SigningKeySettings& settings) {
  const std::string kid = row[0].as<std::string>();
  std::optional<std::string> pem = Unseal(settings.encryption_key, kid, row[1].as<std::string>());
  if (!pem) throw std::runtime_error("KEY_ENCRYPTION_KEY does not open signing key " + kid);
  return *std::move(pem);
}

// Not if those that there are cannot be opened: then nobody else could open this one.
void MakeKey(Tx& tx, const SigningKeySettings& settings, seconds from) {
  for (const pqxx::row& row : ListKeys(tx, settings)) Open(row, settings);
  const std::string pem = NewPrivateKey();
  const std::string kid = TokenSigner(pem).public_key().kid;
  tx.Exec(kInsert, kid, Seal(settings.encryption_key, kid, pem), int64_t{from.count()});
  log::Info("a signing key was made", {{"kid", kid}, {"signsInSeconds", int64_t{from.count()}}});
}

// Whether there is none, or the newest is as old as it becomes.
bool IsTimeForAnother(const pqxx::result& keys) {
  return keys.empty() || std::all_of(keys.begin(), keys.end(),
                                     [](const pqxx::row& key) { return key[3].as<bool>(); });
}

}  // namespace

bool MakeNextKey(postgres::Pool& db, const SigningKeySettings& settings) {
  return InTransaction(db, [&](Tx& tx) {
    tx.Exec(kLock);
    if (!tx.Exec(kWaiting).empty()) return false;
    MakeKey(tx, settings, kPublishedBefore);
    return true;
  });
}

SigningKeys::SigningKeys(postgres::Pool& db, SigningKeySettings settings)
    : db_(db), settings_(std::move(settings)) {
  Load();
  thread_ = std::jthread([this](const std::stop_token& stop) { Run(stop); });
}

std::string SigningKeys::Sign(int64_t user_id, api::v1::Role role, seconds life,
                              std::string_view session) const {
  Signer signer;
  {
    const std::lock_guard lock(mutex_);
    signer = current_;
  }
  return signer->Sign(user_id, role, life, session);
}

std::vector<PublicKey> SigningKeys::published() const {
  const std::lock_guard lock(mutex_);
  std::vector<PublicKey> keys;
  for (const Signer& signer : signers_) keys.push_back(signer->public_key());
  return keys;
}

void SigningKeys::Load() {
  pqxx::result rows = postgres::Read(db_, [&](Tx& tx) { return ListKeys(tx, settings_); });
  if (IsTimeForAnother(rows)) {
    rows = InTransaction(db_, [&](Tx& tx) {
      tx.Exec(kLock);
      const pqxx::result keys = ListKeys(tx, settings_);
      if (!IsTimeForAnother(keys)) return keys;
      MakeKey(tx, settings_, keys.empty() ? seconds(0) : kPublishedBefore);
      tx.Exec(kDeleteOld, int64_t{kPublishedAfter.count()});
      return ListKeys(tx, settings_);
    });
  } else if (rows.size() > 1) {
    InTransaction(db_, [](Tx& tx) { tx.Exec(kDeleteOld, int64_t{kPublishedAfter.count()}); });
  }

  std::vector<Signer> known;
  {
    const std::lock_guard lock(mutex_);
    known = signers_;
  }
  std::vector<Signer> signers;
  Signer current;
  for (const pqxx::row& row : rows) {
    const std::string kid = row[0].as<std::string>();
    const auto same = std::find_if(known.begin(), known.end(), [&](const Signer& signer) {
      return signer->public_key().kid == kid;
    });
    if (same != known.end()) {
      signers.push_back(*same);
    } else {
      signers.push_back(std::make_shared<const TokenSigner>(Open(row, settings_)));
    }
    if (current == nullptr && row[2].as<bool>()) current = signers.back();
  }
  if (current == nullptr) throw std::runtime_error("no signing key may sign yet");
  const std::lock_guard lock(mutex_);
  signers_ = std::move(signers);
  current_ = std::move(current);
}

void SigningKeys::Run(const std::stop_token& stop) {
  const DeadlineScope scope(DeadlineScope::TimePoint::max(), stop);
  while (!stop.stop_requested()) {
    {
      std::unique_lock lock(mutex_);
      wake_.wait_for(lock, stop, kLookEvery, [] { return false; });
    }
    if (stop.stop_requested()) return;
    try {
      Load();
    } catch (const std::exception& error) {
      if (stop.stop_requested()) return;
      log::Warning("signing keys cannot be read, those at hand stay in use",
                   {{"error", error.what()}});
    }
  }
}

}  // namespace shop::auth
