// JOSE on OpenSSL itself: the packaged libjwt 1.10 writes and accepts no `typ` but JWT, and the
// type is what keeps an access token and a service token apart (RFC 8725, 3.11).
#include "common/auth/access_token.h"

#include <fmt/format.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rand.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <condition_variable>
#include <map>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <unordered_map>
#include <utility>

namespace shop::auth {
namespace {

using google::protobuf::Struct;
using google::protobuf::Value;
using std::chrono::seconds;
using TimePoint = std::chrono::system_clock::time_point;

constexpr size_t kLongestToken = 4096;
constexpr size_t kCoordinateBytes = 32;
constexpr seconds kIssuedAtLeeway{60};
constexpr seconds kFirstFetchPause{1};
constexpr seconds kUnknownKeyPause{5};
constexpr seconds kRefreshAfter{300};
constexpr seconds kPatience{1};  // of a Verify that waits for a fetch

constexpr char kAccessTokenType[] = "at+jwt";
constexpr char kServiceTokenType[] = "svc+jwt";
constexpr char kServiceIssuer[] = "shop-services";
constexpr char kServiceAudience[] = "shop-internal";
constexpr seconds kServiceTokenLife{600};
constexpr seconds kServiceTokenRenewal{300};

template <auto Free>
struct Freed {
  template <typename T>
  void operator()(T* pointer) const {
    Free(pointer);
  }
};
using Key = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;
using KeyContext = std::unique_ptr<EVP_PKEY_CTX, Freed<EVP_PKEY_CTX_free>>;
using DigestContext = std::unique_ptr<EVP_MD_CTX, Freed<EVP_MD_CTX_free>>;
using BigNumber = std::unique_ptr<BIGNUM, Freed<BN_free>>;
using Signature = std::unique_ptr<ECDSA_SIG, Freed<ECDSA_SIG_free>>;
using Params = std::unique_ptr<OSSL_PARAM, Freed<OSSL_PARAM_free>>;
using ParamBuilder = std::unique_ptr<OSSL_PARAM_BLD, Freed<OSSL_PARAM_BLD_free>>;
using Bio = std::unique_ptr<BIO, Freed<BIO_free_all>>;

// What OpenSSL notes about a failure must not be found later by gRPC's TLS on the same thread.
struct ErrorsCleared {
  ~ErrorsCleared() { ERR_clear_error(); }
};

[[noreturn]] void OpenSslFailed(const char* what) {
  throw std::runtime_error(std::string("OpenSSL: ") + what + " failed");
}

const unsigned char* Bytes(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

constexpr char kBase64Url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

std::string EncodeBase64Url(std::string_view bytes) {
  std::string text;
  text.reserve((bytes.size() * 4 + 2) / 3);
  uint32_t buffer = 0;
  int bits = 0;
  for (const char byte : bytes) {
    buffer = (buffer << 8) | static_cast<unsigned char>(byte);
    bits += 8;
    while (bits >= 6) {
      bits -= 6;
      text.push_back(kBase64Url[(buffer >> bits) & 63]);
    }
  }
  if (bits > 0) text.push_back(kBase64Url[(buffer << (6 - bits)) & 63]);
  return text;
}

// Strict: no padding, no other alphabet, no bits left over.
std::optional<std::string> DecodeBase64Url(std::string_view text) {
  static const auto kValues = [] {
    std::array<int8_t, 256> values;
    values.fill(-1);
    for (int i = 0; i < 64; ++i) values[static_cast<unsigned char>(kBase64Url[i])] = i;
    return values;
  }();
  if (text.size() % 4 == 1) return std::nullopt;
  std::string bytes;
  bytes.reserve(text.size() * 3 / 4);
  uint32_t buffer = 0;
  int bits = 0;
  for (const char character : text) {
    const int8_t value = kValues[static_cast<unsigned char>(character)];
    if (value < 0) return std::nullopt;
    buffer = (buffer << 6) | static_cast<uint32_t>(value);
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      bytes.push_back(static_cast<char>((buffer >> bits) & 0xff));
    }
  }
  if ((buffer & ((1u << bits) - 1)) != 0) return std::nullopt;
  return bytes;
}

int64_t ToUnix(TimePoint time) {
  return std::chrono::duration_cast<seconds>(time.time_since_epoch()).count();
}

Refusal Unauthenticated(std::string message) {
  return Refusal{Code::kUnauthenticated, std::move(message)};
}

// A token taken apart, nothing of it checked yet.
struct Parts {
  std::string_view signed_text;  // header.payload
  Struct header;
  std::string payload;
  std::string signature;
};

std::optional<Struct> ParseObject(const std::string& json) {
  Struct object;
  if (!google::protobuf::util::JsonStringToMessage(json, &object).ok()) return std::nullopt;
  return object;
}

Result<Parts> Split(std::string_view token) {
  if (token.size() > kLongestToken) return Unauthenticated("the token is too long");
  const Refusal malformed = Unauthenticated("the token is malformed");
  const size_t first = token.find('.');
  const size_t second = first == token.npos ? token.npos : token.find('.', first + 1);
  if (second == token.npos) return malformed;
  const std::optional<std::string> header = DecodeBase64Url(token.substr(0, first));
  std::optional<std::string> payload = DecodeBase64Url(token.substr(first + 1, second - first - 1));
  std::optional<std::string> signature = DecodeBase64Url(token.substr(second + 1));
  if (!header || !payload || !signature) return malformed;
  std::optional<Struct> header_object = ParseObject(*header);
  if (!header_object) return malformed;
  return Parts{token.substr(0, second), std::move(*header_object), std::move(*payload),
               std::move(*signature)};
}

const Value* Find(const Struct& object, const char* name, Value::KindCase kind) {
  const auto found = object.fields().find(name);
  if (found == object.fields().end() || found->second.kind_case() != kind) return nullptr;
  return &found->second;
}

bool TextIs(const Struct& object, const char* name, std::string_view expected) {
  const Value* value = Find(object, name, Value::kStringValue);
  return value != nullptr && value->string_value() == expected;
}

// Refuses every header but the one that this kind of token is made with.
Result<void> CheckHeader(const Struct& header, const char* algorithm, const char* type) {
  if (!TextIs(header, "alg", algorithm)) return Unauthenticated("the token's algorithm is wrong");
  if (!TextIs(header, "typ", type)) return Unauthenticated("the token is of another type");
  if (header.fields().contains("crit")) return Unauthenticated("the token is malformed");
  return kDone;
}

// Seconds since 1970, or nothing where the claim is absent or no sane number.
std::optional<int64_t> TimeClaim(const Struct& claims, const char* name) {
  const Value* value = Find(claims, name, Value::kNumberValue);
  if (value == nullptr || !(value->number_value() >= 0 && value->number_value() < 1e12)) {
    return std::nullopt;
  }
  return static_cast<int64_t>(value->number_value());
}

struct Subject {
  std::string sub;
  int64_t expires;
  Struct claims;
};

Result<Subject> CheckClaims(const std::string& payload, const char* issuer, const char* audience,
                            int64_t now) {
  std::optional<Struct> claims = ParseObject(payload);
  if (!claims) return Unauthenticated("the token is malformed");
  if (!TextIs(*claims, "iss", issuer)) return Unauthenticated("the token's issuer is wrong");
  if (!TextIs(*claims, "aud", audience)) return Unauthenticated("the token's audience is wrong");
  const std::optional<int64_t> expires = TimeClaim(*claims, "exp");
  const std::optional<int64_t> issued = TimeClaim(*claims, "iat");
  if (!expires || !issued) return Unauthenticated("the token is malformed");
  if (*expires <= now) return Unauthenticated("the token has expired");
  if (*issued > now + kIssuedAtLeeway.count()) {
    return Unauthenticated("the token is from the future");
  }
  const Value* sub = Find(*claims, "sub", Value::kStringValue);
  if (sub == nullptr) return Unauthenticated("the token is malformed");
  std::string name = sub->string_value();
  return Subject{std::move(name), *expires, std::move(*claims)};
}

std::optional<int64_t> ParseUserId(const std::string& text) {
  int64_t id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size() || id <= 0 || text[0] == '0') {
    return std::nullopt;
  }
  return id;
}

std::string RoleName(api::v1::Role role) {
  return api::v1::Role_Name(role).substr(std::string_view("ROLE_").size());
}

// The highest role in `roles` that is known here; a newer issuer may name more.
std::optional<api::v1::Role> HighestRole(const Struct& claims) {
  const Value* roles = Find(claims, "roles", Value::kListValue);
  if (roles == nullptr) return std::nullopt;
  std::optional<api::v1::Role> highest;
  for (const Value& value : roles->list_value().values()) {
    api::v1::Role role = api::v1::ROLE_UNSPECIFIED;
    if (value.kind_case() != Value::kStringValue ||
        !api::v1::Role_Parse("ROLE_" + value.string_value(), &role) || role < api::v1::ROLE_USER) {
      continue;
    }
    highest = std::max(highest.value_or(role), role);
  }
  return highest;
}

// Tokens found good, and what they stand for. Holds between half of and its whole capacity of those
// used last: when the young half is full it becomes the old one, and the old one goes.
template <typename T>
class Memory {
 public:
  struct Entry {
    T value;
    int64_t expires;
    uint64_t generation;
  };

