// The auth service over gRPC, with a real database and a small stand-in for users.
#include "auth/auth_service.h"

#include <crypt.h>
#include <dlfcn.h>
#include <gmock/gmock.h>
#include <google/protobuf/empty.pb.h>

#include <atomic>
#include <barrier>
#include <cctype>
#include <ctime>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "audit_migrations.h"
#include "auth/account_store.h"
#include "auth/asked_mails.h"
#include "auth/auth_events.h"
#include "auth/login_attempts.h"
#include "auth/mailed_tokens.h"
#include "auth/operator_account.h"
#include "auth/second_factors.h"
#include "auth/session_store.h"
#include "auth/totp.h"
#include "auth_migrations.h"
#include "common/audit/testing/entries.h"
#include "common/rpc/identity.h"
#include "common/rpc/server.h"
#include "common/testing/callers.h"
#include "common/testing/database.h"
#include "common/testing/deliver.h"
#include "common/testing/fake_service.h"
#include "common/testing/published_events.h"
#include "common/testing/servers.h"
#include "messaging_migrations.h"
#include "shop/events/v1/accounts.pb.h"
#include "shop/events/v1/sessions.pb.h"
#include "shop/events/v1/users.pb.h"

namespace {
std::atomic<int> hashes_made = 0;
}  // namespace

// Counts what auth asks of libcrypt, and passes it on.
extern "C" char* crypt_r(const char* phrase, const char* setting, struct crypt_data* data) {
  static const auto real = reinterpret_cast<decltype(&crypt_r)>(dlsym(RTLD_NEXT, "crypt_r"));
  ++hashes_made;
  return real(phrase, setting, data);
}

namespace shop::auth {
namespace {

using api::v1::ROLE_ADMIN;
using api::v1::ROLE_GUEST;
using api::v1::ROLE_SELLER;
using api::v1::ROLE_SUPER_ADMIN;
using api::v1::ROLE_USER;
using google::protobuf::Empty;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using users::v1::User;

constexpr char kPassword[] = "Plum-Tree-7!";

// What auth needs of users, in memory.
class FakeUsers {
 public:
  rpc::Service Methods() {
    return rpc::Service("shop.users.v1.UsersService")
        .On("CreateUser", this, &FakeUsers::CreateUser)
        .On("GetUser", this, &FakeUsers::GetUser)
        .On("ConfirmEmail", this, &FakeUsers::ConfirmEmail)
        .On("UpdateUserRole", this, &FakeUsers::UpdateUserRole);
  }

  Result<User> CreateUser(const Call&, const users::v1::CreateUserRequest& request) {
    ++calls;
    if (away) throw Unavailable("switched off");
    const std::lock_guard lock(mutex_);
    if (request.has_granted_by() && !super_admins_.contains(request.granted_by())) {
      return Refusal{
          .code = Code::kFailedPrecondition, .message = "no", .reason = "ROLE_NOT_GRANTED"};
    }
    auto& [user, attempt] = users_[request.id()];
    if (attempt > request.attempt()) return Refusal{Code::kAborted, "late"};
    if (attempt == request.attempt()) return user;
    attempt = request.attempt();
    user.set_id(request.id());
    user.set_name(request.name());
    user.set_email(request.email());
    user.set_role(request.role());
    user.set_version(user.version() + 1);
    if (request.has_birthdate()) user.set_birthdate(request.birthdate());
    if (lose_answer.exchange(false)) throw Unavailable("the answer was lost");
    return user;
  }
  Result<User> GetUser(const Call& call, const users::v1::GetUserRequest& request) {
    ++calls;
    if (away) throw Unavailable("switched off");
    EXPECT_EQ(call.caller.service, "auth");
    const std::lock_guard lock(mutex_);
    const auto found = users_.find(request.id());
    if (found == users_.end()) return Refusal{Code::kNotFound, "no such user"};
    return found->second.first;
  }
  Result<User> ConfirmEmail(const Call&, const users::v1::ConfirmEmailRequest& request) {
    if (away) throw Unavailable("switched off");
    const std::lock_guard lock(mutex_);
    const auto found = users_.find(request.id());
    if (found == users_.end() || found->second.first.email() != request.email()) {
      return Refusal{Code::kNotFound, "no such user"};
    }
    found->second.first.set_email_confirmed(true);
    return found->second.first;
  }
  Result<User> UpdateUserRole(const Call&, const users::v1::UpdateUserRoleRequest& request) {
    const std::lock_guard lock(mutex_);
    User& user = users_[request.id()].first;
    user.set_role(request.role());
    user.set_version(user.version() + 1);
    return user;
  }

  // The version since.
  int64_t GiveRole(int64_t id, api::v1::Role role) {
    users::v1::UpdateUserRoleRequest request;
    request.set_id(id);
    request.set_role(role);
    return UpdateUserRole({}, request)->version();
  }
  void Demote(int64_t super_admin) {
    const std::lock_guard lock(mutex_);
    super_admins_.erase(super_admin);
  }
  void Delete(int64_t id) {
    const std::lock_guard lock(mutex_);
    users_.erase(id);
  }
  void Move(int64_t id, const std::string& email) {
    const std::lock_guard lock(mutex_);
    users_[id].first.set_email(email);
    users_[id].first.set_email_confirmed(false);
  }
  bool confirmed(int64_t id) {
    const std::lock_guard lock(mutex_);
    return users_[id].first.email_confirmed();
  }
  size_t count() {
    const std::lock_guard lock(mutex_);
    return users_.size();
  }

  std::atomic<bool> away = false;
  std::atomic<int> calls = 0;  // of CreateUser and GetUser
  // The next profile is created but the answer is lost, as when a process dies in between.
  std::atomic<bool> lose_answer = false;

 private:
  std::mutex mutex_;
  std::map<int64_t, std::pair<User, int64_t>> users_;  // with the attempt
  std::set<int64_t> super_admins_{1000};
};

class AuthTest : public ::testing::Test {
 protected:
  explicit AuthTest(AuthOptions options = {})
      : service_(db_, users_channel_, passwords_, keys_, [&] {
          options.encryption_key = std::string(32, 'k');
          return options;
        }()) {}

  template <typename Response, typename Request>
  Result<Response> Call(const testing::Credentials& who, const char* method,
                        const Request& request) {
    return testing::Client(server_.address(), who)
        .Call<Response>("shop.auth.v1.AuthService", method, request);
  }

  static v1::RegisterRequest Person(const std::string& email,
                                    const std::string& password = kPassword) {
    v1::RegisterRequest request;
    request.set_name("Ann");
    request.set_email(email);
    request.set_password(password);
    return request;
  }
  static v1::RegisterRequest Person(const std::string& email, api::v1::Role role) {
    v1::RegisterRequest request = Person(email);
    request.set_role(role);
    return request;
  }
  Result<User> Register(const v1::RegisterRequest& request, const testing::Credentials& who = {}) {
    return Call<User>(who, "Register", request);
  }
  Result<v1::LoginResponse> Login(const std::string& email,
                                  const std::string& password = kPassword) {
    v1::LoginRequest request;
    request.set_email(email);
    request.set_password(password);
    return Call<v1::LoginResponse>({}, "Login", request);
  }
  void Receive(const google::protobuf::Message& event) {
    const Result<void> received = testing::Deliver(
        db_, EventHandlers(), "auth",
        messaging::MakeEvent(event, {.source = "users", .trace = TraceContext::New()}));
    EXPECT_TRUE(received);
  }
  void HearOfDeletion(int64_t id) {
    events::v1::UserDeleted event;
    event.set_user_id(id);
    Receive(event);
  }
  void HearOfRole(int64_t id, int64_t version) {
    events::v1::UserRoleChanged event;
    event.set_user_id(id);
    event.set_version(version);
    Receive(event);
  }

  // Those of auth, and those of the tests' callers.
  TokenVerifier::FetchKeys Keys() {
    return [this] {
      std::vector<PublicKey> keys = keys_.published();
      for (const PublicKey& key : callers_.Keys()()) keys.push_back(key);
      return keys;
    };
  }

  static messaging::EventContext Context() {
    return {.source = "auth", .trace = TraceContext::New()};
  }
  // The sessions that were published as revoked.
  std::vector<std::string> Revoked() {
    std::vector<std::string> sessions;
    for (const messaging::Envelope& event : testing::PublishedEvents(db_)) {
      if (event.type == "SESSION_REVOKED") sessions.push_back(event.key);
    }
    return sessions;
  }

