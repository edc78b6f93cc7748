// The keys that sign access tokens, as all replicas of auth have them: in the database, sealed.
//
// One signs at a time. Its successor is made a month later, or by `make rotate-keys`, and is published ten
// minutes before it signs, so that by then everybody who checks tokens has it; the old one stays published
// until its last token has expired. docs/decisions/0035-signing-keys.md has the reasons.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "common/auth/access_token.h"
#include "common/postgres/pool.h"

namespace shop::auth {

struct SigningKeySettings {
  std::string encryption_key;  // KEY_ENCRYPTION_KEY(_FILE): what keys are sealed under
  // How old the newest key becomes.
  std::chrono::seconds rotation{30 * 86400};
};

// How long a key is published before it signs: twice as long as verifiers keep theirs (TokenVerifier).
inline constexpr std::chrono::minutes kPublishedBefore{10};

// Makes a key that will sign in ten minutes, unless there is one that waits to. Whether it has.
bool MakeNextKey(postgres::Pool& db, const SigningKeySettings& settings);

// Thread-safe.
class SigningKeys {
 public:
  // Reads the keys, makes the first where there is none, and looks for others every five seconds in a
  // thread of its own. While the database is away those at hand stay in use. Throws when the keys cannot
  // be read, such as when they were sealed under another key. `db` must outlive this.
  SigningKeys(postgres::Pool& db, SigningKeySettings settings);
  ~SigningKeys() = default;
  SigningKeys(const SigningKeys&) = delete;
  SigningKeys& operator=(const SigningKeys&) = delete;

  // As TokenSigner::Sign, with the key whose turn it is.
  std::string Sign(int64_t user_id, api::v1::Role role, std::chrono::seconds life,
                   std::string_view session) const;
  // With which access tokens are checked; the newest first.
  std::vector<PublicKey> published() const;

  // Looks now: makes the next key if it is time, deletes those that nobody needs any more.
  void Load();

 private:
  using Signer = std::shared_ptr<const TokenSigner>;

  void Run(const std::stop_token& stop);

  postgres::Pool& db_;
  const SigningKeySettings settings_;
  mutable std::mutex mutex_;  // of these two
  std::vector<Signer> signers_;
  Signer current_;
  std::condition_variable_any wake_;
  std::jthread thread_;  // the last: it uses the others
};

}  // namespace shop::auth