  explicit Memory(size_t capacity) : half_of_shard_(capacity / kShards / 2) {}

  std::optional<T> Find(std::string_view token, int64_t now, uint64_t generation) {
    Shard& shard = Of(token);
    const std::lock_guard lock(shard.mutex);
    auto found = shard.young.find(token);
    if (found == shard.young.end()) {
      const auto old = shard.old.find(token);
      if (old == shard.old.end()) return std::nullopt;
      Entry entry = std::move(old->second);
      shard.old.erase(old);
      found = Insert(shard, token, std::move(entry));
    }
    if (found->second.expires <= now || found->second.generation != generation) {
      shard.young.erase(found);
      return std::nullopt;
    }
    return found->second.value;
  }

  void Add(std::string_view token, Entry entry) {
    Shard& shard = Of(token);
    const std::lock_guard lock(shard.mutex);
    Insert(shard, token, std::move(entry));
  }

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  using Map = std::unordered_map<std::string, Entry, Hash, std::equal_to<>>;
  struct Shard {
    std::mutex mutex;
    Map young;
    Map old;
  };

  typename Map::iterator Insert(Shard& shard, std::string_view token, Entry entry) {
    if (shard.young.size() >= half_of_shard_) {
      shard.old = std::move(shard.young);
      shard.young = Map();
    }
    return shard.young.insert_or_assign(std::string(token), std::move(entry)).first;
  }