  // Registers, and logs in.
  v1::LoginResponse Ann() {
    EXPECT_TRUE(Register(Person("ann@example.com")));
    return LoginAgain();
  }
  v1::LoginResponse LoginAgain() {
    Result<v1::LoginResponse> login = Login("ann@example.com");
    EXPECT_TRUE(login);
    return login ? *std::move(login) : v1::LoginResponse();
  }
  Result<v1::LoginResponse> Refresh(const std::string& refresh_token) {
    v1::RefreshRequest request;
    request.set_refresh_token(refresh_token);
    return Call<v1::LoginResponse>({}, "Refresh", request);
  }
  Result<Empty> ChangePassword(const v1::LoginResponse& login, const std::string& current,
                               const std::string& next) {
    v1::ChangePasswordRequest request;
    request.set_current_password(current);
    request.set_new_password(next);
    return Call<Empty>(As(login), "ChangePassword", request);
  }
  std::string Forget(const std::string& email) {
    v1::ForgotPasswordRequest request;
    request.set_email(email);
    return Outcome(Call<Empty>({}, "ForgotPassword", request));
  }
  // The requests for another password, or of another type, that were published.
  std::vector<std::string> Requests(const std::string& type = "PASSWORD_RESET_REQUESTED") {
    std::vector<std::string> requests;
    for (const messaging::Envelope& event : testing::PublishedEvents(db_)) {
      if (event.type == type) requests.push_back(event.key);
    }
    return requests;
  }
  std::vector<std::string> Confirmations() { return Requests("EMAIL_CONFIRMATION_REQUESTED"); }
  // As notification asks, before it sends the mail.
  Result<v1::ResetMail> Prepare(const std::string& request) {
    v1::PrepareResetMailRequest asked;
    asked.set_request(request);
    return Call<v1::ResetMail>(testing::Callers::Service("notification"), "PrepareResetMail",
                               asked);
  }
  std::string MailedToken() {
    const Result<v1::ResetMail> mail = Prepare(Requests().back());
    return mail ? mail->token() : mail.refusal().message;
  }
  Result<v1::ConfirmationMail> PrepareConfirmation(const std::string& request) {
    v1::PrepareConfirmationMailRequest asked;
    asked.set_request(request);
    return Call<v1::ConfirmationMail>(testing::Callers::Service("notification"),
                                      "PrepareConfirmationMail", asked);
  }
  std::string MailedConfirmation() {
    const Result<v1::ConfirmationMail> mail = PrepareConfirmation(Confirmations().back());
    return mail ? mail->token() : mail.refusal().message;
  }
  Result<Empty> Confirm(const std::string& token) {
    v1::ConfirmEmailRequest request;
    request.set_token(token);
    return Call<Empty>({}, "ConfirmEmail", request);
  }
  Result<Empty> AskAgain(const v1::LoginResponse& login) {
    return Call<Empty>(As(login), "RequestEmailConfirmation",
                       v1::RequestEmailConfirmationRequest());
  }
  // What an app shows for this secret, so many steps from now.
  static std::string CodeOf(const std::string& base32, int steps = 0) {
    return TotpCode(DecodeBase32(base32), std::time(nullptr) / 30 + steps);
  }
  static std::string DecodeBase32(const std::string& text) {
    std::string bytes;
    uint32_t left = 0;
    int bits = 0;
    for (const char c : text) {
      left = left << 5 | static_cast<uint32_t>(c >= 'A' ? c - 'A' : c - '2' + 26);
      if ((bits += 5) >= 8) bytes += static_cast<char>(left >> (bits -= 8));
    }
    return bytes;
  }
  Result<v1::TotpSecret> BeginTotp(const v1::LoginResponse& login,
                                   const std::string& password = kPassword) {
    v1::BeginTotpRequest request;
    request.set_current_password(password);
    return Call<v1::TotpSecret>(As(login), "BeginTotp", request);
  }
  Result<v1::RecoveryCodes> ConfirmTotp(const v1::LoginResponse& login, const std::string& code) {
    v1::ConfirmTotpRequest request;
    request.set_code(code);
    return Call<v1::RecoveryCodes>(As(login), "ConfirmTotp", request);
  }
  Result<Empty> RemoveTotp(const v1::LoginResponse& login, const std::string& code,
                           const std::string& password = kPassword) {
    v1::RemoveTotpRequest request;
    request.set_current_password(password);
    request.set_code(code);
    return Call<Empty>(As(login), "RemoveTotp", request);
  }
  struct Factor {
    std::string secret;
    std::vector<std::string> recovery_codes;
  };
  // Enrols. The code that is used for it is that of the step before, so that those of this step and the next one are
  // left, also when a step begins meanwhile.
  Factor Enrol(const v1::LoginResponse& login) {
    Factor factor;
    const Result<v1::TotpSecret> secret = BeginTotp(login);
    EXPECT_TRUE(secret);
    if (!secret) return factor;
    factor.secret = secret->secret();
    Result<v1::RecoveryCodes> codes = ConfirmTotp(login, CodeOf(factor.secret, -1));
    // A step has begun in between.
    if (!codes) codes = ConfirmTotp(login, CodeOf(factor.secret, -1));
    EXPECT_TRUE(codes);
    if (codes) {
      factor.recovery_codes = {codes->recovery_codes().begin(), codes->recovery_codes().end()};
    }
    return factor;
  }
  Result<v1::LoginResponse> LoginWith(const std::string& code,
                                      const std::string& password = kPassword) {
    v1::LoginRequest request;
    request.set_email("ann@example.com");
    request.set_password(password);
    request.set_code(code);
    return Call<v1::LoginResponse>({}, "Login", request);
  }
  template <typename T>
  static std::string Reason(const Result<T>& result) {
    return result ? "OK" : result.refusal().reason;
  }
  Result<Empty> Reset(const std::string& token, const std::string& password = "Pear-Tree-8!") {
    v1::ResetPasswordRequest request;
    request.set_token(token);
    request.set_new_password(password);
    return Call<Empty>({}, "ResetPassword", request);
  }
  static std::string BlamedField(const Result<Empty>& result) {
    if (result) return "OK";
    return result.refusal().details.empty() ? result.refusal().message
                                            : result.refusal().details[0].field;
  }
  static testing::Credentials As(const v1::LoginResponse& login) {
    return {.token = login.access_token()};
  }
  Caller CallerOf(const v1::LoginResponse& login) {
    const Result<Caller> caller = TokenVerifier(Keys()).Verify(login.access_token());
    EXPECT_TRUE(caller);
    return caller ? *caller : Caller();
  }
  std::vector<std::string> SessionsOf(const v1::LoginResponse& login) {
    const Result<v1::Sessions> sessions =
        Call<v1::Sessions>(As(login), "ListSessions", v1::ListSessionsRequest());
    std::vector<std::string> ids;
    if (!sessions) return {sessions.refusal().message};
    for (const v1::Session& session : sessions->items()) ids.push_back(session.id());
    return ids;
  }
  void Run(const std::string& sql) {
    postgres::InTransaction(db_, [&](postgres::Tx& tx) { tx.Run(sql); });
  }
  // Lets time go by for what refresh tokens and sessions know of it.
  void Pass(const std::string& interval) {
    Run("UPDATE refresh_tokens SET used_at = used_at - interval '" + interval + "'");
    Run("UPDATE sessions SET expires_at = expires_at - interval '" + interval +
        "', ends_at = ends_at - interval '" + interval +
        "', last_used_at = last_used_at - interval '" + interval + "'");
  }
  // One line an account: id, address, state, whether there is a hash.
  std::vector<std::string> Accounts() {
    std::vector<std::string> accounts;
    for (const auto& row : postgres::Read(db_, [](postgres::Tx& tx) {
           return tx.Run(
               "SELECT concat_ws(' ', id, email, state, password_hash IS NOT NULL)"
               " FROM accounts ORDER BY id");
         })) {
      accounts.push_back(row[0].as<std::string>());
    }
    return accounts;
  }

  template <typename T>
  static std::string Outcome(const Result<T>& result) {
    return result ? "OK" : Name(result.refusal().code);
  }

  testing::TestDatabase database_;
  testing::Callers callers_;
  postgres::Pool db_{[this] {
    postgres::Pool db(database_.settings());
    postgres::Migrate(db, {kMessagingMigrations, kAuditMigrations, kAuthMigrations});
    return database_.settings();
  }()};
  SigningKeys keys_{db_, {.encryption_key = std::string(32, 'k')}};

  FakeUsers users_;
  rpc::Identity users_identity_{testing::IdentityOf("users"), callers_.Keys()};
  rpc::Server users_server_{
      {.host = "127.0.0.1"}, users_identity_, {testing::FakeService(users_.Methods())}};

