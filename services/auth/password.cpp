#include "auth/password.h"

#include <absl/strings/ascii.h>
#include <crypt.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <memory>
#include <stdexcept>

#include "auth/common_passwords.h"
#include "common/crypto/base64.h"
#include "common/crypto/random.h"

namespace shop::auth {
namespace {

constexpr size_t kShortest = 8;
constexpr size_t kLongest = 128;
constexpr size_t kLongEnoughForAnything = 15;

// No secret: it keeps these digests apart from every other SHA-384 of the same password.
constexpr char kDigestLabel[] = "shop-auth password v1";

// 64 characters without NUL, of which bcrypt uses all: it takes 72 bytes and stops at a NUL.
std::string Digest(std::string_view password) {
  std::array<unsigned char, 48> mac;
  unsigned length = 0;
  if (HMAC(EVP_sha384(), kDigestLabel, sizeof kDigestLabel - 1,
           reinterpret_cast<const unsigned char*>(password.data()), password.size(), mac.data(),
           &length) == nullptr) {
    throw std::runtime_error("OpenSSL: HMAC failed");
  }
  return EncodeBase64({reinterpret_cast<const char*>(mac.data()), length});
}

std::string Bcrypt(std::string_view password, const std::string& setting) {
  const auto data = std::make_unique<crypt_data>();
  const char* hash = crypt_r(Digest(password).c_str(), setting.c_str(), data.get());
  if (hash == nullptr || hash[0] == '*') throw std::runtime_error("bcrypt failed");
  return hash;
}

std::string NewSetting(int cost) {
  const auto salt = RandomBytes<16>();
  std::array<char, CRYPT_GENSALT_OUTPUT_SIZE> setting;
  if (crypt_gensalt_rn("$2b$", static_cast<unsigned long>(cost),
                       reinterpret_cast<const char*>(salt.data()), salt.size(), setting.data(),
                       setting.size()) == nullptr) {
    throw std::invalid_argument("no bcrypt cost: " + std::to_string(cost));
  }
  return setting.data();
}

std::optional<std::string> FormProblem(std::string_view password) {
  size_t length = 0;
  bool upper = false, lower = false, digit = false, symbol = false;
  for (const char c : password) {
    if ((c & 0xc0) == 0x80) continue;  // inside of a code point
    ++length;
    if (c >= 'A' && c <= 'Z') {
      upper = true;
    } else if (c >= 'a' && c <= 'z') {
      lower = true;
    } else if (c >= '0' && c <= '9') {
      digit = true;
    } else {
      symbol = true;
    }
  }
  if (length < kShortest) return "must be at least 8 characters";
  if (length > kLongest) return "must be at most 128 characters";
  if (length >= kLongEnoughForAnything || (upper && lower && digit && symbol)) return std::nullopt;
  return "must have an upper case letter, a lower case letter, a digit and a symbol, or be at "
         "least 15 characters";
}

// What people write in the place of a letter.
char Unmasked(char c) {
  switch (c) {
    case '@':
    case '4':
      return 'a';
    case '3':
      return 'e';
    case '1':
    case '!':
      return 'i';
    case '0':
      return 'o';
    case '$':
    case '5':
      return 's';
    case '7':
      return 't';
    default:
      return c;
  }
}

std::string Lower(std::string_view text) {
  std::string lower(text);
  absl::AsciiStrToLower(&lower);
  return lower;
}

bool IsCommon(std::string_view word) {
  return std::ranges::binary_search(kCommonPasswords, word);
}

}  // namespace

std::optional<std::string> PasswordProblem(std::string_view password, const PasswordOwner& owner) {
  if (std::optional<std::string> problem = FormProblem(password)) return problem;
  const std::string plain = Lower(password);
  const std::string email = Lower(owner.email);
  if (plain == Lower(owner.name) || plain == email || plain == email.substr(0, email.find('@'))) {
    return "must not be your name or e-mail address";
  }
  std::string unmasked = plain;
  std::ranges::transform(unmasked, unmasked.begin(), Unmasked);
  if (IsCommon(plain) || IsCommon(unmasked)) return "must not be a common password";
  return std::nullopt;
}

// A caller's slot for hashing, released at the end.
class PasswordHasher::Turn {
 public:
  explicit Turn(PasswordHasher& hasher) : hasher_(hasher) {}
  ~Turn() { hasher_.Leave(); }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  PasswordHasher& hasher_;
};

PasswordHasher::PasswordHasher(int cost, int at_once, int waiting)
    : cost_(cost),
      at_once_(std::max(at_once, 1)),
      waiting_limit_(waiting),
      nobodys_hash_(Bcrypt("", NewSetting(cost))) {}

Result<void> PasswordHasher::Enter(Deadline deadline) {
  std::unique_lock lock(mutex_);
  if (running_ >= at_once_) {
    if (waiting_ >= waiting_limit_) {
      return Refusal{Code::kResourceExhausted, "too many people sign in at once, try again"};
    }
    ++waiting_;
    const bool free = freed_.wait_until(lock, deadline, [&] { return running_ < at_once_; });
    --waiting_;
    if (!free) throw Unavailable("no turn at hashing a password before the deadline");
  }
  ++running_;
  return kDone;
}

void PasswordHasher::Leave() {
  {
    const std::lock_guard lock(mutex_);
    --running_;
  }
  freed_.notify_one();
}

Result<std::string> PasswordHasher::Hash(std::string_view password, Deadline deadline) {
  if (Result<void> entered = Enter(deadline); !entered) return entered.refusal();
  const Turn turn(*this);
  return Bcrypt(password, NewSetting(cost_));
}

Result<bool> PasswordHasher::Matches(std::string_view password,
                                     const std::optional<std::string>& hash, Deadline deadline) {
  if (Result<void> entered = Enter(deadline); !entered) return entered.refusal();
  const Turn turn(*this);
  const std::string& expected = hash ? *hash : nobodys_hash_;
  const std::string actual = Bcrypt(password, expected);
  return actual.size() == expected.size() &&
         CRYPTO_memcmp(actual.data(), expected.data(), actual.size()) == 0 && hash.has_value();
}

bool PasswordHasher::IsTooCheap(std::string_view hash) const {
  // $2b$12$…
  int cost = 0;
  if (hash.size() < 7) return false;
  std::from_chars(hash.data() + 4, hash.data() + 6, cost);
  return cost < cost_;
}

}  // namespace shop::auth
