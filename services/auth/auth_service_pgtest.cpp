// The auth service over gRPC, with a real database and a small stand-in for users.
#include "auth/auth_service.h"

#include <gmock/gmock.h>

#include <atomic>
#include <barrier>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "auth/auth_events.h"
#include "auth/operator_account.h"
#include "auth_migrations.h"
#include "common/rpc/identity.h"
#include "common/rpc/server.h"
#include "common/testing/callers.h"
#include "common/testing/database.h"
#include "common/testing/deliver.h"
#include "common/testing/fake_service.h"
#include "common/testing/servers.h"
#include "messaging_migrations.h"
#include "shop/events/v1/users.pb.h"

namespace shop::auth {
namespace {

using api::v1::ROLE_ADMIN;
using api::v1::ROLE_GUEST;
using api::v1::ROLE_SELLER;
using api::v1::ROLE_SUPER_ADMIN;
using api::v1::ROLE_USER;
using ::testing::ElementsAre;
using ::testing::Field;
using users::v1::User;

constexpr char kPassword[] = "Secret1!";

// What auth needs of users, in memory.
class FakeUsers {
 public:
  rpc::Service Methods() {
    return rpc::Service("shop.users.v1.UsersService")
        .On("CreateUser", this, &FakeUsers::CreateUser)
        .On("GetUser", this, &FakeUsers::GetUser)
        .On("UpdateUserRole", this, &FakeUsers::UpdateUserRole);
  }

  Result<User> CreateUser(const Call&, const users::v1::CreateUserRequest& request) {
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
    if (request.has_birthdate()) user.set_birthdate(request.birthdate());
    if (lose_answer.exchange(false)) throw Unavailable("the answer was lost");
    return user;
  }
  Result<User> GetUser(const Call& call, const users::v1::GetUserRequest& request) {
    if (away) throw Unavailable("switched off");
    EXPECT_EQ(call.caller.service, "auth");
    const std::lock_guard lock(mutex_);
    const auto found = users_.find(request.id());
    if (found == users_.end()) return Refusal{Code::kNotFound, "no such user"};
    return found->second.first;
  }
  Result<User> UpdateUserRole(const Call&, const users::v1::UpdateUserRoleRequest& request) {
    const std::lock_guard lock(mutex_);
    users_[request.id()].first.set_role(request.role());
    return users_[request.id()].first;
  }

  void Demote(int64_t super_admin) {
    const std::lock_guard lock(mutex_);
    super_admins_.erase(super_admin);
  }
  void Delete(int64_t id) {
    const std::lock_guard lock(mutex_);
    users_.erase(id);
  }
  size_t count() {
    const std::lock_guard lock(mutex_);
    return users_.size();
  }

  std::atomic<bool> away = false;
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
      : service_(db_, users_channel_, passwords_, signer_, options) {
    postgres::Migrate(db_, {kMessagingMigrations, kAuthMigrations});
  }

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
  TokenSigner signer_{callers_.private_key_pem()};
  postgres::Pool db_{database_.settings()};

  FakeUsers users_;
  rpc::Identity users_identity_{{"users", "", testing::kServiceKey}, callers_.Keys()};
  rpc::Server users_server_{
      {.host = "127.0.0.1"}, users_identity_, {testing::FakeService(users_.Methods())}};

  rpc::Identity identity_{{"auth", "", testing::kServiceKey}, callers_.Keys()};
  rpc::Channel users_channel_{users_server_.address(), &identity_};
  PasswordHasher passwords_{4, 2, 100};
  AuthService service_;
  rpc::Server server_{{.host = "127.0.0.1"}, identity_, {service_.Methods()}};
};

class AuthWithRolesForAnybody : public AuthTest {
 protected:
  AuthWithRolesForAnybody() : AuthTest({.allow_role_at_registration = true}) {}
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

  const Result<User> me =
      Call<User>({"authorization", "Bearer " + login->access_token()}, "GetMe", v1::GetMeRequest());
  ASSERT_TRUE(me) << me.refusal().message;
  EXPECT_EQ(me->id(), registered->id());
}

TEST_F(AuthTest, PublishedKeysCheckItsTokens) {
  ASSERT_TRUE(Register(Person("ann@example.com")));
  const Result<v1::LoginResponse> login = Login("ann@example.com");
  ASSERT_TRUE(login);
  TokenVerifier verifier(rpc::KeysFrom(server_.address()));
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
  EXPECT_EQ(jwks->keys(0).kid(), signer_.public_key().kid);
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

  v1::RegisterRequest other = Person("ann@example.com", "Another1!");
  other.set_name("Eve");
  const Result<User> user = Register(other);
  ASSERT_TRUE(user) << user.refusal().message;
  EXPECT_EQ(user->name(), "Eve");
  EXPECT_EQ(user->role(), ROLE_USER);
  EXPECT_EQ(Outcome(Login("ann@example.com")), "UNAUTHENTICATED");
  const Result<v1::LoginResponse> login = Login("ann@example.com", "Another1!");
  ASSERT_TRUE(login);
  EXPECT_EQ(login->user().role(), ROLE_USER);
}

TEST_F(AuthTest, WrongPasswordAndUnknownAddressAreOneAnswer) {
  ASSERT_TRUE(Register(Person("ann@example.com")));
  const Result<v1::LoginResponse> wrong = Login("ann@example.com", "Secret2!");
  const Result<v1::LoginResponse> unknown = Login("bob@example.com");
  ASSERT_FALSE(wrong);
  ASSERT_FALSE(unknown);
  EXPECT_EQ(wrong.refusal().code, Code::kUnauthenticated);
  EXPECT_EQ(unknown.refusal().code, Code::kUnauthenticated);
  EXPECT_EQ(wrong.refusal().message, unknown.refusal().message);
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
  const Result<Caller> caller = TokenVerifier(callers_.Keys()).Verify(login->access_token());
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
  Ensure("Changed1!");
  EXPECT_EQ(Outcome(Login("root@example.com")), "UNAUTHENTICATED");
  EXPECT_EQ(Outcome(Login("root@example.com", "Changed1!")), "OK");
}

TEST_F(OperatorTest, WhoTookTheAddressBeforeLosesIt) {
  ASSERT_TRUE(Register(Person("root@example.com", "Squatter1!")));
  Ensure(kPassword);
  EXPECT_EQ(Outcome(Login("root@example.com", "Squatter1!")), "UNAUTHENTICATED");
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