  Shard& Of(std::string_view token) { return shards_[Hash()(token) % kShards]; }

  static constexpr size_t kShards = 16;
  const size_t half_of_shard_;
  std::array<Shard, kShards> shards_;
};

Key KeyFromCoordinates(const PublicKey& key) {
  const ErrorsCleared cleared;
  const std::optional<std::string> x = DecodeBase64Url(key.x);
  const std::optional<std::string> y = DecodeBase64Url(key.y);
  if (!x || !y || x->size() != kCoordinateBytes || y->size() != kCoordinateBytes) {
    throw std::invalid_argument("key " + key.kid + " has malformed coordinates");
  }
  const std::string point = "\x04" + *x + *y;
  const ParamBuilder builder(OSSL_PARAM_BLD_new());
  if (builder == nullptr ||
      OSSL_PARAM_BLD_push_utf8_string(builder.get(), OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0) !=
          1 ||
      OSSL_PARAM_BLD_push_octet_string(builder.get(), OSSL_PKEY_PARAM_PUB_KEY, point.data(),
                                       point.size()) != 1) {
    OpenSslFailed("OSSL_PARAM_BLD");
  }
  const Params params(OSSL_PARAM_BLD_to_param(builder.get()));
  const KeyContext context(EVP_PKEY_CTX_new_from_name(nullptr, "EC", nullptr));
  EVP_PKEY* made = nullptr;
  if (params == nullptr || context == nullptr || EVP_PKEY_fromdata_init(context.get()) != 1 ||
      EVP_PKEY_fromdata(context.get(), &made, EVP_PKEY_PUBLIC_KEY, params.get()) != 1) {
    throw std::invalid_argument("key " + key.kid + " is not a point of P-256");
  }
  return Key(made);
}

// JWS carries r and s side by side (RFC 7518, 3.4); OpenSSL wants them in DER.
bool VerifyEs256(EVP_PKEY* key, std::string_view text, const std::string& signature) {
  const ErrorsCleared cleared;
  if (signature.size() != 2 * kCoordinateBytes) return false;
  const Signature pair(ECDSA_SIG_new());
  BigNumber r(BN_bin2bn(Bytes(signature), kCoordinateBytes, nullptr));
  BigNumber s(BN_bin2bn(Bytes(signature) + kCoordinateBytes, kCoordinateBytes, nullptr));
  if (pair == nullptr || r == nullptr || s == nullptr) OpenSslFailed("BN_bin2bn");
  ECDSA_SIG_set0(pair.get(), r.release(), s.release());
  unsigned char* der = nullptr;
  const int length = i2d_ECDSA_SIG(pair.get(), &der);
  if (length <= 0) OpenSslFailed("i2d_ECDSA_SIG");
  const std::unique_ptr<unsigned char, Freed<[](unsigned char* p) { OPENSSL_free(p); }>> der_freed(
      der);
  const DigestContext context(EVP_MD_CTX_new());
  return context != nullptr &&
         EVP_DigestVerifyInit(context.get(), nullptr, EVP_sha256(), nullptr, key) == 1 &&
         EVP_DigestVerify(context.get(), der, static_cast<size_t>(length), Bytes(text),
                          text.size()) == 1;
}

std::string SignEs256(EVP_PKEY* key, std::string_view text) {
  const ErrorsCleared cleared;
  const DigestContext context(EVP_MD_CTX_new());
  std::array<unsigned char, 128> der;
  size_t length = der.size();
  if (context == nullptr ||
      EVP_DigestSignInit(context.get(), nullptr, EVP_sha256(), nullptr, key) != 1 ||
      EVP_DigestSign(context.get(), der.data(), &length, Bytes(text), text.size()) != 1) {
    OpenSslFailed("EVP_DigestSign");
  }
  const unsigned char* read = der.data();
  const Signature pair(d2i_ECDSA_SIG(nullptr, &read, static_cast<long>(length)));
  if (pair == nullptr) OpenSslFailed("d2i_ECDSA_SIG");
  std::array<unsigned char, 2 * kCoordinateBytes> raw;
  BN_bn2binpad(ECDSA_SIG_get0_r(pair.get()), raw.data(), kCoordinateBytes);
  BN_bn2binpad(ECDSA_SIG_get0_s(pair.get()), raw.data() + kCoordinateBytes, kCoordinateBytes);
  return std::string(reinterpret_cast<const char*>(raw.data()), raw.size());
}

std::string Coordinate(EVP_PKEY* key, const char* name) {
  BIGNUM* number = nullptr;
  if (EVP_PKEY_get_bn_param(key, name, &number) != 1) OpenSslFailed("EVP_PKEY_get_bn_param");
  const BigNumber freed(number);
  std::array<unsigned char, kCoordinateBytes> bytes;
  BN_bn2binpad(number, bytes.data(), bytes.size());
  return EncodeBase64Url({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

std::string Sha256(std::string_view text) {
  std::array<unsigned char, 32> digest;
  if (EVP_Digest(text.data(), text.size(), digest.data(), nullptr, EVP_sha256(), nullptr) != 1) {
    OpenSslFailed("EVP_Digest");
  }
  return std::string(reinterpret_cast<const char*>(digest.data()), digest.size());
}

std::string HmacSha256(const std::string& key, std::string_view text) {
  std::array<unsigned char, 32> mac;
  unsigned length = 0;
  if (HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), Bytes(text), text.size(),
           mac.data(), &length) == nullptr) {
    OpenSslFailed("HMAC");
  }
  return std::string(reinterpret_cast<const char*>(mac.data()), length);
}

std::string RandomId() {
  std::array<unsigned char, 16> bytes;
  if (RAND_bytes(bytes.data(), bytes.size()) != 1) OpenSslFailed("RAND_bytes");
  return EncodeBase64Url({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

}  // namespace

struct TokenSigner::State {
  Key key;
  Clock clock;
  PublicKey public_key;
  std::string header;  // encoded
};

TokenSigner::TokenSigner(const std::string& private_key_pem, Clock clock)
    : state_(std::make_unique<State>()) {
  const ErrorsCleared cleared;
  const Bio bio(BIO_new_mem_buf(private_key_pem.data(), static_cast<int>(private_key_pem.size())));
  // An empty pass phrase, so that an encrypted key is refused and nobody is asked on the terminal.
  char no_pass_phrase[] = "";
  state_->key.reset(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, no_pass_phrase));
  std::array<char, 64> group{};
  if (state_->key == nullptr || EVP_PKEY_is_a(state_->key.get(), "EC") != 1 ||
      EVP_PKEY_get_group_name(state_->key.get(), group.data(), group.size(), nullptr) != 1 ||
      std::string_view(group.data()) != "prime256v1") {
    throw std::invalid_argument("is not the PEM of a P-256 private key");
  }
  state_->clock = std::move(clock);
  PublicKey& key = state_->public_key;
  key.x = Coordinate(state_->key.get(), OSSL_PKEY_PARAM_EC_PUB_X);
  key.y = Coordinate(state_->key.get(), OSSL_PKEY_PARAM_EC_PUB_Y);
  key.kid = EncodeBase64Url(
      Sha256(fmt::format(R"({{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}})", key.x, key.y)));
  state_->header = EncodeBase64Url(
      fmt::format(R"({{"alg":"ES256","kid":"{}","typ":"{}"}})", key.kid, kAccessTokenType));
}

TokenSigner::~TokenSigner() = default;

const PublicKey& TokenSigner::public_key() const {
  return state_->public_key;
}

std::string TokenSigner::Sign(int64_t user_id, api::v1::Role role, seconds life) const {
  const int64_t now = ToUnix(state_->clock());
  const std::string text =
      state_->header + "." +
      EncodeBase64Url(fmt::format(
          R"({{"iss":"{}","aud":"{}","sub":"{}","roles":["{}"],"iat":{},"exp":{},"jti":"{}"}})",
          kIssuer, kAudience, user_id, RoleName(role), now, now + life.count(), RandomId()));
  return text + "." + EncodeBase64Url(SignEs256(state_->key.get(), text));
}

struct TokenVerifier::State {
  State(FetchKeys fetch_keys, Clock own_clock, size_t remembered)
      : fetch(std::move(fetch_keys)), clock(std::move(own_clock)), memory(remembered) {}

  ~State() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
    }
    changed.notify_all();
    if (thread.joinable()) thread.join();
  }

  using Keys = std::map<std::string, Key, std::less<>>;

  struct Snapshot {
    std::shared_ptr<const Keys> keys;
    uint64_t generation = 0;
  };

  // Nothing while `kid` is unknown and being fetched.
  std::optional<Result<Snapshot>> KeysWith(const std::string& kid) {
    const std::lock_guard lock(mutex);
    if (keys != nullptr && keys->contains(kid)) return Snapshot{keys, generation};
    if (Want()) return std::nullopt;
    if (!worked) return Refusal{Code::kUnavailable, "tokens cannot be checked at the moment"};
    return Unauthenticated("the token's key is unknown");
  }

  // Asks for a fetch unless the last one ended too short a time ago. Says whether one is to come or
  // under way. The caller has the lock.
  bool Want() {
    if (wanted || fetching) return true;
    if (last_attempt + (keys == nullptr ? kFirstFetchPause : kUnknownKeyPause) > clock()) {
      return false;
    }
    wanted = true;
    if (!thread.joinable()) thread = std::thread([this] { Run(); });
    changed.notify_all();
    return true;
  }

  void Run() {
    std::unique_lock lock(mutex);
    while (!stopping) {
      const auto due = [this] { return wanted || stopping; };
      if (prepared && keys == nullptr) {
        if (!changed.wait_for(lock, kFirstFetchPause, due)) wanted = true;
      } else {
        changed.wait(lock, due);
      }
      if (stopping) return;
      wanted = false;
      fetching = true;
      lock.unlock();
      std::shared_ptr<const Keys> fetched = Fetch();
      lock.lock();
      fetching = false;
      Take(std::move(fetched));
      changed.notify_all();
    }
  }

  // Null where there are none.
  std::shared_ptr<const Keys> Fetch() const {
    try {
      auto fetched = std::make_shared<Keys>();
      for (const PublicKey& key : fetch()) fetched->emplace(key.kid, KeyFromCoordinates(key));
      return fetched->empty() ? nullptr : fetched;
    } catch (const std::exception&) {
      return nullptr;  // the keys at hand stay in use; without any, Verify says that it cannot tell
    }
  }

  // The caller has the lock.
  void Take(std::shared_ptr<const Keys> fetched) {
    // After the fetch, so that those who waited for it do not ask for the next one at once.
    last_attempt = clock();
    worked = fetched != nullptr;
    if (!worked) return;
    if (keys != nullptr && std::any_of(keys->begin(), keys->end(), [&](const auto& key) {
          return !fetched->contains(key.first);
        })) {
      ++generation;
    }
    keys = std::move(fetched);
    fresh_until = last_attempt + kRefreshAfter;
  }

  // Until no fetch is to come or under way, or it has taken too long. False at once where too many
  // wait already.
  bool Wait() {
    std::unique_lock lock(mutex);
    if (waiting >= most_waiting) return false;
    ++waiting;
    changed.wait_for(lock, kPatience, [this] { return !wanted && !fetching; });
    --waiting;
    return true;
  }

  const FetchKeys fetch;
  const Clock clock;

  mutable std::mutex mutex;  // all of these
  std::condition_variable changed;
  std::shared_ptr<const Keys> keys;  // null until the first fetch has worked
  TimePoint last_attempt = TimePoint::min() + kRefreshAfter;
  bool worked = false;  // the last attempt
  bool wanted = false;
  bool fetching = false;
  bool prepared = false;
  bool stopping = false;
  int waiting = 0;
  int most_waiting = 2;

  std::atomic<uint64_t> generation{0};
  std::atomic<TimePoint> fresh_until{TimePoint::max()};  // until the first fetch

  Memory<Caller> memory;
  std::thread thread;  // started with the first fetch
};

TokenVerifier::TokenVerifier(FetchKeys fetch, Clock clock, size_t remembered)
    : state_(std::make_unique<State>(std::move(fetch), std::move(clock), remembered)) {}

TokenVerifier::~TokenVerifier() = default;

void TokenVerifier::Prepare() {
  const std::lock_guard lock(state_->mutex);
  state_->prepared = true;
  if (state_->keys == nullptr) state_->Want();
}

bool TokenVerifier::HasKeys() const {
  const std::lock_guard lock(state_->mutex);
  return state_->keys != nullptr;
}

void TokenVerifier::LetWait(int most) {
  const std::lock_guard lock(state_->mutex);
  state_->most_waiting = most;
}

std::optional<Caller> TokenVerifier::FindCached(std::string_view token) {
  return state_->memory.Find(token, ToUnix(state_->clock()), state_->generation);
}

Result<Caller> TokenVerifier::Verify(std::string_view token) {
  std::optional<Result<Caller>> caller = Check(token);
  if (!caller && state_->Wait()) caller = Check(token);
  if (caller) return *std::move(caller);
  return Refusal{Code::kUnavailable, "the token's key could not be fetched"};
}

std::optional<Result<Caller>> TokenVerifier::Check(std::string_view token) {
  if (state_->fresh_until.load() <= state_->clock()) {
    const std::lock_guard lock(state_->mutex);
    state_->Want();
  }
  if (std::optional<Caller> known = FindCached(token)) return Result<Caller>(std::move(*known));

  Result<Parts> parts = Split(token);
  if (!parts) return parts.refusal();
  if (Result<void> good = CheckHeader(parts->header, "ES256", kAccessTokenType); !good) {
    return good.refusal();
  }
  const Value* kid = Find(parts->header, "kid", Value::kStringValue);
  if (kid == nullptr) return Unauthenticated("the token names no key");

  const std::optional<Result<State::Snapshot>> current = state_->KeysWith(kid->string_value());
  if (!current) return std::nullopt;
  if (!*current) return current->refusal();
  const State::Snapshot& snapshot = **current;
  const auto key = snapshot.keys->find(kid->string_value());
  if (!VerifyEs256(key->second.get(), parts->signed_text, parts->signature)) {
    return Unauthenticated("the token's signature is wrong");
  }

  Result<Subject> subject =
      CheckClaims(parts->payload, kIssuer, kAudience, ToUnix(state_->clock()));
  if (!subject) return subject.refusal();
  const std::optional<int64_t> user_id = ParseUserId(subject->sub);
  const std::optional<api::v1::Role> role = HighestRole(subject->claims);
  if (!user_id || !role) return Unauthenticated("the token is malformed");

  Caller caller;
  caller.user_id = *user_id;
  caller.role = *role;
  state_->memory.Add(token, {caller, subject->expires, snapshot.generation});
  return Result<Caller>(caller);
}

struct ServiceTokens::State {
  std::string name;
  std::string key;
  Clock clock;

