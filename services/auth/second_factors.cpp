#include "auth/second_factors.h"

#include <absl/strings/ascii.h>

#include <stdexcept>

#include "auth/totp.h"
#include "common/crypto/random.h"
#include "common/crypto/seal.h"
#include "common/crypto/sha256.h"

namespace shop::auth {
namespace {

using postgres::Statement;
using postgres::Tx;

constexpr int kRecoveryCodes = 10;

constexpr Statement kHas{
    "SELECT FROM second_factors WHERE account_id = $1 AND confirmed_at IS NOT NULL"};
constexpr Statement kAwaits{
    "SELECT FROM second_factors WHERE account_id = $1 AND confirmed_at IS NULL"};
constexpr Statement kBegin{R"sql(
    INSERT INTO second_factors (account_id, sealed) VALUES ($1, $2)
    ON CONFLICT (account_id) DO UPDATE SET sealed = EXCLUDED.sealed, last_step = 0
    WHERE second_factors.confirmed_at IS NULL)sql"};
constexpr Statement kLock{R"sql(
    SELECT sealed, last_step, floor(extract(epoch FROM clock_timestamp()))::bigint FROM second_factors
    WHERE account_id = $1 AND (confirmed_at IS NOT NULL) = $2 FOR UPDATE)sql"};
constexpr Statement kTake{"UPDATE second_factors SET last_step = $2 WHERE account_id = $1"};
constexpr Statement kConfirm{
    "UPDATE second_factors SET confirmed_at = now() WHERE account_id = $1"};
constexpr Statement kAddRecoveryCode{
    "INSERT INTO recovery_codes (account_id, hash) VALUES ($1, $2)"};
constexpr Statement kUseRecoveryCode{
    "DELETE FROM recovery_codes WHERE account_id = $1 AND hash = $2"};
constexpr Statement kRemove{"DELETE FROM second_factors WHERE account_id = $1"};

std::string About(int64_t account) {
  return "second factor of " + std::to_string(account);
}

template <size_t kSize>
std::string Random() {
  const auto bytes = RandomBytes<kSize>();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Takes a code of the secret, confirmed or not.
bool TakeCode(Tx& tx, int64_t account, std::string_view code, bool confirmed,
              const std::string& encryption_key) {
  const pqxx::result found = tx.Exec(kLock, account, confirmed);
  if (found.empty()) return false;
  const std::optional<std::string> secret =
      Unseal(encryption_key, About(account), found[0][0].as<std::string>());
  if (!secret) throw std::runtime_error("KEY_ENCRYPTION_KEY does not open a second factor");
  const std::optional<int64_t> step =
      TotpStep(*secret, code, found[0][2].as<int64_t>(), found[0][1].as<int64_t>());
  if (!step) return false;
  tx.Exec(kTake, account, *step);
  return true;
}

// ABCD-EFGH-IJKL-MNOP
std::string RecoveryCode() {
  std::string code = EncodeBase32(Random<10>());
  for (const size_t at : {12, 8, 4}) code.insert(at, "-");
  return code;
}

// The same however it was typed.
std::string HashOf(std::string_view recovery_code) {
  std::string bare;
  for (const char c : recovery_code) {
    if (c != '-' && c != ' ') bare += absl::ascii_toupper(static_cast<unsigned char>(c));
  }
  return Sha256Hex(bare);
}

}  // namespace

bool HasSecondFactor(Tx& tx, int64_t account) {
  return !tx.Exec(kHas, account).empty();
}

bool AwaitsSecondFactor(Tx& tx, int64_t account) {
  return !tx.Exec(kAwaits, account).empty();
}

std::optional<std::string> BeginSecondFactor(Tx& tx, int64_t account,
                                             const std::string& encryption_key) {
  std::string secret = Random<20>();
  const std::string sealed = Seal(encryption_key, About(account), secret);
  if (tx.Exec(kBegin, account, sealed).affected_rows() == 0) return std::nullopt;
  return secret;
}

std::optional<std::vector<std::string>> ConfirmSecondFactor(Tx& tx, int64_t account,
                                                            std::string_view code,
                                                            const std::string& encryption_key) {
  if (!TakeCode(tx, account, code, false, encryption_key)) return std::nullopt;
  tx.Exec(kConfirm, account);
  std::vector<std::string> codes;
  for (int i = 0; i < kRecoveryCodes; ++i) {
    codes.push_back(RecoveryCode());
    tx.Exec(kAddRecoveryCode, account, HashOf(codes.back()));
  }
  return codes;
}

bool UseCode(Tx& tx, int64_t account, std::string_view code, const std::string& encryption_key) {
  if (TakeCode(tx, account, code, true, encryption_key)) return true;
  return tx.Exec(kUseRecoveryCode, account, HashOf(code)).affected_rows() == 1;
}

void RemoveSecondFactor(Tx& tx, int64_t account) {
  tx.Exec(kRemove, account);
}

}  // namespace shop::auth