  rpc::Identity identity_{testing::IdentityOf("auth"), Keys()};
  rpc::Channel users_channel_{"users", users_server_.address(), identity_};
  PasswordHasher passwords_{4, 2, 100};
  AuthService service_;
  rpc::Server server_{{.host = "127.0.0.1"}, identity_, {service_.Methods()}};
};

class AuthWithRolesForAnybody : public AuthTest {
 protected:
  AuthWithRolesForAnybody() : AuthTest({.allow_role_at_registration = true}) {}
};

class AuthWithSecondFactors : public AuthTest {
 protected:
  AuthWithSecondFactors() : AuthTest({.require_second_factor = true}) {}
};

class AuthInPrivate : public AuthTest {
 protected:
  AuthInPrivate() : AuthTest({.private_registration = true}) {}
  std::vector<std::string> Notices() { return Requests("REGISTRATION_REPEATED"); }
};

TEST_F(AuthTest, WhoRegistersCanSignInAndSeeThemselves) {
  v1::RegisterRequest person = Person("ann@example.com");
  person.set_birthdate("1990-12-31");
  const Result<User> registered = Register(person);
  ASSERT_TRUE(registered) << registered.refusal().message;
  EXPECT_EQ(registered->name(), "Ann");
  EXPECT_EQ(registered->role(), ROLE_USER);
  EXPECT_EQ(registered->birthdate(), "1990-12-31");

  const Result<v1::LoginResponse> login = Login("ann@example.com");
  ASSERT_TRUE(login) << login.refusal().message;
  EXPECT_EQ(login->user().id(), registered->id());
  EXPECT_EQ(login->expires_in(), 900);

  const Result<User> me = Call<User>({.token = login->access_token()}, "GetMe", v1::GetMeRequest());
  ASSERT_TRUE(me) << me.refusal().message;
  EXPECT_EQ(me->id(), registered->id());
}

TEST_F(AuthTest, PublishedKeysCheckItsTokens) {
  ASSERT_TRUE(Register(Person("ann@example.com")));
  const Result<v1::LoginResponse> login = Login("ann@example.com");
  ASSERT_TRUE(login);
  TokenVerifier verifier(rpc::KeysFrom(server_.address(), rpc::Tls()));
  const Result<Caller> caller = verifier.Verify(login->access_token());
  ASSERT_TRUE(caller) << caller.refusal().message;
  EXPECT_EQ(caller->user_id, login->user().id());
  EXPECT_EQ(caller->role, ROLE_USER);
}

TEST_F(AuthTest, PublishedKeysHoldNothingPrivate) {
  const Result<v1::Jwks> jwks = Call<v1::Jwks>({}, "GetJwks", v1::GetJwksRequest());
  ASSERT_TRUE(jwks);
  ASSERT_EQ(jwks->keys_size(), 1);
  EXPECT_EQ(jwks->keys(0).kty(), "EC");
  EXPECT_EQ(jwks->keys(0).crv(), "P-256");
  EXPECT_EQ(jwks->keys(0).alg(), "ES256");
  EXPECT_EQ(jwks->keys(0).use(), "sig");
  EXPECT_EQ(jwks->keys(0).kid(), keys_.published().front().kid);
}

TEST_F(AuthTest, AnAddressIsTakenInAnyCase) {
  ASSERT_TRUE(Register(Person("Ann@Example.com")));
  const Result<User> again = Register(Person("aNN@eXAMPLE.COM"));
  ASSERT_FALSE(again);
  EXPECT_EQ(again.refusal().code, Code::kAlreadyExists);
  EXPECT_THAT(again.refusal().details, ElementsAre(Field(&FieldViolation::field, "email")));
  EXPECT_TRUE(Login("ANN@example.COM"));
  EXPECT_EQ(users_.count(), 1u);
}

TEST_F(AuthTest, RegistrationsAtOnceMakeOneAccount) {
  for (int round = 0; round < 5; ++round) {
    const std::string email = "ann" + std::to_string(round) + "@example.com";
    constexpr int kAtOnce = 4;
    std::barrier start(kAtOnce);
    std::atomic<int> made = 0, taken = 0;
    std::atomic<int> winner = -1;
    std::vector<std::thread> threads;
    for (int i = 0; i < kAtOnce; ++i) {
      threads.emplace_back([&, i] {
        const v1::RegisterRequest person = Person(email, kPassword + std::to_string(i));
        start.arrive_and_wait();
        const Result<User> user = Register(person);
        if (user) {
          ++made;
          winner = i;
        } else if (user.refusal().code == Code::kAlreadyExists) {
          ++taken;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(made, 1);
    EXPECT_EQ(taken, kAtOnce - 1);
    EXPECT_EQ(users_.count(), static_cast<size_t>(round) + 1);
    for (int i = 0; i < kAtOnce; ++i) {
      EXPECT_EQ(Outcome(Login(email, kPassword + std::to_string(i))),
                i == winner ? "OK" : "UNAUTHENTICATED");
    }
  }
}

TEST_F(AuthTest, ARegistrationWithoutUsersIsFinishedByTryingAgain) {
  users_.away = true;
  EXPECT_EQ(Outcome(Register(Person("ann@example.com"))), "UNAVAILABLE");
  EXPECT_THAT(Accounts(), ElementsAre("1 ann@example.com PENDING t"));
  EXPECT_EQ(Outcome(Login("ann@example.com")), "UNAUTHENTICATED");

  users_.away = false;
  const Result<User> user = Register(Person("ann@example.com"));
  ASSERT_TRUE(user) << user.refusal().message;
  EXPECT_EQ(user->id(), 1);
  EXPECT_EQ(Outcome(Login("ann@example.com")), "OK");
  EXPECT_THAT(Accounts(), ElementsAre("1 ann@example.com ACTIVE t"));
}

TEST_F(AuthTest, WhoFinishesARegistrationGetsNothingOfTheOneBefore) {
  users_.lose_answer = true;
  EXPECT_EQ(Outcome(Register(Person("ann@example.com", ROLE_ADMIN),
                             callers_.User(1000, ROLE_SUPER_ADMIN))),
            "UNAVAILABLE");
  EXPECT_EQ(users_.count(), 1u);

  v1::RegisterRequest other = Person("ann@example.com", "Pear-Tree-8!");
  other.set_name("Eve");
  const Result<User> user = Register(other);
  ASSERT_TRUE(user) << user.refusal().message;
  EXPECT_EQ(user->name(), "Eve");
  EXPECT_EQ(user->role(), ROLE_USER);
  EXPECT_EQ(Outcome(Login("ann@example.com")), "UNAUTHENTICATED");
  const Result<v1::LoginResponse> login = Login("ann@example.com", "Pear-Tree-8!");
  ASSERT_TRUE(login);
  EXPECT_EQ(login->user().role(), ROLE_USER);
}

TEST_F(AuthTest, WrongPasswordAndUnknownAddressAreOneAnswer) {
  ASSERT_TRUE(Register(Person("ann@example.com")));
  const Result<v1::LoginResponse> wrong = Login("ann@example.com", "Plum-Tree-8!");
  const Result<v1::LoginResponse> unknown = Login("bob@example.com");
  ASSERT_FALSE(wrong);
  ASSERT_FALSE(unknown);
  EXPECT_EQ(wrong.refusal().code, Code::kUnauthenticated);
  EXPECT_EQ(unknown.refusal().code, Code::kUnauthenticated);
  EXPECT_EQ(wrong.refusal().message, unknown.refusal().message);
}

TEST_F(AuthTest, PasswordsCanBeTriedEverMoreSlowly) {
  ASSERT_TRUE(Register(Person("ann@example.com")));
  for (const char* address : {"ann@example.com", "Nobody@example.com"}) {
    for (int i = 0; i < 10; ++i) {
      EXPECT_EQ(Login(address, "Plum-Tree-8!").refusal().code, Code::kUnauthenticated) << i;
    }
    const Result<v1::LoginResponse> early = Login(address);
    ASSERT_FALSE(early) << "the right password, too early";
    EXPECT_EQ(early.refusal().code, Code::kResourceExhausted);
    EXPECT_EQ(early.refusal().reason, "TOO_MANY_ATTEMPTS");
    EXPECT_EQ(early.refusal().retry_after, 1);
  }
  const auto wait_and_fail = [this] {
    Run("UPDATE login_attempts SET free_at = now()");
    EXPECT_EQ(Login("ann@example.com", "Plum-Tree-8!").refusal().code, Code::kUnauthenticated);
    return Login("ann@example.com").refusal().retry_after;
  };
  for (const int seconds : {2, 4, 8, 16, 32, 60, 60}) EXPECT_EQ(wait_and_fail(), seconds);
}

TEST_F(AuthTest, ALoginThatSucceedsEndsTheCountOfAttempts) {
  ASSERT_TRUE(Register(Person("ann@example.com")));
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 9; ++i) EXPECT_FALSE(Login("ann@example.com", "Plum-Tree-8!"));
    EXPECT_TRUE(Login("ann@example.com")) << round;
  }
  for (int i = 0; i < 12; ++i) (void)Login("ann@example.com", "Plum-Tree-8!");
  Run("UPDATE login_attempts SET free_at = free_at - interval '2 hours',"
      " last_at = last_at - interval '2 hours'");
  for (int i = 0; i < 9; ++i) {
    EXPECT_EQ(Login("ann@example.com", "Plum-Tree-8!").refusal().code, Code::kUnauthenticated) << i;
  }
  EXPECT_TRUE(Login("ann@example.com")) << "an hour has gone by before those nine";
}

TEST_F(AuthTest, ManyAttemptsAtOnceAreNoWayAroundTheLimit) {
  ASSERT_TRUE(Register(Person("ann@example.com")));
  std::atomic<int> looked_at = 0;
  std::atomic<int> refused = 0;
  std::vector<std::jthread> clients;
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back([&] {
      for (int n = 0; n < 5; ++n) {
        const Code code = Login("ann@example.com", "Plum-Tree-8!").refusal().code;
        ++(code == Code::kUnauthenticated ? looked_at : refused);
      }
    });
  }
  clients.clear();
  EXPECT_EQ(looked_at + refused, 40);
  // Ten at once, and one for each time that somebody has waited meanwhile.
  EXPECT_GE(looked_at, 10);
  EXPECT_LE(looked_at, 16);
}

TEST_F(AuthTest, AttemptsThatCountNoMoreAreDeleted) {
  (void)Login("ann@example.com");
  (void)Login("bob@example.com");
  const auto kept = [this] {
    return postgres::InTransaction(db_, [](postgres::Tx& tx) {
      SweepAttempts(tx, 10);
      return tx.Run("SELECT count(*) FROM login_attempts")[0][0].as<int>();
    });
  };
  EXPECT_EQ(kept(), 2);
  Run("UPDATE login_attempts SET last_at = now() - interval '61 minutes' WHERE attempts = 1");
  (void)Login("bob@example.com");
  EXPECT_EQ(kept(), 1);
}

TEST_F(AuthTest, ADeletedUserCannotSignInEvenBeforeAuthHears) {
  const Result<User> user = Register(Person("ann@example.com"));
  ASSERT_TRUE(user);
  const testing::Credentials old_token = callers_.User(user->id());
  users_.Delete(user->id());
  const Result<v1::LoginResponse> login = Login("ann@example.com");
  ASSERT_FALSE(login);
  EXPECT_EQ(login.refusal().code, Code::kUnauthenticated);
  EXPECT_EQ(login.refusal().message, Login("bob@example.com").refusal().message);
  EXPECT_EQ(Outcome(Call<User>(old_token, "GetMe", v1::GetMeRequest())), "UNAUTHENTICATED");
}

TEST_F(AuthTest, ADeletionErasesTheAccountAndFreesTheAddress) {
  const Result<User> user = Register(Person("ann@example.com"));
  ASSERT_TRUE(user);
  users_.Delete(user->id());
  HearOfDeletion(user->id());
  EXPECT_THAT(Accounts(), ElementsAre("1 DELETED f"));
  EXPECT_EQ(Outcome(Login("ann@example.com")), "UNAUTHENTICATED");

  const Result<User> again = Register(Person("ann@example.com"));
  ASSERT_TRUE(again) << again.refusal().message;
  EXPECT_NE(again->id(), user->id());
  HearOfDeletion(user->id());
  EXPECT_TRUE(Login("ann@example.com"));
}

TEST_F(AuthTest, ADeletionOfAnUnknownIdIsNoError) {
  HearOfDeletion(77);
  EXPECT_THAT(Accounts(), ElementsAre());
}

TEST_F(AuthTest, ARegistrationChangesNothingHere) {
  ASSERT_TRUE(Register(Person("ann@example.com")));
  events::v1::UserRegistered event;
  event.set_user_id(1);
  EXPECT_TRUE(EventHandlers().Ignores(
      messaging::MakeEvent(event, {.source = "users", .trace = TraceContext::New()}).type));
}

TEST_F(AuthTest, TheTokenCarriesTheRoleOfTheProfile) {
  const Result<User> user = Register(Person("ann@example.com"));
  ASSERT_TRUE(user);
  users::v1::UpdateUserRoleRequest promotion;
  promotion.set_id(user->id());
  promotion.set_role(ROLE_SELLER);
  ASSERT_TRUE(users_.UpdateUserRole({}, promotion));
  const Result<v1::LoginResponse> login = Login("ann@example.com");
  ASSERT_TRUE(login);
  const Result<Caller> caller = TokenVerifier(Keys()).Verify(login->access_token());
  ASSERT_TRUE(caller);
  EXPECT_EQ(caller->role, ROLE_SELLER);
}

TEST_F(AuthTest, NobodyRegistersARoleByThemselves) {
  for (const api::v1::Role role : {ROLE_SELLER, ROLE_ADMIN, ROLE_SUPER_ADMIN}) {
    EXPECT_EQ(Outcome(Register(Person("ann@example.com", role))), "PERMISSION_DENIED");
    EXPECT_EQ(Outcome(Register(Person("ann@example.com", role), callers_.User(7, ROLE_ADMIN))),
              "PERMISSION_DENIED");
  }
  EXPECT_EQ(Outcome(Register(Person("ann@example.com", ROLE_GUEST))), "INVALID_ARGUMENT");
  EXPECT_THAT(Accounts(), ElementsAre());
}

TEST_F(AuthTest, ASuperAdminRegistersAnyRole) {
  const testing::Credentials boss = callers_.User(1000, ROLE_SUPER_ADMIN);
  for (const api::v1::Role role : {ROLE_USER, ROLE_SELLER, ROLE_ADMIN, ROLE_SUPER_ADMIN}) {
    const Result<User> user =
        Register(Person("a" + std::to_string(role) + "@example.com", role), boss);
    ASSERT_TRUE(user) << user.refusal().message;
    EXPECT_EQ(user->role(), role);
  }
}

TEST_F(AuthTest, WhoWasASuperAdminRegistersNobodyAboveUser) {
  const testing::Credentials old_token = callers_.User(1000, ROLE_SUPER_ADMIN);
  users_.Demote(1000);
  for (const api::v1::Role role : {ROLE_SELLER, ROLE_ADMIN, ROLE_SUPER_ADMIN}) {
    EXPECT_EQ(Outcome(Register(Person("ann@example.com", role), old_token)), "PERMISSION_DENIED");
  }
  EXPECT_EQ(Outcome(Login("ann@example.com")), "UNAUTHENTICATED");
  EXPECT_EQ(Outcome(Register(Person("ann@example.com"), old_token)), "OK");
}

TEST_F(AuthWithRolesForAnybody, AllButSuperAdminAreTaken) {
  EXPECT_EQ(Outcome(Register(Person("a@example.com", ROLE_SELLER))), "OK");
  EXPECT_EQ(Outcome(Register(Person("b@example.com", ROLE_ADMIN))), "OK");
  EXPECT_EQ(Outcome(Register(Person("c@example.com", ROLE_SUPER_ADMIN))), "PERMISSION_DENIED");
}

TEST_F(AuthTest, AWeakPasswordIsRefusedByItsField) {
  const Result<User> user = Register(Person("ann@example.com", "password1"));
  ASSERT_FALSE(user);
  EXPECT_EQ(user.refusal().code, Code::kInvalidArgument);
  EXPECT_THAT(user.refusal().details, ElementsAre(Field(&FieldViolation::field, "password")));
  EXPECT_THAT(Accounts(), ElementsAre());
}

TEST_F(AuthTest, NoPasswordIsKept) {
  ASSERT_TRUE(Register(Person("ann@example.com")));
  const pqxx::result rows = postgres::Read(
      db_, [](postgres::Tx& tx) { return tx.Run("SELECT password_hash FROM accounts"); });
  EXPECT_THAT(rows[0][0].as<std::string>(), ::testing::StartsWith("$2b$04$"));
}

TEST_F(AuthTest, ALoginBeginsASessionThatARefreshContinues) {
  const v1::LoginResponse login = Ann();
  EXPECT_EQ(login.refresh_token().size(), 43u) << "256 bits";
  const Result<v1::LoginResponse> next = Refresh(login.refresh_token());
  ASSERT_TRUE(next) << next.refusal().message;
  EXPECT_NE(next->refresh_token(), login.refresh_token());
  EXPECT_NE(next->access_token(), login.access_token());
  EXPECT_EQ(next->user().email(), "ann@example.com");
  EXPECT_EQ(next->expires_in(), 900);
  EXPECT_FALSE(CallerOf(login).session.empty());
  EXPECT_EQ(CallerOf(*next).session, CallerOf(login).session);
  EXPECT_EQ(Outcome(Refresh(next->refresh_token())), "OK");
}

TEST_F(AuthTest, ARefreshBringsTheRoleOfNow) {
  const v1::LoginResponse login = Ann();
  users_.GiveRole(login.user().id(), ROLE_SELLER);
  const Result<v1::LoginResponse> next = Refresh(login.refresh_token());
  ASSERT_TRUE(next);
  EXPECT_EQ(CallerOf(*next).role, ROLE_SELLER);
}

TEST_F(AuthTest, ARefreshTokenThatNobodyWasGivenIsRefused) {
  Ann();
  const Result<v1::LoginResponse> made_up = Refresh(std::string(43, 'A'));
  ASSERT_FALSE(made_up);
  EXPECT_EQ(made_up.refusal().code, Code::kUnauthenticated);
  const Result<v1::LoginResponse> none = Refresh("");
  EXPECT_EQ(Outcome(none), "INVALID_ARGUMENT");
  EXPECT_THAT(none.refusal().details, ElementsAre(Field(&FieldViolation::field, "refreshToken")));
}

TEST_F(AuthTest, AUsedRefreshTokenEndsItsSession) {
  const v1::LoginResponse login = Ann();
  const v1::LoginResponse other = LoginAgain();
  const Result<v1::LoginResponse> second = Refresh(login.refresh_token());
  ASSERT_TRUE(second);
  Pass("11 seconds");
  EXPECT_EQ(Outcome(Refresh(login.refresh_token())), "UNAUTHENTICATED");
  EXPECT_EQ(Outcome(Refresh(second->refresh_token())), "UNAUTHENTICATED") << "the thief's, perhaps";
  EXPECT_EQ(Outcome(Refresh(other.refresh_token())), "OK") << "another session";
}

TEST_F(AuthTest, AnAnswerThatWasLostIsGivenAgainForTenSeconds) {
  const v1::LoginResponse login = Ann();
  const Result<v1::LoginResponse> lost = Refresh(login.refresh_token());
  ASSERT_TRUE(lost);
  Pass("9 seconds");
  const Result<v1::LoginResponse> again = Refresh(login.refresh_token());
  ASSERT_TRUE(again) << again.refusal().message;
  EXPECT_EQ(again->refresh_token(), lost->refresh_token());
  Pass("2 seconds");
  EXPECT_EQ(Outcome(Refresh(login.refresh_token())), "UNAUTHENTICATED")
      << "the first use counts, not the last";
}

TEST_F(AuthTest, AnAnswerWhoseTokenWasUsedIsNotLost) {
  const v1::LoginResponse login = Ann();
  const Result<v1::LoginResponse> second = Refresh(login.refresh_token());
  ASSERT_TRUE(second);
  const Result<v1::LoginResponse> third = Refresh(second->refresh_token());
  ASSERT_TRUE(third);
  EXPECT_EQ(Outcome(Refresh(login.refresh_token())), "UNAUTHENTICATED");
  EXPECT_EQ(Outcome(Refresh(third->refresh_token())), "UNAUTHENTICATED");
}

TEST_F(AuthTest, RefreshesAtOnceGetOneSuccessor) {
  std::string token = Ann().refresh_token();
  for (int round = 0; round < 5; ++round) {
    constexpr int kAtOnce = 4;
    std::barrier start(kAtOnce);
    std::vector<std::string> next(kAtOnce);
    std::vector<std::thread> threads;
    for (int i = 0; i < kAtOnce; ++i) {
      threads.emplace_back([&, i] {
        start.arrive_and_wait();
        const Result<v1::LoginResponse> answer = Refresh(token);
        next[static_cast<size_t>(i)] = answer ? answer->refresh_token() : answer.refusal().message;
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_THAT(next, ::testing::Each(next.front()));
    EXPECT_NE(next.front(), token);
    token = next.front();
  }
  EXPECT_EQ(Outcome(Refresh(token)), "OK");
}

TEST_F(AuthTest, ASessionThatIsNotUsedExpires) {
  const v1::LoginResponse login = Ann();
  Pass("6 days");
  const Result<v1::LoginResponse> next = Refresh(login.refresh_token());
  ASSERT_TRUE(next);
  Pass("6 days");
  const Result<v1::LoginResponse> third = Refresh(next->refresh_token());
  ASSERT_TRUE(third);
  Pass("8 days");
  EXPECT_EQ(Outcome(Refresh(third->refresh_token())), "UNAUTHENTICATED");
  EXPECT_THAT(SessionsOf(login), ElementsAre());
}

TEST_F(AuthTest, NoSessionLastsLongerThanAMonth) {
  std::string token = Ann().refresh_token();
  for (int use = 0; use < 5; ++use) {
    Pass("5 days");
    const Result<v1::LoginResponse> next = Refresh(token);
    ASSERT_TRUE(next);
    token = next->refresh_token();
  }
  Pass("5 days 1 minute");
  EXPECT_EQ(Outcome(Refresh(token)), "UNAUTHENTICATED");
}

TEST_F(AuthTest, ALogoutEndsThisSessionAlone) {
  const v1::LoginResponse here = Ann();
  const v1::LoginResponse there = LoginAgain();
  for (int again = 0; again < 2; ++again) {
    EXPECT_EQ(Outcome(Call<Empty>(As(here), "Logout", v1::LogoutRequest())), "OK");
  }
  EXPECT_EQ(Outcome(Refresh(here.refresh_token())), "UNAUTHENTICATED");
  EXPECT_THAT(SessionsOf(there), ElementsAre(CallerOf(there).session));
  EXPECT_EQ(Outcome(Refresh(there.refresh_token())), "OK");
  EXPECT_EQ(Outcome(Call<Empty>({}, "Logout", v1::LogoutRequest())), "UNAUTHENTICATED");
}

TEST_F(AuthTest, ALogoutOfAllEndsNobodyElses) {
  const v1::LoginResponse here = Ann();
  const v1::LoginResponse there = LoginAgain();
  ASSERT_TRUE(Register(Person("bob@example.com")));
  const Result<v1::LoginResponse> bob = Login("bob@example.com");
  ASSERT_TRUE(bob);
  EXPECT_EQ(Outcome(Call<Empty>(As(here), "LogoutAll", v1::LogoutAllRequest())), "OK");
  EXPECT_EQ(Outcome(Refresh(here.refresh_token())), "UNAUTHENTICATED");
  EXPECT_EQ(Outcome(Refresh(there.refresh_token())), "UNAUTHENTICATED");
  EXPECT_EQ(Outcome(Refresh(bob->refresh_token())), "OK");
}

TEST_F(AuthTest, TheTokenOfAnotherEndsNoSession) {
  const v1::LoginResponse ann = Ann();
  const testing::Credentials stranger = {
      .token = keys_.Sign(77, ROLE_USER, std::chrono::hours(1), CallerOf(ann).session)};
  EXPECT_EQ(Outcome(Call<Empty>(stranger, "Logout", v1::LogoutRequest())), "OK");
  EXPECT_EQ(Outcome(Refresh(ann.refresh_token())), "OK");
}

TEST_F(AuthTest, EverySessionThatEndsIsPublishedOnce) {
  const v1::LoginResponse out = Ann();
  const v1::LoginResponse stolen = LoginAgain();
  const v1::LoginResponse rest = LoginAgain();
  for (int again = 0; again < 2; ++again) {
    ASSERT_TRUE(Call<Empty>(As(out), "Logout", v1::LogoutRequest()));
  }
  EXPECT_THAT(Revoked(), ElementsAre(CallerOf(out).session));
  const Result<v1::LoginResponse> next = Refresh(stolen.refresh_token());
  ASSERT_TRUE(next);
  ASSERT_TRUE(Refresh(next->refresh_token()));
  ASSERT_FALSE(Refresh(stolen.refresh_token()));
  EXPECT_THAT(Revoked(), ElementsAre(CallerOf(out).session, CallerOf(stolen).session));
  ASSERT_TRUE(Call<Empty>(As(rest), "LogoutAll", v1::LogoutAllRequest()));
  EXPECT_THAT(Revoked(),
              ElementsAre(CallerOf(out).session, CallerOf(stolen).session, CallerOf(rest).session));

  const v1::LoginResponse last = LoginAgain();
  HearOfDeletion(last.user().id());
  EXPECT_EQ(Revoked().back(), CallerOf(last).session);
  events::v1::SessionRevoked event;
  ASSERT_TRUE(messaging::ReadValue(testing::PublishedEvents(db_).back().value, &event));
  EXPECT_EQ(event.user_id(), last.user().id());
  EXPECT_EQ(event.session_id(), CallerOf(last).session);
  EXPECT_GE(std::chrono::system_clock::from_time_t(event.expires_at().seconds()),
            CallerOf(last).expires);
}

TEST_F(AuthTest, ASessionWhoseAccessTokenHasExpiredIsNotPublished) {
  const v1::LoginResponse login = Ann();
  Run("UPDATE sessions SET access_until = now() - interval '1 second'");
  ASSERT_TRUE(Call<Empty>(As(login), "LogoutAll", v1::LogoutAllRequest()));
  EXPECT_THAT(Revoked(), ElementsAre());
  EXPECT_EQ(Outcome(Refresh(login.refresh_token())), "UNAUTHENTICATED");
}

TEST_F(AuthTest, SessionsAreShownLastUsedFirst) {
  v1::LoginRequest request;
  Ann();
  request.set_email("ann@example.com");
  request.set_password(kPassword);
  request.set_user_agent("curl/8.0 “ü” " + std::string(300, 'x'));
  const Result<v1::LoginResponse> curl = Call<v1::LoginResponse>({}, "Login", request);
  ASSERT_TRUE(curl);
  const Result<v1::Sessions> sessions =
      Call<v1::Sessions>(As(*curl), "ListSessions", v1::ListSessionsRequest());
  ASSERT_TRUE(sessions);
  ASSERT_EQ(sessions->items_size(), 2);
  const v1::Session& first = sessions->items(0);
  EXPECT_EQ(first.id(), CallerOf(*curl).session);
  EXPECT_TRUE(first.current());
  EXPECT_FALSE(sessions->items(1).current());
  EXPECT_EQ(first.user_agent(), "curl/8.0 “ü” " + std::string(187, 'x')) << "200 characters";
  EXPECT_NEAR(static_cast<double>(first.expires_at().seconds()),
              static_cast<double>(first.created_at().seconds() + 7 * 86400), 2);
  EXPECT_EQ(first.last_used_at().seconds(), first.created_at().seconds());
}

TEST_F(AuthTest, AnotherRoleEndsTheSessionsWithTheOldOne) {
  const v1::LoginResponse before = Ann();
  const int64_t id = before.user().id();
  const int64_t version = users_.GiveRole(id, ROLE_SELLER);
  const v1::LoginResponse since = LoginAgain();  // before auth hears of it
  for (int again = 0; again < 2; ++again) HearOfRole(id, version);
  EXPECT_THAT(Revoked(), ElementsAre(CallerOf(before).session));
  EXPECT_EQ(Outcome(Refresh(before.refresh_token())), "UNAUTHENTICATED");
  EXPECT_EQ(Outcome(Refresh(since.refresh_token())), "OK");
  EXPECT_THAT(SessionsOf(since), ElementsAre(CallerOf(since).session));
}

// The access token from before has the old role, whatever the one that a refresh has brought says.
TEST_F(AuthTest, ARefreshBeforeAuthHearsOfTheRoleSavesNoSession) {
  const v1::LoginResponse before = Ann();
  const int64_t version = users_.GiveRole(before.user().id(), ROLE_SELLER);
  const Result<v1::LoginResponse> next = Refresh(before.refresh_token());
  ASSERT_TRUE(next);
  HearOfRole(before.user().id(), version);
  EXPECT_THAT(Revoked(), ElementsAre(CallerOf(before).session));
  EXPECT_EQ(Outcome(Refresh(next->refresh_token())), "UNAUTHENTICATED");
}

TEST_F(AuthTest, ASessionIsRevokedForAsLongAsItsLongestAccessTokenLives) {
  const v1::LoginResponse ann = Ann();
  const auto access_until = [&] {
    return postgres::Read(db_, [](postgres::Tx& tx) {
      return tx.Run("SELECT extract(epoch FROM access_until)::bigint FROM sessions")[0][0]
          .as<int64_t>();
    });
  };
  const int64_t until = access_until();
  postgres::InTransaction(db_, [&](postgres::Tx& tx) {
    ASSERT_TRUE(ContinueSession(tx, ann.refresh_token(), {.access_token = std::chrono::seconds(1)},
                                Context()));
  });
  EXPECT_EQ(access_until(), until) << "tokens live shorter now; that of the login does not";
}

TEST_F(AuthTest, NoSessionBeginsWithARoleFromBeforeItsChange) {
  const v1::LoginResponse ann = Ann();
  // What a login reads of users while auth hears of the change.
  HearOfRole(ann.user().id(), ann.user().version() + 1);
  EXPECT_EQ(Outcome(Login("ann@example.com")), "ABORTED");
  users_.GiveRole(ann.user().id(), ROLE_SELLER);
  EXPECT_EQ(Outcome(Login("ann@example.com")), "OK");
  HearOfRole(ann.user().id(), 1);
  EXPECT_EQ(Outcome(Login("ann@example.com")), "OK") << "an earlier change that comes late";
}

TEST_F(AuthTest, ARoleChangeWaitsForTheRefreshUnderWay) {
  const v1::LoginResponse ann = Ann();
  std::thread change;
  std::optional<Continued> next;
  postgres::InTransaction(db_, [&](postgres::Tx& tx) {
    next = ContinueSession(tx, ann.refresh_token(), {}, Context());
    change = std::thread([&] { HearOfRole(ann.user().id(), 2); });
    EXPECT_TRUE(testing::Eventually([&] { return testing::CountLockWaits(db_) > 0; }));
  });
  change.join();
  ASSERT_TRUE(next);
  EXPECT_EQ(Outcome(Refresh(next->refresh_token)), "UNAUTHENTICATED");
}

TEST_F(AuthTest, ADeletionEndsAllSessions) {
  const v1::LoginResponse ann = Ann();
  HearOfDeletion(ann.user().id());
  EXPECT_EQ(Outcome(Refresh(ann.refresh_token())), "UNAUTHENTICATED");
  EXPECT_THAT(SessionsOf(ann), ElementsAre());
}

TEST_F(AuthTest, WhoWasDeletedRefreshesNothingEvenBeforeAuthHears) {
  const v1::LoginResponse ann = Ann();
  users_.Delete(ann.user().id());
  const Result<v1::LoginResponse> next = Refresh(ann.refresh_token());
  ASSERT_FALSE(next);
  EXPECT_EQ(next.refusal().code, Code::kUnauthenticated);
  EXPECT_EQ(next.refusal().message, Refresh("made up").refusal().message);
}

TEST_F(AuthTest, WithoutUsersARefreshTokenIsNotUsedUp) {
  const v1::LoginResponse ann = Ann();
  users_.away = true;
  EXPECT_EQ(Outcome(Refresh(ann.refresh_token())), "UNAVAILABLE");
  Pass("1 minute");
  users_.away = false;
  EXPECT_EQ(Outcome(Refresh(ann.refresh_token())), "OK");
}

TEST_F(AuthTest, ALoginWithAPasswordThatIsReplacedMeanwhileBeginsNothing) {
  const int64_t id = Ann().user().id();
  std::string outcome;
  std::thread login;
  postgres::InTransaction(db_, [&](postgres::Tx& tx) {
    ReplacePassword(tx, *FindAccount(tx, id), "another");
    EndSessions(tx, id, Context());
    login = std::thread([&] { outcome = Outcome(Login("ann@example.com")); });
    EXPECT_TRUE(testing::Eventually([&] { return testing::CountLockWaits(db_) > 0; }));
  });
  login.join();
  EXPECT_EQ(outcome, "UNAUTHENTICATED");
}

TEST_F(AuthTest, AnotherPasswordEndsAllSessionsButTheOneThatChangesIt) {
  const v1::LoginResponse here = Ann();
  const v1::LoginResponse there = LoginAgain();
  ASSERT_TRUE(Register(Person("bob@example.com")));
  const Result<v1::LoginResponse> bob = Login("bob@example.com");
  ASSERT_TRUE(bob);
  EXPECT_EQ(Outcome(ChangePassword(here, kPassword, "Pear-Tree-8!")), "OK");
  EXPECT_THAT(Revoked(), ElementsAre(CallerOf(there).session));
  EXPECT_EQ(Outcome(Refresh(there.refresh_token())), "UNAUTHENTICATED");
  EXPECT_EQ(Outcome(Refresh(here.refresh_token())), "OK");
  EXPECT_EQ(Outcome(Refresh(bob->refresh_token())), "OK");
  EXPECT_EQ(Outcome(Login("ann@example.com")), "UNAUTHENTICATED");
  EXPECT_EQ(Outcome(Login("ann@example.com", "Pear-Tree-8!")), "OK");
}

TEST_F(AuthTest, AWrongCurrentPasswordIsAnAttemptToLogIn) {
  const v1::LoginResponse ann = Ann();
  const v1::LoginResponse other = LoginAgain();
  for (int i = 0; i < 10; ++i) {
    const Result<Empty> wrong = ChangePassword(ann, "Plum-Tree-8!", "Pear-Tree-8!");
    ASSERT_FALSE(wrong);
    EXPECT_EQ(wrong.refusal().code, Code::kUnauthenticated);
    EXPECT_EQ(wrong.refusal().message, Login("nobody@example.com").refusal().message);
    Run("DELETE FROM login_attempts WHERE address = encode(sha256('nobody@example.com'), 'hex')");
  }
  EXPECT_EQ(ChangePassword(ann, kPassword, "Pear-Tree-8!").refusal().reason, "TOO_MANY_ATTEMPTS");
  EXPECT_EQ(Login("ann@example.com").refusal().reason, "TOO_MANY_ATTEMPTS");
  EXPECT_EQ(Outcome(Refresh(other.refresh_token())), "OK");
  Run("UPDATE login_attempts SET free_at = now()");
  EXPECT_EQ(Outcome(ChangePassword(ann, kPassword, "Pear-Tree-8!")), "OK");
  EXPECT_EQ(Outcome(Login("ann@example.com", "Pear-Tree-8!")), "OK") << "the count has ended";
}

TEST_F(AuthTest, NewPasswordsMeetTheRulesWhereverTheyComeFrom) {
  const v1::LoginResponse ann = Ann();
  for (const char* password : {"Short-1", "P@ssw0rd", "Ann@Example.com", "no digits!"}) {
    const Result<Empty> changed = ChangePassword(ann, kPassword, password);
    ASSERT_FALSE(changed) << password;
    EXPECT_EQ(changed.refusal().code, Code::kInvalidArgument);
    EXPECT_THAT(changed.refusal().details,
                ElementsAre(Field(&FieldViolation::field, "newPassword")));
  }
  for (const char* password : {"P@ssw0rd", "Bob@example.com"}) {
    const Result<User> registered = Register(Person("bob@example.com", password));
    ASSERT_FALSE(registered) << password;
    EXPECT_THAT(registered.refusal().details,
                ElementsAre(Field(&FieldViolation::field, "password")));
  }
  EXPECT_EQ(Outcome(Login("ann@example.com")), "OK") << "nothing was changed";
}

TEST_F(AuthTest, OfTwoPasswordsAtOnceOneIsTaken) {
  const v1::LoginResponse ann = Ann();
  std::vector<std::string> outcomes(2);
  std::vector<std::jthread> changes;
  postgres::InTransaction(db_, [&](postgres::Tx& tx) {
    tx.Run("SELECT FROM accounts WHERE email = 'ann@example.com' FOR NO KEY UPDATE");
    for (size_t i = 0; i < 2; ++i) {
      changes.emplace_back([&, i] {
        outcomes[i] =
            Outcome(ChangePassword(ann, kPassword, "Pear-Tree-" + std::to_string(i) + "!"));
      });
    }
    // Both have found the old password right.
    EXPECT_TRUE(testing::Eventually([&] { return testing::CountLockWaits(db_) == 2; }));
  });
  changes.clear();
  EXPECT_THAT(outcomes, ::testing::UnorderedElementsAre("OK", "UNAUTHENTICATED"));
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(Outcome(Login("ann@example.com", "Pear-Tree-" + std::to_string(i) + "!")),
              outcomes[i]);
  }
}

TEST_F(AuthTest, ALoginUnderWayWithTheOldPasswordIsEndedOrBeginsNothing) {
  const v1::LoginResponse ann = Ann();
  for (int round = 0; round < 8; ++round) {
    const std::string before = round == 0 ? kPassword : "Pear-Tree-" + std::to_string(round) + "!";
    const std::string after = "Pear-Tree-" + std::to_string(round + 1) + "!";
    std::barrier start(2);
    Result<v1::LoginResponse> login = Refusal{Code::kInternal, ""};
    std::jthread client([&] {
      start.arrive_and_wait();
      login = Login("ann@example.com", before);
    });
    start.arrive_and_wait();
    ASSERT_EQ(Outcome(ChangePassword(ann, before, after)), "OK");
    client.join();
    if (login) {
      EXPECT_EQ(Outcome(Refresh(login->refresh_token())), "UNAUTHENTICATED");
    }
  }
}

TEST_F(AuthTest, WhoWasDeletedChangesNoPassword) {
  const v1::LoginResponse ann = Ann();
  HearOfDeletion(ann.user().id());
  EXPECT_EQ(Outcome(ChangePassword(ann, kPassword, "Pear-Tree-8!")), "UNAUTHENTICATED");
  EXPECT_EQ(Outcome(Call<Empty>({}, "ChangePassword", v1::ChangePasswordRequest())),
            "UNAUTHENTICATED");
}

TEST_F(AuthTest, WhoForgotThePasswordChoosesAnotherByMailAndEndsAllSessions) {
  const v1::LoginResponse ann = Ann();
  const v1::LoginResponse other = LoginAgain();
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(Login("ann@example.com", "Plum-Tree-8!"));
  EXPECT_EQ(Forget("Ann@Example.com"), "OK");
  const Result<v1::ResetMail> mail = Prepare(Requests().back());
  ASSERT_TRUE(mail) << mail.refusal().message;
  EXPECT_EQ(mail->user_id(), ann.user().id());
  EXPECT_EQ(mail->token().size(), 43u);
  EXPECT_EQ(Outcome(Refresh(other.refresh_token())), "OK") << "nothing has happened yet";
  EXPECT_EQ(Outcome(Reset(mail->token())), "OK");
  EXPECT_THAT(Revoked(),
              ::testing::UnorderedElementsAre(CallerOf(ann).session, CallerOf(other).session));
  EXPECT_EQ(Outcome(Refresh(ann.refresh_token())), "UNAUTHENTICATED");
  EXPECT_EQ(Outcome(Login("ann@example.com", "Pear-Tree-8!")), "OK") << "nor has to wait";
  EXPECT_EQ(Outcome(Login("ann@example.com")), "UNAUTHENTICATED");
}

TEST_F(AuthTest, NobodyLearnsByForgettingWhoHasAnAddress) {
  Ann();
  EXPECT_EQ(Forget("ann@example.com"), "OK");
  EXPECT_EQ(Forget("nobody@example.com"), "OK");
  ASSERT_EQ(Requests().size(), 2u);
  EXPECT_EQ(Outcome(Prepare(Requests()[0])), "OK");
  EXPECT_EQ(Outcome(Prepare(Requests()[1])), "NOT_FOUND");
  EXPECT_EQ(Outcome(Prepare("7d1c3c5e-4a0f-4c57-9a6b-0f6f2d1f6f0a")), "NOT_FOUND");
}

TEST_F(AuthTest, AResetTokenIsGoodOnce) {
  Ann();
  Forget("ann@example.com");
  const std::string token = MailedToken();
  EXPECT_EQ(BlamedField(Reset(std::string(43, 'A'))), "token");
  EXPECT_EQ(BlamedField(Reset(token, "P@ssw0rd")), "newPassword");
  EXPECT_EQ(BlamedField(Reset(token, "Ann@Example.com")), "newPassword");
  std::atomic<int> taken = 0;
  std::vector<std::jthread> clients;
  for (int i = 0; i < 4; ++i) {
    clients.emplace_back([&, i] {
      if (Reset(token, "Pear-Tree-" + std::to_string(i) + "!")) ++taken;
    });
  }
  clients.clear();
  EXPECT_EQ(taken, 1);
  EXPECT_EQ(BlamedField(Reset(token)), "token");
  EXPECT_EQ(Outcome(Prepare(Requests().back())), "NOT_FOUND") << "the mail, tried again";
}

TEST_F(AuthTest, AResetTokenIsGoodForHalfAnHour) {
  Ann();
  Forget("ann@example.com");
  const std::string token = MailedToken();
  const auto pass = [this](const std::string& minutes) {
    Run("UPDATE password_resets SET expires_at = expires_at - interval '" + minutes + "'");
  };
  pass("29 minutes");
  EXPECT_EQ(BlamedField(Reset(token, "P@ssw0rd")), "newPassword");
  pass("1 minute");
  EXPECT_EQ(BlamedField(Reset(token)), "token");
  EXPECT_EQ(Outcome(Prepare(Requests().back())), "NOT_FOUND");
}

TEST_F(AuthTest, TheLatestResetTokenAloneIsGood) {
  Ann();
  Forget("ann@example.com");
  const std::string older = MailedToken();
  EXPECT_EQ(MailedToken(), older) << "a mail that is tried again says the same";
  Forget("ann@example.com");
  EXPECT_EQ(BlamedField(Reset(older)), "token");
  EXPECT_EQ(Outcome(Prepare(Requests()[0])), "NOT_FOUND") << "a mail that was late";
  const std::string newer = MailedToken();
  EXPECT_NE(newer, older);
  EXPECT_EQ(Outcome(Reset(newer)), "OK");
}

TEST_F(AuthTest, AnAddressGetsThreeMailsAnHour) {
  Ann();
  for (const char* address : {"ann@example.com", "nobody@example.com"}) {
    const size_t before = Requests().size();
    for (int i = 0; i < 6; ++i) EXPECT_EQ(Forget(address), "OK");
    EXPECT_EQ(Requests().size(), before + 3);
  }
  Forget("ann@example.com");
  Run("UPDATE asked_mails SET since = since - interval '61 minutes'");
  Forget("ann@example.com");
  EXPECT_EQ(Requests().size(), 7u);
  EXPECT_EQ(Outcome(Reset(MailedToken())), "OK");
}

TEST_F(AuthTest, NoResetTokenIsKeptWhereItCanBeRead) {
  Ann();
  Forget("ann@example.com");
  const std::string token = MailedToken();
  for (const char* table : {"password_resets", "outbox", "accounts"}) {
    for (const pqxx::row& row : postgres::Read(db_, [&](postgres::Tx& tx) {
           return tx.Run(std::string("SELECT t::text FROM ") + table + " AS t");
         })) {
      EXPECT_THAT(row[0].as<std::string>(), ::testing::Not(::testing::HasSubstr(token))) << table;
    }
  }
}

TEST_F(AuthTest, WhoWasDeletedIsForgottenByResetsToo) {
  const v1::LoginResponse ann = Ann();
  Forget("ann@example.com");
  const std::string token = MailedToken();
  users_.Delete(ann.user().id());
  EXPECT_EQ(BlamedField(Reset(token)), "token") << "before auth hears";
  HearOfDeletion(ann.user().id());
  EXPECT_EQ(BlamedField(Reset(token)), "token");
  EXPECT_TRUE(postgres::Read(db_, [](postgres::Tx& tx) {
                return tx.Run("SELECT FROM password_resets");
              }).empty());
}

TEST_F(AuthTest, WhoRegistersConfirmsTheAddressByMailOnce) {
  const v1::LoginResponse ann = Ann();
  EXPECT_FALSE(ann.user().email_confirmed());
  ASSERT_EQ(Confirmations().size(), 1u);
  const Result<v1::ConfirmationMail> mail = PrepareConfirmation(Confirmations().back());
  ASSERT_TRUE(mail) << mail.refusal().message;
  EXPECT_EQ(mail->user_id(), ann.user().id());
  EXPECT_EQ(mail->token().size(), 43u);
  EXPECT_EQ(MailedConfirmation(), mail->token()) << "a mail that is tried again says the same";
  EXPECT_EQ(BlamedField(Confirm(std::string(43, 'A'))), "token");
  EXPECT_FALSE(users_.confirmed(ann.user().id()));
  EXPECT_EQ(Outcome(Confirm(mail->token())), "OK");
  EXPECT_TRUE(users_.confirmed(ann.user().id()));
  EXPECT_EQ(BlamedField(Confirm(mail->token())), "token");
  EXPECT_EQ(Outcome(PrepareConfirmation(Confirmations().back())), "NOT_FOUND");
  EXPECT_TRUE(LoginAgain().user().email_confirmed());
  EXPECT_EQ(AskAgain(ann).refusal().reason, "EMAIL_CONFIRMED");
}

TEST_F(AuthTest, ARegistrationThatIsNotCompletedAsksForNoConfirmation) {
  users_.lose_answer = true;
  EXPECT_EQ(Outcome(Register(Person("ann@example.com"))), "UNAVAILABLE");
  EXPECT_THAT(Confirmations(), ElementsAre());
  EXPECT_EQ(Outcome(Register(Person("ann@example.com"))), "OK");
  EXPECT_EQ(Confirmations().size(), 1u);
  EXPECT_EQ(Outcome(Register(Person("ann@example.com"))), "ALREADY_EXISTS");
  EXPECT_EQ(Confirmations().size(), 1u);
}

TEST_F(AuthTest, AConfirmationIsGoodForADayAndUntilTheNext) {
  const v1::LoginResponse ann = Ann();
  const std::string older = MailedConfirmation();
  const auto pass = [this](const std::string& time) {
    Run("UPDATE email_confirmations SET expires_at = expires_at - interval '" + time + "'");
  };
  EXPECT_EQ(Outcome(AskAgain(ann)), "OK");
  EXPECT_EQ(BlamedField(Confirm(older)), "token");
  EXPECT_EQ(Outcome(PrepareConfirmation(Confirmations()[0])), "NOT_FOUND");
  const std::string newer = MailedConfirmation();
  pass("24 hours");
  EXPECT_EQ(BlamedField(Confirm(newer)), "token");
  EXPECT_EQ(Outcome(AskAgain(ann)), "OK");
  const std::string latest = MailedConfirmation();
  pass("23 hours");
  users_.away = true;
  EXPECT_EQ(Outcome(Confirm(latest)), "UNAVAILABLE");
  users_.away = false;
  EXPECT_EQ(Outcome(Confirm(latest)), "OK") << "it was not used up";
}

TEST_F(AuthTest, AConfirmationIsOfTheAddressThatItWasMailedTo) {
  const v1::LoginResponse ann = Ann();
  const std::string token = MailedConfirmation();
  users_.Move(ann.user().id(), "elsewhere@example.com");
  EXPECT_EQ(BlamedField(Confirm(token)), "token");
  EXPECT_FALSE(users_.confirmed(ann.user().id()));
  Run("UPDATE accounts SET email = 'elsewhere@example.com'");
  EXPECT_EQ(BlamedField(Confirm(token)), "token");
}

TEST_F(AuthTest, AnAddressGetsThreeConfirmationMailsAnHour) {
  const v1::LoginResponse ann = Ann();
  for (int i = 0; i < 2; ++i) EXPECT_EQ(Outcome(AskAgain(ann)), "OK");
  const std::string last = MailedConfirmation();
  const Result<Empty> early = AskAgain(ann);
  ASSERT_FALSE(early);
  EXPECT_EQ(early.refusal().reason, "TOO_MANY_MAILS");
  EXPECT_GT(early.refusal().retry_after, 3500);
  EXPECT_LE(early.refusal().retry_after, 3600);
  EXPECT_EQ(Confirmations().size(), 3u);
  Run("UPDATE asked_mails SET since = since - interval '61 minutes'");
  EXPECT_EQ(Outcome(AskAgain(ann)), "OK");
  EXPECT_EQ(BlamedField(Confirm(last)), "token");
}

TEST_F(AuthTest, ATokenIsGoodForWhatItWasMailedForAlone) {
  Ann();
  Forget("ann@example.com");
  EXPECT_EQ(BlamedField(Reset(MailedConfirmation())), "token");
  EXPECT_EQ(BlamedField(Confirm(MailedToken())), "token");
  EXPECT_EQ(Outcome(Prepare(Confirmations().back())), "NOT_FOUND");
}

TEST_F(AuthTest, NoConfirmationIsKeptWhereItCanBeReadNorOfWhoIsDeleted) {
  const v1::LoginResponse ann = Ann();
  const std::string token = MailedConfirmation();
  for (const char* table : {"email_confirmations", "outbox", "accounts"}) {
    for (const pqxx::row& row : postgres::Read(db_, [&](postgres::Tx& tx) {
           return tx.Run(std::string("SELECT t::text FROM ") + table + " AS t");
         })) {
      EXPECT_THAT(row[0].as<std::string>(), ::testing::Not(::testing::HasSubstr(token))) << table;
    }
  }
  HearOfDeletion(ann.user().id());
  EXPECT_EQ(BlamedField(Confirm(token)), "token");
  EXPECT_TRUE(postgres::Read(db_, [](postgres::Tx& tx) {
                return tx.Run("SELECT FROM email_confirmations");
              }).empty());
}

TEST_F(AuthTest, WhoResetsThePasswordHasConfirmedTheAddress) {
  const v1::LoginResponse ann = Ann();
  Forget("ann@example.com");
  const std::string token = MailedToken();
  EXPECT_EQ(BlamedField(Reset(token, "P@ssw0rd")), "newPassword");
  EXPECT_FALSE(users_.confirmed(ann.user().id()));
  EXPECT_EQ(Outcome(Reset(token)), "OK");
  EXPECT_TRUE(users_.confirmed(ann.user().id()));
}

TEST_F(AuthTest, ASecondFactorCountsOnceItWasConfirmed) {
  const v1::LoginResponse here = Ann();
  const v1::LoginResponse there = LoginAgain();
  EXPECT_EQ(Outcome(ConfirmTotp(here, "000000")), "FAILED_PRECONDITION") << "nothing was begun";
  EXPECT_EQ(Outcome(BeginTotp(here, "Plum-Tree-8!")), "UNAUTHENTICATED");
  ASSERT_TRUE(BeginTotp(here));
  EXPECT_EQ(Outcome(Login("ann@example.com")), "OK") << "it is not confirmed";
  const Factor factor = Enrol(here);
  EXPECT_EQ(factor.secret.size(), 32u);
  EXPECT_EQ(std::set(factor.recovery_codes.begin(), factor.recovery_codes.end()).size(), 10u);
  EXPECT_EQ(Outcome(Refresh(there.refresh_token())), "UNAUTHENTICATED");
  EXPECT_EQ(Outcome(Refresh(here.refresh_token())), "OK");

  EXPECT_EQ(Reason(Login("ann@example.com")), "SECOND_FACTOR_NEEDED");
  EXPECT_EQ(Reason(Login("ann@example.com", "Plum-Tree-8!")), "") << "only after the password";
  EXPECT_EQ(Reason(LoginWith(CodeOf(factor.secret), "Plum-Tree-8!")), "");
  EXPECT_EQ(Outcome(LoginWith(CodeOf(factor.secret))), "OK");
  EXPECT_EQ(Reason(BeginTotp(here)), "SECOND_FACTOR_ON");
  EXPECT_EQ(Reason(ConfirmTotp(here, CodeOf(factor.secret, 1))), "SECOND_FACTOR_ON");
}

TEST_F(AuthTest, ACodeLetsOneLoginIn) {
  const v1::LoginResponse ann = Ann();
  const Factor factor = Enrol(ann);
  const std::string code = CodeOf(factor.secret, 1);
  std::string other;
  std::thread login;
  postgres::InTransaction(db_, [&](postgres::Tx& tx) {
    EXPECT_TRUE(UseCode(tx, ann.user().id(), code, std::string(32, 'k')));
    login = std::thread([&] { other = Reason(LoginWith(code)); });
    EXPECT_TRUE(testing::Eventually([&] { return testing::CountLockWaits(db_) > 0; }));
  });
  login.join();
  EXPECT_EQ(other, "SECOND_FACTOR_WRONG");
  EXPECT_EQ(Reason(LoginWith(code)), "SECOND_FACTOR_WRONG");
}

TEST_F(AuthTest, ARecoveryCodeStandsInForACodeOnce) {
  const Factor factor = Enrol(Ann());
  ASSERT_EQ(factor.recovery_codes.size(), 10u);
  for (const std::string& code : factor.recovery_codes) {
    EXPECT_EQ(Outcome(LoginWith(code)), "OK") << code;
    EXPECT_EQ(Reason(LoginWith(code)), "SECOND_FACTOR_WRONG");
  }
}

TEST_F(AuthTest, ARecoveryCodeIsTheSameHoweverItIsTyped) {
  const Factor factor = Enrol(Ann());
  std::string code = factor.recovery_codes[0];
  std::erase(code, '-');
  for (char& c : code) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  EXPECT_EQ(Outcome(LoginWith(code)), "OK");
}

TEST_F(AuthTest, CodesCanBeTriedEverMoreSlowly) {
  const v1::LoginResponse ann = Ann();
  const Factor factor = Enrol(ann);
  Run("DELETE FROM login_attempts");
  for (int i = 0; i < 9; ++i) EXPECT_EQ(Reason(LoginWith("wrong")), "SECOND_FACTOR_WRONG");
  EXPECT_EQ(Outcome(ChangePassword(ann, kPassword, "Pear-Tree-8!")), "OK");
  EXPECT_EQ(Reason(LoginWith(CodeOf(factor.secret), "Pear-Tree-8!")), "TOO_MANY_ATTEMPTS");
  Run("UPDATE login_attempts SET free_at = now()");
  EXPECT_EQ(Outcome(LoginWith(CodeOf(factor.secret), "Pear-Tree-8!")), "OK");
  EXPECT_EQ(Reason(LoginWith("wrong", "Pear-Tree-8!")), "SECOND_FACTOR_WRONG")
      << "and no more waiting";
}

TEST_F(AuthTest, WhoAsksIsToldWhatIsKeptAboutThemAndNothingOfOthers) {
  const v1::LoginResponse ann = Ann();
  ASSERT_TRUE(Register(Person("bob@example.com")));
  ASSERT_TRUE(Login("bob@example.com"));
  Enrol(ann);
  EXPECT_FALSE(Login("ann@example.com", "Plum-Tree-8!"));
  const Result<v1::Export> all = Call<v1::Export>(As(ann), "ExportMe", v1::ExportMeRequest());
  ASSERT_TRUE(all) << all.refusal().message;
  EXPECT_EQ(all->profile().email(), "ann@example.com");
  EXPECT_TRUE(all->account().second_factor());
  EXPECT_EQ(all->account().recovery_codes(), 10);
  EXPECT_EQ(all->account().login_attempts(), 1);
  EXPECT_GT(all->account().created_at().seconds(), 0);
  ASSERT_EQ(all->sessions_size(), 1);
  EXPECT_TRUE(all->sessions(0).current());
  EXPECT_GT(all->links_size(), 0);
  EXPECT_THAT(all->DebugString(), ::testing::Not(::testing::HasSubstr("$2b$")));
  users_.Delete(ann.user().id());
  EXPECT_EQ(Outcome(Call<v1::Export>(As(ann), "ExportMe", v1::ExportMeRequest())),
            "UNAUTHENTICATED");
}

TEST_F(AuthTest, CodesThatConfirmCanBeTriedEverMoreSlowly) {
  const v1::LoginResponse ann = Ann();
  ASSERT_TRUE(BeginTotp(ann));
  const auto wrong = [&] { return Reason(ConfirmTotp(ann, "000000")); };
  for (int i = 0; i < 10; ++i) EXPECT_EQ(wrong(), "SECOND_FACTOR_WRONG");
  EXPECT_EQ(wrong(), "TOO_MANY_ATTEMPTS");
}

TEST_F(AuthTest, ASecondFactorIsRemovedWithPasswordAndCode) {
  const v1::LoginResponse ann = Ann();
  EXPECT_EQ(Outcome(RemoveTotp(ann, "000000")), "FAILED_PRECONDITION") << "there is none";
  const Factor factor = Enrol(ann);
  EXPECT_EQ(Outcome(RemoveTotp(ann, CodeOf(factor.secret), "Plum-Tree-8!")), "UNAUTHENTICATED");
  EXPECT_EQ(Reason(RemoveTotp(ann, "000000")), "SECOND_FACTOR_WRONG");
  EXPECT_EQ(Reason(Login("ann@example.com")), "SECOND_FACTOR_NEEDED");
  EXPECT_EQ(Outcome(RemoveTotp(ann, factor.recovery_codes[3])), "OK");
  EXPECT_EQ(Outcome(Login("ann@example.com")), "OK");
  const Factor next = Enrol(ann);
  EXPECT_EQ(Reason(LoginWith(factor.recovery_codes[4])), "SECOND_FACTOR_WRONG");
  EXPECT_EQ(Outcome(LoginWith(CodeOf(next.secret))), "OK");
}

TEST_F(AuthTest, AnotherPasswordByMailNeedsTheCodeAllTheSame) {
  const v1::LoginResponse ann = Ann();
  ASSERT_EQ(Outcome(Confirm(MailedConfirmation())), "OK");
  const Factor factor = Enrol(ann);
  Forget("ann@example.com");
  ASSERT_EQ(Outcome(Reset(MailedToken())), "OK");
  EXPECT_EQ(Reason(Login("ann@example.com", "Pear-Tree-8!")), "SECOND_FACTOR_NEEDED");
  EXPECT_EQ(Outcome(LoginWith(CodeOf(factor.secret), "Pear-Tree-8!")), "OK");
}

// Somebody else has registered the address.
TEST_F(AuthTest, WhoeverHasTheMailboxIsNotLockedOutByASecondFactorFromBefore) {
  const v1::LoginResponse stranger = Ann();
  Enrol(stranger);
  Forget("ann@example.com");
  ASSERT_EQ(Outcome(Reset(MailedToken())), "OK");
  const Result<v1::LoginResponse> owner = Login("ann@example.com", "Pear-Tree-8!");
  ASSERT_TRUE(owner) << owner.refusal().message;
  EXPECT_EQ(Outcome(Refresh(stranger.refresh_token())), "UNAUTHENTICATED");
}

TEST_F(AuthTest, ALoginUnderWayWithoutACodeEndsWithTheOthers) {
  const v1::LoginResponse ann = Ann();
  const Result<v1::TotpSecret> secret = BeginTotp(ann);
  ASSERT_TRUE(secret);
  std::thread confirmation;
  std::string login;
  std::string outcome;
  postgres::InTransaction(db_, [&](postgres::Tx& tx) {
    // As a login does, which has found that no code is needed.
    EXPECT_TRUE(HoldAccount(tx, ann.user().id(), 1));
    login =
        BeginSession(tx, {.account = ann.user().id(), .profile_version = 1, .user_agent = ""}, {})
            .refresh_token;
    confirmation =
        std::thread([&] { outcome = Outcome(ConfirmTotp(ann, CodeOf(secret->secret()))); });
    EXPECT_TRUE(testing::Eventually([&] { return testing::CountLockWaits(db_) > 0; }));
  });
  confirmation.join();
  EXPECT_EQ(outcome, "OK");
  EXPECT_EQ(Outcome(Refresh(login)), "UNAUTHENTICATED");
}

TEST_F(AuthTest, TheAuditLogSaysWhoLoggedInAndWhoTried) {
  const v1::LoginResponse ann = Ann();
  EXPECT_FALSE(Login("ann@example.com", "Plum-Tree-8!"));
  EXPECT_FALSE(Login("nobody@example.com"));
  ASSERT_TRUE(ChangePassword(ann, kPassword, "Pear-Tree-8!"));
  Forget("ann@example.com");
  ASSERT_TRUE(Reset(MailedToken(), kPassword));
  const Factor factor = Enrol(*Login("ann@example.com"));
  EXPECT_EQ(Reason(LoginWith("")), "SECOND_FACTOR_NEEDED");
  const Result<v1::LoginResponse> with_code = LoginWith(CodeOf(factor.secret));
  ASSERT_TRUE(with_code);
  ASSERT_TRUE(RemoveTotp(*with_code, factor.recovery_codes[0]));
  const std::string user = " user " + std::to_string(ann.user().id());
  EXPECT_THAT(audit::testing::Entries(db_),
              ElementsAre("GUEST 0: LOGIN" + user,
                          "GUEST 0: LOGIN_FAILED" + user + ", reason WRONG_PASSWORD",
                          "GUEST 0: LOGIN_FAILED nobody, reason WRONG_PASSWORD",
                          "USER 1: PASSWORD_CHANGED" + user, "GUEST 0: PASSWORD_RESET" + user,
                          "GUEST 0: LOGIN" + user, "USER 1: SECOND_FACTOR_ON" + user,
                          "GUEST 0: LOGIN_FAILED" + user + ", reason SECOND_FACTOR_NEEDED",
                          "GUEST 0: LOGIN" + user, "USER 1: SECOND_FACTOR_OFF" + user));
}

TEST_F(AuthTest, NoSecretOfASecondFactorIsKeptWhereItCanBeRead) {
  const v1::LoginResponse ann = Ann();
  const Factor factor = Enrol(ann);
  const std::string secret = DecodeBase32(factor.secret);
  std::string kept;
  for (const char* table : {"second_factors", "recovery_codes", "outbox"}) {
    for (const pqxx::row& row : postgres::Read(db_, [&](postgres::Tx& tx) {
           return tx.Run(std::string("SELECT t::text FROM ") + table + " AS t");
         })) {
      kept += row[0].as<std::string>();
    }
  }
  EXPECT_THAT(kept, ::testing::Not(::testing::HasSubstr(factor.secret)));
  EXPECT_THAT(kept, ::testing::Not(::testing::HasSubstr(secret)));
  for (std::string code : factor.recovery_codes) {
    EXPECT_THAT(kept, ::testing::Not(::testing::HasSubstr(code)));
    std::erase(code, '-');
    EXPECT_THAT(kept, ::testing::Not(::testing::HasSubstr(code)));
  }
  HearOfDeletion(ann.user().id());
  for (const char* table : {"second_factors", "recovery_codes"}) {
    EXPECT_TRUE(
        postgres::Read(
            db_, [&](postgres::Tx& tx) { return tx.Run(std::string("SELECT FROM ") + table); })
            .empty())
        << table;
  }
}

TEST_F(AuthWithSecondFactors, WhoHasPowerHasItWithASecondFactorAlone) {
  ASSERT_TRUE(
      Register(Person("ann@example.com", ROLE_ADMIN), callers_.User(1000, ROLE_SUPER_ADMIN)));
  const v1::LoginResponse ann = LoginAgain();
  EXPECT_TRUE(ann.second_factor_required());
  EXPECT_EQ(ann.user().role(), ROLE_ADMIN);
  EXPECT_EQ(CallerOf(ann).role, ROLE_USER);
  const Factor factor = Enrol(ann);
  const Result<v1::LoginResponse> next = Refresh(ann.refresh_token());
  ASSERT_TRUE(next);
  EXPECT_FALSE(next->second_factor_required());
  EXPECT_EQ(CallerOf(*next).role, ROLE_ADMIN);
  EXPECT_EQ(Reason(RemoveTotp(*next, factor.recovery_codes[0])), "SECOND_FACTOR_REQUIRED");
  const Result<v1::LoginResponse> login = LoginWith(factor.recovery_codes[0]);
  ASSERT_TRUE(login) << "which was not used up";
  EXPECT_EQ(CallerOf(*login).role, ROLE_ADMIN);
}

TEST_F(AuthWithSecondFactors, WhoIsGivenPowerLaterNeedsOneFromThenOn) {
  const v1::LoginResponse ann = Ann();
  EXPECT_FALSE(ann.second_factor_required());
  EXPECT_EQ(CallerOf(ann).role, ROLE_USER);
  for (const api::v1::Role role : {ROLE_ADMIN, ROLE_SUPER_ADMIN}) {
    users_.GiveRole(ann.user().id(), role);
    const v1::LoginResponse since = LoginAgain();
    EXPECT_TRUE(since.second_factor_required());
    EXPECT_EQ(CallerOf(since).role, ROLE_USER);
  }
  users_.GiveRole(ann.user().id(), ROLE_SELLER);
  EXPECT_EQ(CallerOf(LoginAgain()).role, ROLE_SELLER);
}

TEST_F(AuthInPrivate, AKnownAndAnUnknownAddressAreAnsweredAlike) {
  const Result<User> unknown = Register(Person("ann@example.com"));
  const Result<User> known = Register(Person("Ann@Example.com", "Pear-Tree-8!"));
  ASSERT_TRUE(unknown) << unknown.refusal().message;
  ASSERT_TRUE(known) << known.refusal().message;
  EXPECT_EQ(unknown->ByteSizeLong(), 0u);
  EXPECT_EQ(known->ByteSizeLong(), 0u);
  EXPECT_EQ(users_.count(), 1u);
  EXPECT_EQ(Confirmations().size(), 1u);
  ASSERT_EQ(Notices().size(), 1u);
  events::v1::RegistrationRepeated told;
  ASSERT_TRUE(messaging::ReadValue(testing::PublishedEvents(db_).back().value, &told));
  EXPECT_EQ(told.user_id(), 1);
  EXPECT_EQ(Outcome(Confirm(MailedConfirmation())), "OK");
  EXPECT_EQ(Outcome(Login("ann@example.com")), "OK");
  EXPECT_EQ(Outcome(Login("ann@example.com", "Pear-Tree-8!")), "UNAUTHENTICATED");
}

TEST_F(AuthInPrivate, AKnownAndAnUnknownAddressCostTheSame) {
  const auto costs = [&](const auto& ask) {
    const std::pair before(hashes_made.load(), users_.calls.load());
    EXPECT_NE(Outcome(ask()), "UNAVAILABLE");
    return std::pair(hashes_made - before.first, users_.calls - before.second);
  };
  const auto registers = [&](const char* address) {
    return costs([&] { return Register(Person(address)); });
  };
  const std::pair one_each(1, 1);
  EXPECT_EQ(registers("ann@example.com"), one_each);
  EXPECT_EQ(registers("ann@example.com"), one_each) << "not confirmed yet";
  ASSERT_EQ(Outcome(Confirm(MailedConfirmation())), "OK");
  EXPECT_EQ(registers("ann@example.com"), one_each);
  EXPECT_EQ(registers("bob@example.com"), one_each);
  const auto hashes_of_login = [&](const char* address) {
    return costs([&] { return Login(address, "Pear-Tree-8!"); }).first;
  };
  EXPECT_EQ(hashes_of_login("ann@example.com"), 1);
  EXPECT_EQ(hashes_of_login("bob@example.com"), 1) << "not confirmed";
  EXPECT_EQ(hashes_of_login("nobody@example.com"), 1);
}

TEST_F(AuthInPrivate, ALoginTellsNothingUntilTheAddressIsConfirmed) {
  ASSERT_TRUE(Register(Person("ann@example.com")));
  const Result<v1::LoginResponse> made = Login("ann@example.com");
  const Result<v1::LoginResponse> unknown = Login("bob@example.com");
  ASSERT_FALSE(made);
  EXPECT_EQ(made.refusal().code, Code::kUnauthenticated);
  EXPECT_EQ(made.refusal().message, unknown.refusal().message);
  EXPECT_EQ(made.refusal().reason, unknown.refusal().reason);
  Forget("ann@example.com");
  EXPECT_EQ(Outcome(Reset(MailedToken())), "OK") << "the way in when the mail was lost";
  EXPECT_EQ(Outcome(Login("ann@example.com", "Pear-Tree-8!")), "OK");
}

TEST_F(AuthInPrivate, WhileUsersIsAwayNoAddressIsAnswered) {
  ASSERT_TRUE(Register(Person("ann@example.com")));
  users_.away = true;
  EXPECT_EQ(Outcome(Register(Person("ann@example.com"))), "UNAVAILABLE");
  EXPECT_EQ(Outcome(Register(Person("bob@example.com"))), "UNAVAILABLE");
}

TEST_F(AuthInPrivate, AnOwnerIsToldThreeTimesAnHour) {
  for (int i = 0; i < 6; ++i) ASSERT_TRUE(Register(Person("ann@example.com")));
  EXPECT_EQ(Notices().size(), 3u);
  Run("UPDATE asked_mails SET since = since - interval '61 minutes'");
  ASSERT_TRUE(Register(Person("ann@example.com")));
  EXPECT_EQ(Notices().size(), 4u);
}

TEST_F(AuthInPrivate, WhatIsWrongIsSaidOfAnyAddress) {
  ASSERT_TRUE(Register(Person("ann@example.com")));
  for (const char* address : {"ann@example.com", "bob@example.com"}) {
    EXPECT_EQ(Outcome(Register(Person(address, "password1"))), "INVALID_ARGUMENT");
    EXPECT_EQ(Outcome(Register(Person(address, ROLE_ADMIN))), "PERMISSION_DENIED");
  }
}

TEST_F(AuthInPrivate, WhoMaySeeAllUsersIsToldWhatBecomesOfTheirs) {
  const testing::Credentials boss = callers_.User(1000, ROLE_SUPER_ADMIN);
  const Result<User> made = Register(Person("ann@example.com", ROLE_SELLER), boss);
  ASSERT_TRUE(made);
  EXPECT_EQ(made->email(), "ann@example.com");
  EXPECT_EQ(Outcome(Register(Person("ann@example.com"), boss)), "ALREADY_EXISTS");
  EXPECT_EQ(Outcome(Register(Person("ann@example.com"), callers_.User(9))), "OK");
}

TEST_F(AuthInPrivate, TheOperatorsAddressIsConfirmed) {
  service_.EnsureSuperAdmin(rpc::BackgroundCall(TraceContext::New(), std::chrono::seconds(30)),
                            Person("boss@example.com"));
  EXPECT_TRUE(users_.confirmed(1));
  EXPECT_EQ(Outcome(Login("boss@example.com")), "OK");
}

TEST_F(AuthTest, WhoRegistersAndIsDeletedAgainAndAgainGetsNoMoreMails) {
  for (int64_t id = 1; id <= 5; ++id) {
    ASSERT_TRUE(Register(Person("ann@example.com")));
    users_.Delete(id);
    HearOfDeletion(id);
  }
  EXPECT_EQ(Confirmations().size(), 3u);
  EXPECT_EQ(
      postgres::Read(db_,
                     [](postgres::Tx& tx) {
                       return tx.Run("SELECT FROM asked_mails WHERE address LIKE '%ann%'").size();
                     }),
      0);
}

TEST_F(AuthTest, RequestsThatCountNoMoreAreDeleted) {
  Forget("ann@example.com");
  Forget("bob@example.com");
  Run("UPDATE asked_mails SET since = since - interval '61 minutes'"
      " WHERE address = encode(sha256('ann@example.com'), 'hex')");
  Run("UPDATE password_resets SET expires_at = now() WHERE address LIKE 'ann%'");
  const auto sweep = [&](int64_t (*some)(postgres::Tx&, int64_t)) {
    return postgres::InTransaction(db_, [&](postgres::Tx& tx) { return some(tx, 100); });
  };
  for (const auto some : {SweepTokens, SweepAskedMails}) {
    EXPECT_EQ(sweep(some), 1);
    EXPECT_EQ(sweep(some), 0);
  }
  Ann();
  EXPECT_EQ(sweep(SweepTokens), 0);
  Run("UPDATE email_confirmations SET expires_at = now()");
  EXPECT_EQ(sweep(SweepTokens), 1);
}

TEST_F(AuthTest, AHashOfALowerCostIsMadeAnewAtALogin) {
  Ann();
  const auto cost = [this] {
    return postgres::Read(db_, [](postgres::Tx& tx) {
      return tx.Run("SELECT substr(password_hash, 5, 2) FROM accounts")[0][0].as<std::string>();
    });
  };
  EXPECT_EQ(cost(), "04");
  PasswordHasher dearer(5, 2, 100);
  AuthService since(db_, users_channel_, dearer, keys_, {});
  v1::LoginRequest request;
  request.set_email("ann@example.com");
  request.set_password("Plum-Tree-8!");
  const auto soon = [] {
    return rpc::BackgroundCall(TraceContext::New(), std::chrono::seconds(20));
  };
  EXPECT_FALSE(since.Login(soon(), request));
  EXPECT_EQ(cost(), "04") << "of a password that is not known";
  request.set_password(kPassword);
  const Result<v1::LoginResponse> login = since.Login(soon(), request);
  ASSERT_TRUE(login);
  EXPECT_EQ(cost(), "05");
  EXPECT_EQ(Outcome(Login("ann@example.com")), "OK");
  EXPECT_EQ(cost(), "05") << "not made cheaper";
  EXPECT_EQ(Outcome(Refresh(login->refresh_token())), "OK");
  EXPECT_THAT(Revoked(), ElementsAre());
}

TEST_F(AuthTest, OldSessionsAreSweptAwayWithTheirTokens) {
  const v1::LoginResponse old = Ann();
  ASSERT_TRUE(Refresh(old.refresh_token()));
  Pass("8 days");
  const v1::LoginResponse young = LoginAgain();
  const auto sweep = [&] {
    return postgres::InTransaction(db_, [](postgres::Tx& tx) { return SweepSessions(tx, 100); });
  };
  EXPECT_EQ(sweep(), 1);
  EXPECT_EQ(sweep(), 0);
  const pqxx::result tokens = postgres::Read(
      db_, [](postgres::Tx& tx) { return tx.Run("SELECT session_id FROM refresh_tokens"); });
  ASSERT_EQ(tokens.size(), 1);
  EXPECT_EQ(tokens[0][0].as<std::string>(), CallerOf(young).session);
}

TEST_F(AuthTest, NoRefreshTokenIsKept) {
  const v1::LoginResponse login = Ann();
  const Result<v1::LoginResponse> next = Refresh(login.refresh_token());
  ASSERT_TRUE(next);
  const pqxx::result rows = postgres::Read(db_, [](postgres::Tx& tx) {
    return tx.Run(
        "SELECT concat_ws(' ', hash, salt, s) FROM refresh_tokens"
        " JOIN sessions AS s ON s.id = session_id");
  });
  EXPECT_EQ(rows.size(), 2);
  for (const pqxx::row& row : rows) {
    for (const std::string& token : {login.refresh_token(), next->refresh_token()}) {
      EXPECT_THAT(row[0].as<std::string>(), ::testing::Not(::testing::HasSubstr(token)));
    }
  }
}

TEST_F(AuthTest, AGuestHasNoProfile) {
  EXPECT_EQ(Outcome(Call<User>({}, "GetMe", v1::GetMeRequest())), "UNAUTHENTICATED");
}

class OperatorTest : public AuthTest {
 protected:
  void Ensure(const std::string& password) {
    service_.EnsureSuperAdmin(Soon(), OperatorRegistration({"Root@Example.com", password}));
  }
  static shop::Call Soon() {
    return rpc::BackgroundCall(TraceContext::New(), std::chrono::seconds(20));
  }
};

TEST_F(OperatorTest, TheFirstSuperAdminComesFromTheEnvironment) {
  for (int start = 0; start < 2; ++start) Ensure(kPassword);
  const Result<v1::LoginResponse> login = Login("root@example.com");
  ASSERT_TRUE(login) << login.refusal().message;
  EXPECT_EQ(login->user().role(), ROLE_SUPER_ADMIN);
  EXPECT_EQ(users_.count(), 1u);
}

TEST_F(OperatorTest, AnotherPasswordInTheEnvironmentReplacesTheOld) {
  Ensure(kPassword);
  Ensure("Pear-Tree-8!");
  EXPECT_EQ(Outcome(Login("root@example.com")), "UNAUTHENTICATED");
  EXPECT_EQ(Outcome(Login("root@example.com", "Pear-Tree-8!")), "OK");
  EXPECT_THAT(audit::testing::Entries(db_),
              Contains(HasSubstr("PASSWORD_CHANGED user 1, by the settings")));
}

TEST_F(OperatorTest, AnotherPasswordEndsTheSessions) {
  Ensure(kPassword);
  const Result<v1::LoginResponse> login = Login("root@example.com");
  ASSERT_TRUE(login);
  Ensure(kPassword);
  const Result<v1::LoginResponse> next = Refresh(login->refresh_token());
  ASSERT_TRUE(next);
  Ensure("Pear-Tree-8!");
  EXPECT_EQ(Outcome(Refresh(next->refresh_token())), "UNAUTHENTICATED");
}

TEST_F(OperatorTest, WhoTookTheAddressBeforeLeavesNoSecondFactor) {
  ASSERT_TRUE(Register(Person("root@example.com", kPassword)));
  const Result<v1::LoginResponse> stranger = Login("root@example.com");
  ASSERT_TRUE(stranger);
  Enrol(*stranger);
  Ensure("Fig-Leaves-9!");
  const Result<v1::LoginResponse> login = Login("root@example.com", "Fig-Leaves-9!");
  EXPECT_TRUE(login) << login.refusal().reason;
}

TEST_F(OperatorTest, WhoTookTheAddressBeforeLosesIt) {
  ASSERT_TRUE(Register(Person("root@example.com", "Fig-Leaves-9!")));
  Ensure(kPassword);
  EXPECT_EQ(Outcome(Login("root@example.com", "Fig-Leaves-9!")), "UNAUTHENTICATED");
  const Result<v1::LoginResponse> login = Login("root@example.com");
  ASSERT_TRUE(login);
  EXPECT_EQ(login->user().role(), ROLE_SUPER_ADMIN);
}

TEST_F(OperatorTest, TheAccountIsMadeOnceUsersIsThere) {
  users_.away = true;
  OperatorAccount account(service_, {"root@example.com", kPassword});
  ASSERT_TRUE(testing::Eventually([&] { return !Accounts().empty(); }));
  EXPECT_EQ(users_.count(), 0u);
  EXPECT_FALSE(account.exists());
  users_.away = false;
  EXPECT_TRUE(testing::Eventually([&] { return account.exists(); }));
  EXPECT_TRUE(Login("root@example.com"));
}

TEST_F(OperatorTest, AnAccountOfAnEarlierStartNeedsNoUsers) {
  Ensure(kPassword);
  users_.away = true;
  OperatorAccount account(service_, {"Root@example.com", kPassword});
  EXPECT_TRUE(testing::Eventually([&] { return account.exists(); }));
}

TEST_F(OperatorTest, StoppingDoesNotWaitForUsers) {
  users_.away = true;
  const auto start = std::chrono::steady_clock::now();
  { const OperatorAccount account(service_, {"root@example.com", kPassword}); }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(8));
}

}  // namespace
}  // namespace shop::auth