  std::mutex mutex;
  std::string mine;
  int64_t renew_at = 0;

  Memory<std::string> memory{1024};
};

ServiceTokens::ServiceTokens(std::string name, std::string key, Clock clock)
    : state_(std::make_unique<State>()) {
  if (key.size() < 32) throw std::invalid_argument("is shorter than 32 bytes");
  if (name.empty() ||
      name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") != name.npos) {
    throw std::invalid_argument("the service's name is not of a-z, 0-9 and -");
  }
  state_->name = std::move(name);
  state_->key = std::move(key);
  state_->clock = std::move(clock);
}

ServiceTokens::~ServiceTokens() = default;

std::string ServiceTokens::OwnToken() {
  const int64_t now = ToUnix(state_->clock());
  const std::lock_guard lock(state_->mutex);
  if (now >= state_->renew_at) {
    const std::string text =
        EncodeBase64Url(fmt::format(R"({{"alg":"HS256","typ":"{}"}})", kServiceTokenType)) + "." +
        EncodeBase64Url(fmt::format(
            R"({{"iss":"{}","aud":"{}","sub":"{}","iat":{},"exp":{},"jti":"{}"}})", kServiceIssuer,
            kServiceAudience, state_->name, now, now + kServiceTokenLife.count(), RandomId()));
    state_->mine = text + "." + EncodeBase64Url(HmacSha256(state_->key, text));
    state_->renew_at = now + kServiceTokenRenewal.count();
  }
  return state_->mine;
}

Result<std::string> ServiceTokens::Verify(std::string_view token) {
  const int64_t now = ToUnix(state_->clock());
  if (std::optional<std::string> known = state_->memory.Find(token, now, 0)) {
    return std::move(*known);
  }
  Result<Parts> parts = Split(token);
  if (!parts) return parts.refusal();
  if (Result<void> good = CheckHeader(parts->header, "HS256", kServiceTokenType); !good) {
    return good.refusal();
  }
  const std::string expected = HmacSha256(state_->key, parts->signed_text);
  if (parts->signature.size() != expected.size() ||
      CRYPTO_memcmp(parts->signature.data(), expected.data(), expected.size()) != 0) {
    return Unauthenticated("the token's signature is wrong");
  }
  Result<Subject> subject = CheckClaims(parts->payload, kServiceIssuer, kServiceAudience, now);
  if (!subject) return subject.refusal();
  if (subject->sub.empty()) return Unauthenticated("the token is malformed");
  state_->memory.Add(token, {subject->sub, subject->expires, 0});
  return std::move(subject->sub);
}

}  // namespace shop::auth
